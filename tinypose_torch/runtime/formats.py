"""The registry of export formats: how a network is written to a file, and how the file is opened.

Writers and runners are imported when they are used. Others register formats with `register_export_format` in a plug-in: see
`tinypose_torch.utils.plugins`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from torch import Tensor, nn

from tinypose_torch.runtime.metadata import ExportMetadata
from tinypose_torch.utils.hints import install_hint, packages_hint
from tinypose_torch.utils.plugins import Registry

if TYPE_CHECKING:
    from tinypose_torch.export.progress import Progress
    from tinypose_torch.models.base import Network
    from tinypose_torch.models.config import ModelConfig
    from tinypose_torch.runtime.base import FileRunner


@dataclass(frozen=True)
class Method:
    """A network to be written: alone, or as a method of a file with several.

    Attributes:
        graph: Takes and gives what ``metadata`` says.
        example: An input.
        metadata: The description that the file must carry.
    """

    graph: nn.Module
    example: Tensor
    metadata: ExportMetadata


class ExportFormat(ABC):
    """A format of exported files. Its name is also the name of the backend that runs them.

    Attributes:
        name: What ``tinypose export --format`` takes.
        suffix: End of the file names, by which a file is recognised; with the dot.
        packages: What must be installed to write it; their versions are noted in the file.
        extra: The extra of this project that installs them.
        precisions: Of `PRECISIONS`.
        fixed_batch: Why a file is for a fixed number of images; ``None`` if it need not be.
        several_networks: Whether a file can hold detector and pose network.
        mobile: Whether networks with a `mobile_limitation` cannot be exported to it.
        cpu_only: Whether files run on the CPU only.
        stages: Stages of `write` that its ``progress`` is called with, and their typical durations, seconds.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str | None] = None
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    fixed_batch: ClassVar[str | None] = None
    several_networks: ClassVar[bool] = False
    mobile: ClassVar[bool] = False
    cpu_only: ClassVar[bool] = True
    stages: ClassVar[Mapping[str, float]] = {"write": 5.0}

    @abstractmethod
    def write(self, method: Method, path: Path, progress: Progress) -> dict[str, Any]:
        """Write a network to a file.

        Returns:
            Facts for the receipt.

        Raises:
            ImportError: A package is not installed.
        """

    @abstractmethod
    def open(self, path: Path, device: str, threads: int | None, task: str | None) -> FileRunner:
        """Open a file of the format.

        Args:
            threads: Inference threads; the backend's own default unless given.
            task: Which network of a file that holds several.

        Raises:
            CheckpointError: The file is damaged or of another format, or its runtime is not installed.
        """

    def write_methods(self, methods: dict[str, Method], path: Path, progress: Progress) -> dict[str, dict[str, Any]]:
        """Write several networks to one file, and return the facts of each; for formats with ``several_networks``."""
        raise NotImplementedError(f"{type(self).__name__} must implement write_methods to hold several networks")

    def image_input(self, config: ModelConfig) -> nn.Module:
        """What makes the network's input of uint8 images ``(N, H, W, 3)`` RGB."""
        from tinypose_torch.export.graphs import ImageInput

        return ImageInput(config)

    def rewrite(self, network: Network) -> Network:
        """A network with equal outputs that suits the format; the given one may be changed."""
        return network

    def install_hint(self) -> str:
        """The shell command that installs the packages."""
        return install_hint(self.extra) if self.extra is not None else packages_hint(*self.packages)


_FORMATS: Registry[ExportFormat] = Registry("export format")
Format = TypeVar("Format", bound=type[ExportFormat])
_BACKENDS = ("auto", "eager")


def register_export_format(format_class: Format) -> Format:
    """Decorator: register a class of exported files.

    Raises:
        ValueError: The name or the suffix is taken, or the suffix has no dot.
        TypeError: A method, the name or the suffix is missing.
    """
    for attribute in ("name", "suffix"):
        if not isinstance(getattr(format_class, attribute, None), str):
            raise TypeError(f"{format_class.__name__} must have a `{attribute}`")
    name, suffix = format_class.name, format_class.suffix
    if not suffix.startswith(".") or suffix in [known.suffix for known in _FORMATS]:
        raise ValueError(f"export format {name!r}: suffix {suffix!r} is taken, or has no dot; choose another one")
    if name in _BACKENDS:
        raise ValueError(f"export format {name!r}: a backend has the name; choose another one")
    _FORMATS.add(name, format_class())
    return format_class


def export_formats() -> list[ExportFormat]:
    """All registered formats, those of plug-ins included."""
    return list(_FORMATS)


def find_export_format(name: str) -> ExportFormat:
    """The format of a name.

    Raises:
        ValueError: There is none; the message lists the names.
    """
    return _FORMATS.find(name)


def check_backend(name: str) -> None:
    """Check the name of a backend: ``"auto"``, ``"eager"``, or an export format's.

    Raises:
        ValueError: There is no such backend.
    """
    known = (*_BACKENDS, *(found.name for found in _FORMATS))
    if name not in known:
        raise ValueError(f"unknown backend {name!r}; choose one of {', '.join(known)}")


@register_export_format
class TorchScriptFormat(ExportFormat):
    """TorchScript, traced and frozen."""

    name, suffix = "torchscript", ".torchscript"
    precisions = ("fp32", "fp16")
    cpu_only = False
    stages = {"trace": 3.0, "write": 0.3}  # noqa: RUF012

    def write(self, method: Method, path: Path, progress: Progress) -> dict[str, Any]:
        from tinypose_torch.export.formats import write_torchscript

        return write_torchscript(method, path, progress)

    def open(self, path: Path, device: str, threads: int | None, task: str | None) -> FileRunner:
        from tinypose_torch.runtime.exported import TorchScriptRunner

        return TorchScriptRunner(path, device, threads)


@register_export_format
class ExecuTorchFormat(ExportFormat):
    """ExecuTorch with XNNPACK."""

    name, suffix = "executorch", ".pte"
    packages, extra = ("executorch",), "export"
    precisions = ("fp32", "fp16", "int8")
    fixed_batch = "XNNPACK does not take varying shapes"
    several_networks = mobile = True
    stages = {"trace": 5.0, "lower": 25.0, "write": 3.0}  # noqa: RUF012

    def write(self, method: Method, path: Path, progress: Progress) -> dict[str, Any]:
        return self.write_methods({"forward": method}, path, progress)["forward"]

    def write_methods(self, methods: dict[str, Method], path: Path, progress: Progress) -> dict[str, dict[str, Any]]:
        from tinypose_torch.export.formats import write_executorch_methods

        return write_executorch_methods(methods, path, progress)

    def open(self, path: Path, device: str, threads: int | None, task: str | None) -> FileRunner:
        from tinypose_torch.runtime.exported import ExecuTorchRunner

        return ExecuTorchRunner(path, threads, task)

    def image_input(self, config: ModelConfig) -> nn.Module:
        from tinypose_torch.export.graphs import Normalise
        from tinypose_torch.export.xnnpack import FromUint8

        return nn.Sequential(FromUint8(), Normalise(config))

    def rewrite(self, network: Network) -> Network:
        from tinypose_torch.export.rewrites import rewrite_for_xnnpack

        return rewrite_for_xnnpack(network)


@register_export_format
class OnnxFormat(ExportFormat):
    """ONNX, run by ONNX Runtime."""

    name, suffix = "onnx", ".onnx"
    packages, extra = ("onnx", "onnxscript"), "export"
    precisions = ("fp32", "fp16")
    stages = {"trace": 12.5, "write": 0.5}  # noqa: RUF012

    def write(self, method: Method, path: Path, progress: Progress) -> dict[str, Any]:
        from tinypose_torch.export.formats import write_onnx

        return write_onnx(method, path, progress)

    def open(self, path: Path, device: str, threads: int | None, task: str | None) -> FileRunner:
        from tinypose_torch.runtime.exported import OnnxRunner

        return OnnxRunner(path, threads)
