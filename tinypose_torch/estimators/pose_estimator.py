"""Images in, poses out: `PoseEstimator`, for top-down and bottom-up networks, and for app files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tinypose_torch.estimators.app import AppMethod, AppTracker
from tinypose_torch.estimators.arguments import EstimatorArguments, Weights
from tinypose_torch.estimators.base import Estimator, PoseMethod
from tinypose_torch.estimators.detection import PersonDetector
from tinypose_torch.estimators.methods import build_method
from tinypose_torch.estimators.results import Poses
from tinypose_torch.geometry.crops import Crops
from tinypose_torch.models.config import (
    BottomUpConfig,
    DetectorConfig,
    KeypointConfig,
    TopDownConfig,
)
from tinypose_torch.runtime import Runner, load_runner
from tinypose_torch.runtime.app import AppRunner, is_app_path
from tinypose_torch.runtime.app_metadata import AppMetadata
from tinypose_torch.utils import defaults
from tinypose_torch.utils.images import image_errors

Array = np.ndarray


class PoseEstimator(Estimator):
    """Finds people and their keypoints.

    The pose network decides how: a top-down network estimates the pose of each person that a detector found, a bottom-up
    network finds all keypoints at once and needs no detector. Arguments that have no effect on the network are refused.
    With its defaults it gives the answers of PaddleDetection's deployed pipeline.

    ``PoseEstimator("app.pte")`` runs a file of `export_app`, which holds both networks and everything between them: no other
    argument than ``threads`` has an effect on it. Photos of other sizes than the file's frames are fitted in, and the results
    are mapped back. At most as many people are found as the file has slots. Frames are estimated one at a time, also those
    of lists.

    Args:
        detector: Catalogue name of the person detector; ``None`` for none, when images without given boxes are
            one person's; ``"auto"`` for the model that ``detector_weights`` say they hold, and for
            ``defaults.DETECTOR`` without weights. Or an app file: ``.pte``, ``.torchscript`` or ``.onnx``.
        pose: Catalogue name of the pose network, top-down or bottom-up, or ``"auto"``, likewise (``defaults.POSE``).
        detector_weights, pose_weights: Weight files, exported files, or tags of releases such as ``"2021"``; the
            official weights unless given. See `tinypose_torch.checkpoints.identity.resolve_model`.
        backend: ``"auto"`` runs exported files with what they were made for, weights eagerly; or ``"eager"``,
            ``"torchscript"``, ``"executorch"``, ``"onnx"``.
        device: For example ``"cpu"`` or ``"cuda"``.
        detection_threshold: Score from which a detected person is kept; the detector's own (0.5) unless given.
        crop: How persons are cut out: ``"deploy"`` (default), ``"evaluation"`` or ``"consistent"``; see
            `tinypose_torch.geometry.crops`.
        decoding: ``"dark"`` (default) or ``"plain"``. Deployment always uses DARK; evaluation what the entry says.
        flip: Average with the mirrored image, which takes twice the time; for bottom-up networks, where it is the default,
            as in PaddleDetection.
        batch_size: Maximum number of images that the detector gets at once, and of people that the pose network gets at
            once. On a CPU larger batches than the default of 8 are not faster. Memory grows with it: large detectors such as
            FairMOT may need a smaller one.
        threads: Inference threads; see `load_runner`.
        person_class: Class of the detector whose boxes get poses; unless given ``"person"``, or its only class.
        resize: ``"opencv"`` (default), whose results depend on the machine, or ``"portable"``, which gives the same bits
            on every machine; see `tinypose_torch.geometry.portable`. For top-down networks.
        uncertainty: Whether poses have an ``uncertainty``, for which the weights need a calibration; see
            `tinypose_torch.evaluation.calibration`. For top-down networks that give heatmaps.

    Raises:
        UnknownModelError, CheckpointError, DownloadError: See `create_model`.
        FileNotFoundError: There is no such app file.
        ValueError: A threshold outside [0, 1], an unknown backend, device, crop, decoding, class or resize, or an
            argument that has no effect on the pose network or the app file.
    """

    tasks: ClassVar[tuple[str, ...]] = (TopDownConfig.task, BottomUpConfig.task)
    _method: PoseMethod

    def __init__(
        self,
        detector: str | os.PathLike[str] | None = defaults.AUTO,
        pose: str = defaults.AUTO,
        detector_weights: Weights = None,
        pose_weights: Weights = None,
        backend: str = "auto",
        device: str = "cpu",
        *,
        detection_threshold: float | None = None,
        crop: str | None = None,
        decoding: str | None = None,
        flip: bool | None = None,
        batch_size: int = defaults.BATCH_SIZE,
        threads: int | None = None,
        person_class: str | None = None,
        resize: str | None = None,
        uncertainty: bool = False,
    ) -> None:
        options = EstimatorArguments(
            None if detector is None else os.fspath(detector),
            pose,
            detector_weights,
            pose_weights,
            backend,
            device,
            detection_threshold,
            person_class,
            crop,
            decoding,
            flip,
            resize,
            uncertainty or None,
            batch_size,
        )
        if options.detector is not None and is_app_path(options.detector):
            options.refuse([field.name for field in fields(options)][1:], "an app file")
            self.batch_size, self._method = 1, AppMethod(Path(options.detector), threads)
            return
        self.batch_size = batch_size

        def load(model: str, weights: Weights, tasks: Sequence[str], usage: str) -> Runner:
            return load_runner(model, weights, backend, device, threads, tasks, usage)

        runner = load(pose, pose_weights, self.tasks, "pose=NAME")
        self._method = build_method(runner, options, load)

    @property
    def app(self) -> AppRunner | None:
        """The app file; ``None`` for networks."""
        return self._method.app

    @property
    def pose_runner(self) -> Runner:
        """The pose network.

        Raises:
            ValueError: An app file runs its networks itself.
        """
        if self._method.runner is None:
            raise ValueError("an app file runs its networks itself; ask for PoseEstimator.app")
        return self._method.runner

    @property
    def pose_config(self) -> KeypointConfig:
        """The pose network's config."""
        return self._method.config

    @property
    def detector(self) -> PersonDetector | None:
        """The person detector; ``None`` without one, as with every bottom-up network."""
        return self._method.detector

    @property
    def detector_runner(self) -> Runner | None:
        """The detection network; ``None`` without a detector."""
        return None if self.detector is None else self.detector.runner

    @property
    def detector_config(self) -> DetectorConfig | None:
        """The detection network's config; ``None`` without a detector."""
        return None if self.detector is None else self.detector.config

    @property
    def backends(self) -> frozenset[str]:
        runners = self._method.runners if self.app is None else (self.app,)
        return frozenset(runner.backend for runner in runners)

    @property
    def own_threads(self) -> bool:
        return self.app is None and all(runner.own_threads for runner in self._method.runners)

    @property
    def detection_threshold(self) -> float | None:
        """Score from which a detected person is kept; ``None`` without a detector."""
        return None if self.detector is None else self.detector.threshold

    @property
    def track_threshold(self) -> float | None:
        """Score from which a person starts a track; ``None`` for the tracker's default."""
        return self._method.track_threshold

    @image_errors()
    def estimate_keypoints(self, image: Array, boxes: Array, scores: Array | None = None) -> Poses:
        return self._method.estimate_keypoints(image, boxes, scores)

    def make_crops(self, image: Array, boxes: Array) -> Crops:
        """How the given boxes are cut out of an RGB image.

        Raises:
            ValueError: The pose network is a bottom-up network.
        """
        return self._method.make_crops(image, boxes)

    def _estimate(self, images: Sequence[Array], boxes: Sequence[Any]) -> list[Poses]:
        return self._method.estimate(images, boxes)


class BottomUpEstimator(PoseEstimator):
    """A `PoseEstimator` that takes bottom-up networks only.

    Args:
        pose: Catalogue name of a bottom-up network; ``"auto"`` for the model that the weights say they hold, and for
            ``defaults.BOTTOM_UP`` without weights.
        weights: Weight file, exported file, or tag of a release; the official weights unless given.
        backend, device, flip, threads: See `PoseEstimator`.

    Raises:
        UnknownModelError, CheckpointError, DownloadError: See `create_model`.
        ValueError: Another kind of network, or an unknown device.
    """

    tasks = (BottomUpConfig.task,)

    def __init__(
        self,
        pose: str = defaults.AUTO,
        weights: Weights = None,
        backend: str = "auto",
        device: str = "cpu",
        *,
        flip: bool = True,
        threads: int | None = None,
    ) -> None:
        super().__init__(None, pose, None, weights, backend, device, flip=flip, threads=threads)


class AppEstimator(PoseEstimator):
    """A `PoseEstimator` that takes app files only.

    Args:
        path: ``.pte``, ``.torchscript`` or ``.onnx``.
        threads: Inference threads; the runtime's own default unless given.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It holds no app, is damaged or altered, or its runtime is not installed.
    """

    _method: AppMethod

    def __init__(self, path: str | os.PathLike[str], *, threads: int | None = None) -> None:
        self.batch_size, self._method = 1, AppMethod(Path(path), threads)

    @property
    def runner(self) -> AppRunner:
        """The app file."""
        return self._method.app

    @property
    def metadata(self) -> AppMetadata:
        """The file's description."""
        return self.runner.metadata

    def create_tracker(self) -> AppTracker:
        """Tracker of the people of one video, by the file's method ``follow``.

        Raises:
            ValueError: The file has no such method.
        """
        return AppTracker(self.runner)
