"""The networks of `tinypose predict`: which, in what form, on which backend."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tinypose_torch.checkpoints.identity import resolve_model
from tinypose_torch.estimators.base import Estimator
from tinypose_torch.estimators.pose_estimator import AppEstimator, PoseEstimator
from tinypose_torch.export.cache import EXPORT_PAYS_FROM, CacheError, can_export, fastest_form
from tinypose_torch.models.registry import get_config
from tinypose_torch.runtime.exported import backend_of
from tinypose_torch.utils import defaults
from tinypose_torch.utils.hints import install_hint
from tinypose_torch.utils.threads import count_cores
from tinypose_torch.video import VideoReader, is_camera, is_video
from tinypose_torch.video.lookahead import Lookahead, iter_lookahead

Weights = str | os.PathLike[str] | None


@dataclass(frozen=True)
class Networks:
    """Detector and pose network, to be built in one process or another; see `PoseEstimator`."""

    detector: str | None
    pose: str
    detector_weights: Weights
    pose_weights: Weights
    backend: str
    device: str
    detection_threshold: float | None
    person_class: str | None
    crop: str | None
    threads: int | None
    resize: str | None
    batch_size: int = defaults.BATCH_SIZE
    uncertainty: bool = False

    def build(self, device: str | None = None) -> PoseEstimator:
        """Estimator with the chosen networks and weights.

        Args:
            device: In place of the chosen one.
        """
        return PoseEstimator(
            self.detector,
            self.pose,
            self.detector_weights,
            self.pose_weights,
            self.backend,
            device or self.device,
            detection_threshold=self.detection_threshold,
            person_class=self.person_class,
            crop=self.crop,
            threads=self.threads,
            resize=self.resize,
            batch_size=self.batch_size,
            uncertainty=self.uncertainty,
        )

    def can_be_exported(self) -> bool:
        """Whether exported files of the networks would be used."""
        return self.backend == "auto" and self.device == "cpu" and get_config(self.pose).takes_boxes

    def build_lookahead(self, threshold: float | None) -> Callable[[np.ndarray], Iterator[Lookahead]]:
        """What finds the people in an RGB image, from a score on, and then their poses."""
        return partial(iter_lookahead, estimator=self.build(), threshold=threshold)


def choose_networks(options: argparse.Namespace, sources: Sequence[str]) -> Networks:
    """The networks for the sources, in their fastest form.

    Raises:
        ValueError: Options that do not go together.
    """
    options.pose = resolve_model(options.pose, options.pose_weights, PoseEstimator.tasks, "--pose NAME").name
    detector = _choose_detector(options)
    backend = _backend(options)
    weights = [options.detector_weights, options.pose_weights]
    if backend == "auto" and options.device == "cpu" and can_export() and get_config(options.pose).takes_boxes:
        count = count_images(sources)
        weights[0] = _form(detector, weights[0], count)
        if not options.uncertainty:  # which needs heatmaps
            weights[1] = _form(options.pose, weights[1], count)
    return Networks(
        detector,
        options.pose,
        weights[0],
        weights[1],
        backend,
        options.device,
        options.detection_threshold,
        options.person_class,
        options.crop,
        _threads(options, detector, weights, sources),
        options.resize,
        getattr(options, "batch_size", defaults.BATCH_SIZE),
        options.uncertainty,
    )


def _choose_detector(options: argparse.Namespace) -> str | None:
    """The detector's name; ``None`` if none is wanted, or if the pose network is a bottom-up network.

    Raises:
        ValueError: Options for a detector that is not used, or for crops that are not made.
    """
    config = get_config(options.pose)
    names = ("detector_weights", "detection_threshold", "person_class")
    if not config.takes_boxes:
        if options.detector is not None:
            raise ValueError(
                f"--detector {options.detector} has no effect on --pose {options.pose}, {config.kind}; "
                "leave one of them out"
            )
        _refuse(options, (*names, "crop", "resize"), f"on {options.pose}, {config.kind}")
        _refuse_intervals(options, f"--pose {options.pose}")
    elif options.detector == defaults.NO_DETECTOR:
        _refuse(options, names, f"with --detector {defaults.NO_DETECTOR}")
        _refuse_intervals(options, f"--detector {defaults.NO_DETECTOR}")
    else:
        return resolve_model(options.detector, options.detector_weights, ("detection",), "--detector NAME").name
    return None


def build_app(options: argparse.Namespace) -> AppEstimator:
    """The estimator of an app file.

    Raises:
        ValueError: Options for networks, which the file holds.
    """
    names = ("detector", "detector_weights", "pose_weights", "detection_threshold", "person_class", "crop", "resize")
    refuse_beside_app(options, (*names, "uncertainty"))
    if options.detect_every > 1:
        raise ValueError(
            f"--detect-every {options.detect_every} has no effect with --app; set it when the app is exported"
        )
    estimator = AppEstimator(options.app, threads=options.threads)
    if estimator.metadata.detect_every is not None and options.smoothing != "steady":
        raise ValueError(
            f"--smoothing {options.smoothing} has no effect with --app, whose file smooths keypoints itself"
        )
    return estimator


def refuse_beside_app(options: argparse.Namespace, names: Iterable[str]) -> None:
    """Refuse options for networks, which an app file holds.

    Args:
        names: Options that the file settles, without a default or false by default, besides those of every command.

    Raises:
        ValueError: One of them is given, or a pose network, a backend or a device.
    """
    if options.pose != defaults.AUTO:
        raise ValueError(f"--pose {options.pose} has no effect with --app, which holds the pose network")
    for name in names:
        value = getattr(options, name)
        if value is not None and value is not False:
            raise ValueError(f"--{name.replace('_', '-')} has no effect with --app, whose file settles it")
    if getattr(options, "backend", None) not in (None, "auto"):
        raise ValueError(f"--backend {options.backend} has no effect with --app, whose file settles it")
    if options.device != "cpu":
        raise ValueError(f"--device {options.device} has no effect with --app, which runs on the cpu")


def say_what_runs(estimator: Estimator, networks: Networks | None, sources: Sequence[str]) -> None:
    """Print the backends, and how to get a faster one where that pays."""
    backends = sorted(estimator.backends)
    slow = backends == ["eager"] and not can_export() and networks is not None and networks.can_be_exported()
    pays = slow and count_images(sources) >= EXPORT_PAYS_FROM
    hint = f"; faster on the CPU with: {install_hint('export')}" if pays else ""
    print(f"running on {' and '.join(backends)}{hint}", file=sys.stderr)


def count_images(sources: Iterable[str]) -> float:
    """Photos, and frames of videos as their headers declare them; infinity with a camera or a video that does not."""
    return sum(_count_frames(source) if is_video(source) else 1 for source in sources)


def _count_frames(source: str) -> float:
    if is_camera(source):
        return float("inf")
    try:
        with VideoReader(source) as video:
            return video.declared_frames or float("inf")
    except (ValueError, OSError):
        return 0  # reported when its turn comes


def _form(name: str | None, weights: Weights, num_images: float) -> Weights:
    """The exported file or the weights to run a network from."""
    if name is None:
        return None
    try:
        return fastest_form(name, weights, num_images)
    except CacheError as error:
        print(f"{name} runs on eager: {error}", file=sys.stderr)
        return weights


def _threads(
    options: argparse.Namespace, detector: str | None, weights: Sequence[Weights], sources: Iterable[str]
) -> int | None:
    """As asked for; half of the cores for exported files in videos, where two processes run them."""
    files = weights if detector else weights[1:]
    exported = all(file is not None and backend_of(Path(file)) for file in files)
    if options.threads is None and exported and get_config(options.pose).takes_boxes and any(map(is_video, sources)):
        return max(1, count_cores() // 2)
    return options.threads


def _backend(options: argparse.Namespace) -> str:
    return options.backend or os.environ.get("TINYPOSE_BACKEND") or "auto"


def _refuse_intervals(options: argparse.Namespace, what: str) -> None:
    if options.detect_every > 1:
        raise ValueError(f"--detect-every {options.detect_every} has no effect: {what} uses no detector")


def _refuse(options: argparse.Namespace, names: Iterable[str], reason: str) -> None:
    for name in names:
        if getattr(options, name) is not None:
            raise ValueError(f"--{name.replace('_', '-')} has no effect {reason}")
