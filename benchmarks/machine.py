"""Name the processor and the versions with which the figures of a page were measured: `python benchmarks/machine.py`."""

from __future__ import annotations

import argparse
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "executorch", "onnxruntime", "openvino", "ncnn", "paddlepaddle", "opencv-python-headless")


def main() -> None:
    """Print them."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(f"{processor()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}")
    print(", ".join(f"{name} {found}" for name in PACKAGES if (found := installed(name))))


def processor() -> str:
    """Name of the processor; its architecture where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def installed(package: str) -> str | None:
    """Version of a package, ``None`` without it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
