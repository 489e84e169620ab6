"""What counting needs: qemu with a plugin, runners for AArch64, and a root folder per emulated core."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

NATIVE = Path(__file__).resolve().parent / "native"
CROSS_FILE = NATIVE.parents[2] / "deploy/cpp/aarch64-linux-gnu.cmake"
CROSS_LIBRARIES = Path("/usr/aarch64-linux-gnu/lib")
PACKAGES = {
    "qemu-aarch64": "qemu-user",
    "aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu",
    "llvm-mca-19": "llvm-19",
    "gcc": "gcc",
}


@dataclass(frozen=True)
class Core:
    """A core.

    Attributes:
        part: Number in ``/proc/cpuinfo`` by which runtimes choose kernels.
        emulated: qemu's name of a core with the same instructions.
        priced: llvm's name.
    """

    part: str
    emulated: str
    priced: str


# Both have FP16 arithmetic and dot products. llvm prices Cortex-A76 with half of its FMLA rate; Neoverse N1 is the same core.
CORES = {
    "cortex-a55": Core("0xd05", "cortex-a76", "cortex-a55"),
    "neoverse-n1": Core("0xd0c", "cortex-a76", "neoverse-n1"),
}
_FEATURES = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs"


class ToolchainError(OSError):
    """Programs that are not installed, or a build that failed."""


@dataclass(frozen=True)
class Toolchain:
    """Where everything is.

    Attributes:
        folder: All that was built, and scratch files.
    """

    folder: Path
    assembler: str = "llvm-mc-19"
    analyser: str = "llvm-mca-19"

    @property
    def plugin(self) -> Path:
        """qemu's plugin."""
        return self.folder / "count_blocks.so"

    @property
    def libraries(self) -> Path:
        """ExecuTorch's libraries for AArch64."""
        return self.folder / "executorch/executorch/lib"

    @property
    def runner(self) -> Path:
        """Program that runs a method of an ExecuTorch file."""
        return self.folder / "build/run_executorch"

    def root(self, core: str) -> Path:
        """Folder that the emulated process sees before the machine's own: C library and description of the core."""
        return self.folder / "roots" / core


def missing_packages() -> list[str]:
    """Debian packages that are not installed."""
    return sorted({package for program, package in PACKAGES.items() if shutil.which(program) is None})


def prepare(folder: Path) -> Toolchain:
    """Build what is not there yet.

    Raises:
        ToolchainError: Packages are missing, or a step failed.
    """
    if missing := missing_packages():
        raise ToolchainError(f"{', '.join(missing)} missing; apt-get install -y {' '.join(PACKAGES.values())}")
    tools = Toolchain(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _run(["gcc", "-O2", "-shared", "-fPIC", "-o", tools.plugin, NATIVE / "count_blocks.c"])
    for core in CORES:
        _write_root(tools.root(core), CORES[core])
    if not tools.libraries.is_dir():
        fetch_wheel("executorch", folder / "executorch")
    configure = ["cmake", "-S", NATIVE, "-B", folder / "build", "-DCMAKE_BUILD_TYPE=Release"]
    configure += [f"-DCMAKE_TOOLCHAIN_FILE={CROSS_FILE}", f"-DCMAKE_PREFIX_PATH={folder}/executorch/executorch"]
    _run(configure)
    _run(["cmake", "--build", folder / "build"])
    return tools


def fetch_wheel(package: str, target: Path) -> None:
    """Unpack a package's wheel for AArch64, of the version installed here.

    Raises:
        ToolchainError: It cannot be fetched.
    """
    wanted = f"{package}=={version(package)}"
    if uv := shutil.which("uv"):
        fetch = [uv, "pip", "install", "--python-platform", "aarch64-manylinux_2_28"]
    else:
        fetch = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--platform",
            "manylinux_2_28_aarch64",
            "--only-binary",
            ":all:",
        ]
    _run([*fetch, "--no-deps", "--target", target, wanted])


def _write_root(root: Path, core: Core) -> None:
    cpus = root / "sys/devices/system/cpu"
    cpus.mkdir(parents=True, exist_ok=True)
    for name in ("possible", "present", "online"):
        (cpus / name).write_text("0\n")
    facts = {
        "processor": "0",
        "Features": _FEATURES,
        "CPU implementer": "0x41",
        "CPU architecture": "8",
        "CPU variant": "0x1",
        "CPU part": core.part,
        "CPU revision": "0",
    }
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/cpuinfo").write_text("".join(f"{name}\t: {value}\n" for name, value in facts.items()) + "\n")
    if not (root / "lib").is_symlink():
        (root / "lib").symlink_to(CROSS_LIBRARIES)


def _run(command: list[str | Path]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolchainError(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-300:]}")
