"""One call from a network to a file."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tinypose_torch.checkpoints.limits import MAX_BATCH
from tinypose_torch.export.graphs import HalfPrecision, build_graph
from tinypose_torch.export.progress import PREPARE, Progress, no_progress, of_network
from tinypose_torch.export.quantise import ERROR_BUDGET, quantised
from tinypose_torch.export.rewrites import rewrite
from tinypose_torch.geometry.normalize import normalize
from tinypose_torch.models.base import Network
from tinypose_torch.models.config import DetectorConfig, ModelConfig, TopDownConfig, config_of, of_task
from tinypose_torch.runtime.formats import Method, export_formats, find_export_format
from tinypose_torch.runtime.metadata import ExportMetadata
from tinypose_torch.utils.atomic import replacing
from tinypose_torch.utils.defaults import PRECISIONS
from tinypose_torch.utils.versions import installed_versions


@dataclass(frozen=True)
class ExportOptions:
    """How a file is made; the defaults suit a phone.

    Attributes:
        format: ``"torchscript"``, ``"executorch"``, ``"onnx"``, or the name of a registered format.
        images: uint8 RGB images in, normalised inside; else normalised float32 NCHW.
        decode: Keypoints out, decoded with DARK inside; else heatmaps. Without effect on detectors
            and on bottom-up networks, which give heatmaps and tags.
        batch: Images per call; ``None`` for any number (not for ExecuTorch).
        precision: ``"fp32"``, ``"fp16"`` (half the size; fast where the processor computes in float16), or ``"int8"``
            (ExecuTorch only), which needs ``calibration`` images.
        error_budget: How much int8 may change the network's outputs; see `tinypose_torch.export.quantise`.
    """

    format: str = "executorch"
    images: bool = True
    decode: bool = True
    batch: int | None = 1
    precision: str = "fp32"
    error_budget: float | None = None

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ValueError: One that is unknown or out of range, or two that do not go together.
        """
        found = find_export_format(self.format)
        if self.batch is not None and not 1 <= self.batch <= MAX_BATCH:
            raise ValueError(f"batch={self.batch}; at least 1 is needed, and at most {MAX_BATCH} are supported")
        if self.precision not in PRECISIONS:
            raise ValueError(f"unknown precision {self.precision!r}; choose one of {', '.join(PRECISIONS)}")
        if self.precision not in found.precisions:
            makers = " or ".join(known.name for known in export_formats() if self.precision in known.precisions)
            raise ValueError(f"{self.precision} is made for {makers}, not for {self.format}")
        if self.error_budget is not None and not 0 < self.error_budget < math.inf:
            raise ValueError(f"error_budget={self.error_budget}; expected a finite number above 0")
        if self.batch is None and found.fixed_batch is not None:
            raise ValueError(f"format {self.format} needs a fixed batch: {found.fixed_batch}")


@dataclass(frozen=True)
class Exported:
    """What `export_model` made.

    Attributes:
        metadata: The description that the file carries.
        facts: For the receipt: what XNNPACK took, what became int8.
    """

    metadata: ExportMetadata
    facts: dict[str, Any]


class ExportError(RuntimeError):
    """A file that cannot be made here: packages are not installed, or the exporter failed."""


def export_model(
    network: Network,
    output: str | os.PathLike[str],
    options: ExportOptions | None = None,
    calibration: np.ndarray | None = None,
    progress: Progress = no_progress,
) -> Exported:
    """Export a network from `create_model`; the file appears only when it is complete.

    Args:
        calibration: Images of the network's input size, ``(N, H, W, 3)`` uint8 RGB, as it will see them; for int8.
        progress: Called with every stage, and the share of it that is done; see `tinypose_torch.export.progress`.

    Raises:
        ValueError: Options that do not go together.
        ExportError: A package that the format needs is not installed.
    """
    options = options or ExportOptions()
    with written(output, options.format) as temporary:
        prepared = prepare(network, options, calibration, progress)
        facts = find_export_format(options.format).write(prepared.method, temporary, progress)
        method = prepared.method
    return Exported(method.metadata, prepared.facts | facts)


def export_pair(
    detector: Network,
    pose: Network,
    output: str | os.PathLike[str],
    options: ExportOptions | None = None,
    calibration: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
    progress: Progress = no_progress,
) -> dict[str, Exported]:
    """Export a detector and a pose network into one ExecuTorch file, as its methods ``detect`` and ``pose``.

    Args:
        calibration: As for `export_model`, for each.
        progress: As for `export_model`.

    Returns:
        What was made, by method.

    Raises:
        ValueError: Networks of the same task, or options that do not go together.
        ExportError: A package that the format needs is not installed.
    """
    options = options or ExportOptions()
    if not find_export_format(options.format).several_networks:
        raise ValueError(f"a file of format {options.format} holds one network; export detector and pose network apart")
    of_task(config_of(detector), DetectorConfig)
    of_task(config_of(pose), TopDownConfig)
    with written(output, options.format) as temporary:
        prepared = {
            name: prepare(network, options, images, progress)
            for name, network, images in zip(("detect", "pose"), (detector, pose), calibration, strict=True)
        }
        methods = {name: made.method for name, made in prepared.items()}
        facts = find_export_format(options.format).write_methods(methods, temporary, progress)
    return {name: Exported(made.method.metadata, made.facts | facts[name]) for name, made in prepared.items()}


@dataclass(frozen=True)
class Prepared:
    """A graph ready to be written.

    Attributes:
        method: The graph and its description.
        facts: For the receipt: what became int8.
    """

    method: Method
    facts: dict[str, Any]


def prepare(network: Network, options: ExportOptions, calibration: np.ndarray | None, progress: Progress) -> Prepared:
    """Rewrite a network for a format, in a precision; arguments as for `export_model`."""
    config = config_of(network)
    progress = of_network(progress, config.name)
    refuse_if_limited(config, options)
    decode = options.decode and config.takes_boxes
    versions = package_versions(options.format, options.precision)
    metadata = ExportMetadata(config, options.images, decode, options.batch, options.precision, versions)
    progress(PREPARE, 0)
    rewritten: Network | HalfPrecision = rewrite(network, options.format, options.precision).cpu()
    if options.precision == "fp16":
        rewritten = HalfPrecision(rewritten)  # type: ignore[arg-type]
    graph = build_graph(rewritten, config, options.images, decode)
    if options.images:
        graph.input = find_export_format(options.format).image_input(config).eval()
    example = example_input(metadata)
    if options.precision != "int8":
        return Prepared(Method(graph, example, metadata), {})
    images = _calibration_images(calibration, config, metadata)
    budget = ERROR_BUDGET[config.task] if options.error_budget is None else options.error_budget
    int8_graph, plan = quantised(graph, example, images, budget, progress)
    return Prepared(Method(int8_graph, example, metadata), plan.to_json())


def _calibration_images(images: np.ndarray | None, config: ModelConfig, metadata: ExportMetadata) -> np.ndarray:
    """The images as the graph takes them."""
    if images is None or len(images) == 0:
        raise ValueError(f"{config.name}: int8 needs images to calibrate on, as the network will see them")
    if images.dtype != np.uint8 or images.shape[1:] != (*config.input_size, 3):
        raise ValueError(
            f"calibration images {images.dtype} {images.shape}; {config.name} takes uint8 (N, {config.input_size[0]}, "
            f"{config.input_size[1]}, 3)"
        )
    return images if metadata.takes_images else normalize(images, config.mean, config.std)


@contextmanager
def written(output: str | os.PathLike[str], format_name: str) -> Iterator[Path]:
    """The temporary file to export into."""
    try:
        with replacing(Path(output)) as temporary:
            yield temporary
    except ImportError as error:
        raise ExportError(f"{error}; {find_export_format(format_name).install_hint()}") from None


def refuse_if_limited(config: ModelConfig, options: ExportOptions) -> None:
    """Check that a network can be exported so.

    Raises:
        ValueError: It cannot.
    """
    limitation = config.network.mobile_limitation
    if limitation is not None and (find_export_format(options.format).mobile or options.precision != "fp32"):
        others = " or ".join(known.name for known in export_formats() if not known.mobile)
        raise ValueError(f"{config.name} is exported as {others}, in fp32: {limitation}")


def suits_phones(config: ModelConfig) -> bool:
    """Whether a network can be an ExecuTorch file: those with deformable convolutions cannot."""
    return config.network.mobile_limitation is None


def example_input(metadata: ExportMetadata) -> torch.Tensor:
    """An input of the right kind: seeded noise. Files for any number of images are made with two."""
    count = metadata.batch or 2
    height, width = metadata.config.input_size
    generator = torch.Generator().manual_seed(0)
    if metadata.takes_images:
        return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=generator)
    return torch.randn(count, 3, height, width, generator=generator)


def package_versions(format_name: str, precision: str) -> dict[str, str]:
    """Versions of the packages that make a file."""
    quantiser = ("torchao",) if precision == "int8" else ()
    return installed_versions(("tinypose-torch", "torch", *find_export_format(format_name).packages, *quantiser))
