"""One call from two networks to a file that takes frames and gives people."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tinypose_torch.checkpoints.limits import FRAME_SIZES, MAX_COUNT, MAX_SLOTS
from tinypose_torch.estimators.detection import find_person_class
from tinypose_torch.estimators.preprocessing import check_resize
from tinypose_torch.export.api import ExportOptions, package_versions, prepare, refuse_if_limited, written
from tinypose_torch.export.app import onnx, torchscript
from tinypose_torch.export.app.program import FrameProgram
from tinypose_torch.export.app.torchscript import TracedProgram
from tinypose_torch.export.graphs import build_graph
from tinypose_torch.export.progress import Progress, no_progress
from tinypose_torch.export.rewrites import rewrite
from tinypose_torch.export.warning_filters import ignore_exporter_warnings
from tinypose_torch.geometry.nms import NMSConfig
from tinypose_torch.models.base import Network
from tinypose_torch.models.config import DetectorConfig, TopDownConfig, config_of, of_task
from tinypose_torch.runtime.app_metadata import AppMetadata
from tinypose_torch.runtime.metadata import ExportMetadata
from tinypose_torch.utils.defaults import FRAME, INTERFACES, PIXEL_FORMATS, REACT_NATIVE
from tinypose_torch.utils.pixel_formats import find_pixel_format

Facts = dict[str, Any]
_DETECT_EVERY = 5


@dataclass(frozen=True)
class ExportedApp:
    """What `export_app` made.

    Attributes:
        metadata: The description that the file carries.
        facts: For the receipt: what XNNPACK took.
    """

    metadata: AppMetadata
    facts: dict[str, Any]


def export_app(
    pose: Network,
    detector: Network,
    path: str | os.PathLike[str],
    frame_size: tuple[int, int] = (480, 640),
    max_people: int = 4,
    format: str = "executorch",
    precision: str = "fp32",
    *,
    interface: str = FRAME,
    pixels: str = "rgb",
    detection_threshold: float | None = None,
    person_class: str | None = None,
    detect_every: int | None = None,
    calibration: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
    error_budget: float | None = None,
    progress: Progress = no_progress,
) -> ExportedApp:
    """Export the whole pipeline: a frame in, people out. The file appears only when it is complete.

    Its answers are those of ``PoseEstimator(resize="portable")`` for the people with the highest scores.

    Args:
        pose, detector: Networks from `create_model`.
        frame_size: (height, width) of the frames, pixels.
        max_people: Number of people that the file gives at most.
        format: ``"executorch"``, ``"torchscript"`` or ``"onnx"``.
        precision: ``"fp32"``, ``"fp16"`` or ``"int8"``, of both networks; see `ExportOptions`.
        interface: ``"frame"``: methods that take uint8 frames; or ``"react-native"``: the one method that
            react-native-executorch expects of a keypoint model, for ``"executorch"``.
        calibration: Images of the detector's and of the pose network's input size, ``(N, H, W, 3)`` uint8 RGB; for int8.
        error_budget: How much int8 may change the outputs of each network; see `tinypose_torch.export.quantise`.
        pixels: Pixel format of the frames: ``"rgb"``, ``"rgba"``, ``"bgr"`` or ``"nv21"``.
        detection_threshold: Score above which a person is kept; the detector's own unless given.
        person_class: Class of the detector that is a person; unless given ``"person"``, or its only class.
        detect_every: The method ``follow`` runs the detector in every n-th frame; 5 unless given. ONNX files have no such
            method.
        progress: Called with every stage; see `tinypose_torch.export.progress`.

    Raises:
        ValueError: An argument out of range, or networks of which this format or this program cannot be made.
        ExportError: A package that the format needs is not installed.
    """
    options = ExportOptions(format, images=False, decode=False, precision=precision, error_budget=error_budget)
    if format not in _WRITERS:
        raise ValueError(f"format={format!r}; apps are exported as {', '.join(_WRITERS)}")
    if precision in _WITHOUT_PRECISION.get(format, ()):
        raise ValueError(f"precision={precision!r} is not for apps of format {format}; export in fp32 or int8")
    check_interface(interface, format, pixels)
    check_sizes(frame_size, max_people, pixels)
    configs = _checked_configs(pose, detector, person_class, options)
    threshold = configs[0].person_threshold if detection_threshold is None else detection_threshold
    if not 0 <= threshold <= 1:
        raise ValueError(f"detection_threshold={threshold}; expected 0 to 1")
    versions = package_versions(format, precision)
    interval = check_detect_every(detect_every, format, interface)
    described = [ExportMetadata(config, True, config.takes_boxes, 1, precision, versions) for config in configs]
    metadata = AppMetadata(described[0], described[1], frame_size, max_people, threshold, interval, interface, pixels)
    with written(path, format) as temporary:
        networks = zip((detector, pose), calibration, strict=True)
        prepared = [prepare(network, options, images, progress) for network, images in networks]
        detector_graph, pose_graph = (each.method.graph for each in prepared)
        program = assemble_program(detector_graph, pose_graph, metadata, format)
        facts = _write(program, metadata, format, temporary, progress)
    for config, each in zip(configs, prepared, strict=True):
        facts |= {f"{config.name}: {key}": value for key, value in each.facts.items()}
    return ExportedApp(metadata, facts)


def build_program(pose: Network, detector: Network, metadata: AppMetadata, format_name: str) -> FrameProgram:
    """The program of an app as a module, in float32, with both networks rewritten for a format."""
    detector_graph, pose_graph = (
        build_graph(rewrite(network, format_name).cpu(), config, images=False, decode=False)
        for network, config in ((detector, metadata.detector_config), (pose, metadata.pose_config))
    )
    return assemble_program(detector_graph, pose_graph, metadata, format_name)


def assemble_program(detector: nn.Module, pose: nn.Module, metadata: AppMetadata, format_name: str) -> FrameProgram:
    """The program of an app as a module, of prepared networks: normalised float32 in."""
    kind = _PROGRAMS.get((format_name, metadata.interface), lambda: FrameProgram)()
    return kind(
        detector,
        pose,
        metadata,
    ).eval()


def check_sizes(frame_size: tuple[int, int], max_people: int, pixels: str = "rgb") -> None:
    """Check the size of an app's frames, its number of people, and its pixel format.

    Raises:
        ValueError: One is out of range, or the format is unknown or needs another size.
    """
    low, high = FRAME_SIZES
    if len(frame_size) != 2 or not all(low <= side <= high for side in frame_size):
        shown = " x ".join(map(str, frame_size))
        raise ValueError(f"frame_size={shown}; expected height and width from {low} to {high} pixels")
    if not 1 <= max_people <= MAX_SLOTS:
        raise ValueError(f"max_people={max_people}; expected 1 to {MAX_SLOTS}")
    find_pixel_format(pixels).check_size(frame_size)


def check_interface(interface: str, format_name: str, pixels: str) -> None:
    """Check the interface of an app in a format.

    Raises:
        ValueError: It is unknown, or not for the format or the pixel format.
    """
    if interface not in INTERFACES:
        raise ValueError(f"interface={interface!r}; choose one of {', '.join(INTERFACES)}")
    if interface != FRAME and (format_name, interface) not in _PROGRAMS:
        raise ValueError(f"interface={interface!r} is not for format={format_name!r}; leave one of them out")
    if interface != FRAME and pixels != PIXEL_FORMATS[0]:
        raise ValueError(f"pixels={pixels!r} has no effect with interface={interface!r}; leave it out")


def check_detect_every(detect_every: int | None, format_name: str, interface: str) -> int | None:
    """Check in how many frames the detector of ``follow`` runs once; return it, or ``None`` for files without ``follow``.

    Raises:
        ValueError: It is out of range, or files of the format and interface have no such method.
    """
    if (format_name, interface) not in _WITH_FOLLOW:
        if detect_every is not None:
            kind = format_name if interface == FRAME else interface
            raise ValueError(f"detect_every={detect_every} is for the method follow, which {kind} files do not have")
        return None
    if detect_every is not None and not 1 <= detect_every <= MAX_COUNT:
        raise ValueError(f"detect_every={detect_every}; expected 1 to {MAX_COUNT}")
    return detect_every or _DETECT_EVERY


def _checked_configs(
    pose: Network, detector: Network, person_class: str | None, options: ExportOptions
) -> tuple[DetectorConfig, TopDownConfig]:
    """The configs of detector and pose network, of which a program can be made."""
    pose_config = of_task(config_of(pose), TopDownConfig)
    config = of_task(config_of(detector), DetectorConfig)
    for each in (config, pose_config):
        refuse_if_limited(each, options)
    check_resize(config, "portable")
    if not isinstance(config.nms, NMSConfig) or config.embeddings:
        raise ValueError(f"{config.name} needs matrix NMS, which apps do not have; take a PicoDet")
    return replace(config, person_class=find_person_class(config, person_class)), pose_config


def _write(program: FrameProgram, metadata: AppMetadata, format_name: str, path: Path, progress: Progress) -> Facts:
    generator = torch.Generator().manual_seed(0)
    frame = torch.randint(0, 256, metadata.frame_shape, dtype=torch.uint8, generator=generator)
    return _WRITERS[format_name](program, frame, metadata.to_json(), path, progress)


def _executorch_writer() -> ModuleType:
    """The module that needs ExecuTorch, imported when it is needed."""
    with ignore_exporter_warnings():
        return import_module("tinypose_torch.export.app.executorch")


def _write_executorch(program: FrameProgram, frame: Tensor, description: str, path: Path, progress: Progress) -> Facts:
    facts: Facts = _executorch_writer().write(program, frame, description, path, progress)
    return facts


def _write_torchscript(program: FrameProgram, frame: Tensor, description: str, path: Path, progress: Progress) -> Facts:
    assert isinstance(program, TracedProgram)
    torchscript.write(program, frame, description, path, progress)
    return {}


_WRITERS: dict[str, Callable[[FrameProgram, Tensor, str, Path, Progress], Facts]] = {
    "executorch": _write_executorch,
    "torchscript": _write_torchscript,
    "onnx": onnx.write,
}
# Of formats whose files do not run everything at every call, by interface.
_PROGRAMS: dict[tuple[str, str], Callable[[], type[FrameProgram]]] = {
    ("executorch", FRAME): lambda: _executorch_writer().PresentPeople,
    ("executorch", REACT_NATIVE): lambda: _executorch_writer().ReactNativeProgram,
    ("torchscript", FRAME): lambda: TracedProgram,
    ("onnx", FRAME): lambda: onnx.BatchOfPeople,
}
_WITH_FOLLOW = frozenset((("executorch", FRAME), ("torchscript", FRAME)))
# Precisions that a format has for single networks, but not for apps: XNNPACK would not take all of a part.
_WITHOUT_PRECISION = {"executorch": ("fp16",)}
