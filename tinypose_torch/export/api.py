"""One call from a network to a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import nn

from tinypose_torch.atomic import replacing
from tinypose_torch.checkpoints.catalogue import PoseEntry
from tinypose_torch.defaults import EXPORT_FORMATS
from tinypose_torch.export import formats
from tinypose_torch.export.graphs import build_graph
from tinypose_torch.export.rewrites import rewrite
from tinypose_torch.factory import entry_of
from tinypose_torch.runtime.metadata import ExportMetadata

_PACKAGES = {"torchscript": (), "executorch": ("executorch",), "onnx": ("onnx", "onnxscript")}


@dataclass(frozen=True)
class ExportOptions:
    """How a file is made; the defaults suit a phone.

    Attributes:
        format: ``"torchscript"``, ``"executorch"`` or ``"onnx"``.
        images: uint8 RGB images in, normalised inside; else normalised float32 NCHW.
        decode: Keypoints out, decoded with DARK inside; else heatmaps. Without effect on detectors.
        batch: Images per call; ``None`` for any number (not for ExecuTorch, which would leave the fast path).
    """

    format: str = "executorch"
    images: bool = True
    decode: bool = True
    batch: int | None = 1


class ExportError(RuntimeError):
    """A format whose packages are not installed."""


def export_model(
    network: nn.Module, output: str | os.PathLike[str], options: ExportOptions | None = None
) -> ExportMetadata:
    """Export a network from `create_model`; the file appears only when it is complete.

    Returns:
        The description that the file carries.

    Raises:
        ValueError: Options that do not go together.
        ExportError: A package that the format needs is not installed.
    """
    options = options or ExportOptions()
    _check(options)
    graph, metadata = _prepare(network, options)
    with _written(output) as temporary:
        formats.WRITERS[options.format](graph, example_input(metadata), metadata, temporary)
    return metadata


def export_pair(
    detector: nn.Module, pose: nn.Module, output: str | os.PathLike[str], options: ExportOptions | None = None
) -> dict[str, ExportMetadata]:
    """Export a detector and a pose network into one ExecuTorch file, as its methods ``detect`` and ``pose``.

    Returns:
        The descriptions by method.

    Raises:
        ValueError: Networks of the same task, or options that do not go together.
        ExportError: A package that the format needs is not installed.
    """
    options = options or ExportOptions()
    _check(options)
    tasks = (entry_of(detector).task, entry_of(pose).task)
    if options.format != "executorch" or tasks != ("detection", "pose"):
        raise ValueError(
            f"one file holds a detector and a pose network, as executorch; asked for {tasks}, {options.format}"
        )
    methods = {}
    for name, network in (("detect", detector), ("pose", pose)):
        graph, metadata = _prepare(network, options)
        methods[name] = formats.Method(graph, example_input(metadata), metadata)
    with _written(output) as temporary:
        formats.write_executorch_methods(methods, temporary)
    return {name: method.metadata for name, method in methods.items()}


def _prepare(network: nn.Module, options: ExportOptions) -> tuple[nn.Module, ExportMetadata]:
    """The graph to export, and its description."""
    entry = entry_of(network)
    decode = options.decode and isinstance(entry, PoseEntry)
    metadata = ExportMetadata(entry, options.images, decode, options.batch, "fp32", _versions(options.format))
    return build_graph(rewrite(network, options.format).cpu(), entry, options.images, decode), metadata


@contextmanager
def _written(output: str | os.PathLike[str]) -> Iterator[Path]:
    try:
        with replacing(Path(output)) as temporary:
            yield temporary
    except ImportError as error:
        raise ExportError(f"{error}; pip install 'tinypose-torch[export]'") from None


def example_input(metadata: ExportMetadata) -> torch.Tensor:
    """An input of the right kind: seeded noise. Files for any number of images are made with two."""
    count = metadata.batch or 2
    height, width = metadata.entry.input_size
    generator = torch.Generator().manual_seed(0)
    if metadata.takes_images:
        return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=generator)
    return torch.randn(count, 3, height, width, generator=generator)


def _check(options: ExportOptions) -> None:
    if options.format not in EXPORT_FORMATS:
        raise ValueError(f"unknown format {options.format!r}; choose one of {', '.join(EXPORT_FORMATS)}")
    if options.batch is not None and options.batch < 1:
        raise ValueError(f"batch={options.batch}; at least 1 is needed")
    if options.batch is None and options.format == "executorch":
        raise ValueError("an ExecuTorch file needs a fixed batch: XNNPACK does not take varying shapes")


def _versions(format_name: str) -> dict[str, str]:
    versions = {}
    for package in ("tinypose-torch", "torch", *_PACKAGES[format_name]):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
