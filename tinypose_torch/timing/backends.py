"""What `tinypose benchmark` compares: the files that this package writes and runs."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tinypose_torch.checkpoints.files import describe_changes, save_safetensors
from tinypose_torch.export import ExportOptions, export_model
from tinypose_torch.factory import create_model
from tinypose_torch.models.base import Network
from tinypose_torch.models.config import config_of
from tinypose_torch.runtime import EagerRunner
from tinypose_torch.runtime.exported import open_exported
from tinypose_torch.runtime.formats import export_formats, find_export_format
from tinypose_torch.timing.processes import Run

WEIGHTS = "weights"
BASELINE = "onnx"
Predict = Callable[[np.ndarray], Any]


@dataclass(frozen=True)
class Backend:
    """A way to run a network. It can be pickled; subclasses override `make` and `open`.

    Attributes:
        format: `WEIGHTS`, or a format of `export_model`.
        packages: Modules that must be installed.
        released: The distribution whose version is reported.
        precision: Of the file: ``"fp32"``, ``"fp16"`` or ``"int8"``.
    """

    format: str
    packages: tuple[str, ...] = ()
    released: str = "torch"
    precision: str = "fp32"

    @property
    def missing(self) -> list[str]:
        """Packages that are not installed."""
        return [name for name in self.packages if importlib.util.find_spec(name) is None]

    @property
    def version(self) -> str:
        """Name and version of the distribution."""
        return f"{self.released} {version(self.released)}"

    def make(
        self, name: str, network: Network, folder: Path, photos: np.ndarray | None, raw: bool = True
    ) -> tuple[Path, ...]:
        """Write the network's files into a folder, unless they are there.

        Args:
            photos: For int8's calibration.
            raw: float32 NCHW in and the network's own outputs out; else as `tinypose export` does by default.

        Returns:
            The file that `open` reads, then those that belong to it.

        Raises:
            ValueError, TimingError: The network has no such file.
        """
        suffix = ".safetensors" if self.format == WEIGHTS else find_export_format(self.format).suffix
        file = folder / f"{name}.{self.precision}{suffix}"
        if file.is_file():
            return (file,)
        if self.format == WEIGHTS:
            save_safetensors(network, file, describe_changes(config_of(network)))
        else:
            options = ExportOptions(self.format, images=not raw, decode=not raw, precision=self.precision)
            export_model(network, file, options, photos)
        return (file,)

    def open(self, name: str, file: Path, threads: int) -> Predict:
        """Returns a function that runs the network on an array ``(1, 3, H, W)``."""
        if self.format == WEIGHTS:
            return EagerRunner(create_model(name, weights=file)).run
        return open_exported(file, self.format, threads=threads).run


BACKENDS = {
    "eager": Backend(WEIGHTS),
    "torchscript": Backend("torchscript"),
    "executorch": Backend("executorch", ("executorch",), "executorch"),
    "executorch fp16": Backend("executorch", ("executorch",), "executorch", "fp16"),
    "executorch int8": Backend("executorch", ("executorch",), "executorch", "int8"),
    BASELINE: Backend("onnx", ("onnxscript", "onnxruntime"), "onnxruntime"),
}


def known_backends() -> dict[str, Backend]:
    """`BACKENDS`, and the export formats that plug-ins register."""
    known = {
        found.name: Backend(found.name, found.packages, next(iter(found.packages), "torch"))
        for found in export_formats()
    }
    return BACKENDS | {name: backend for name, backend in known.items() if name not in BACKENDS}


def prepare_network(backend: Backend, name: str, input_size: tuple[int, int], file: Path, threads: int) -> Run:
    """Returns a function that runs a network once on a float32 input and returns the seconds.

    Args:
        input_size: (height, width) of the input.
        file: The first that `Backend.make` returned.
    """
    torch.set_num_threads(threads)
    height, width = input_size
    x = np.random.default_rng(0).standard_normal((1, 3, height, width)).astype(np.float32)
    network = backend.open(name, file, threads)

    def run() -> list[float]:
        start = time.perf_counter()
        network(x)
        return [time.perf_counter() - start]

    return run
