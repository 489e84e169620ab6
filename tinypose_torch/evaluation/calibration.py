"""Calibration of a pose network's uncertainty on annotated people, and how well it holds for others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinypose_torch.codecs.calibration import ELLIPSE, KeypointCalibration, KeypointUncertainty, fit_calibration
from tinypose_torch.data.images import read_or_fail
from tinypose_torch.data.pose.annotations import PoseAnnotation
from tinypose_torch.estimators.top_down import TopDown
from tinypose_torch.evaluation.images import Failure, OnError, image_failures, report_failures
from tinypose_torch.models.config import TopDownConfig, of_task
from tinypose_torch.runtime import Runner
from tinypose_torch.utils import defaults

Array = np.ndarray
DISTANCES = (0.01, 0.02, 0.05, 0.1, 0.2)  # fractions of the box's longer side
_BINS = 10


@dataclass(frozen=True)
class KeypointErrors:
    """Offsets of M annotated people from their predictions, and what the network said of its keypoints.

    Attributes:
        offsets: ``(M, K, 2)`` true minus predicted x, y, pixels; NaN for keypoints without a label.
        sides: ``(M,)`` longer sides of the boxes, pixels.
        images: ``(M,)`` index of each one's image.
        uncertainty: Of the same people.
    """

    offsets: Array
    sides: Array
    images: Array
    uncertainty: KeypointUncertainty

    @property
    def num_labelled(self) -> int:
        """Number of keypoints with a label."""
        return int(np.isfinite(self.offsets).all(axis=2).sum())

    def fit(self) -> KeypointCalibration:
        """The calibration for these errors.

        Raises:
            ValueError: Too few keypoints have a label.
        """
        cells = self.uncertainty.cells[:, None, None]
        covariances = self.uncertainty.spreads / cells[..., None] ** 2
        return fit_calibration(self.offsets / cells, covariances, self.uncertainty.scores)

    def of_people(self, rows: Array) -> KeypointErrors:
        """Of some of the people."""
        return KeypointErrors(self.offsets[rows], self.sides[rows], self.images[rows], self.uncertainty[rows])

    def with_calibration(self, calibration: KeypointCalibration) -> KeypointErrors:
        """The same errors, with another calibration of the network."""
        return dataclasses.replace(self, uncertainty=dataclasses.replace(self.uncertainty, calibration=calibration))

    def cross_validated(self) -> tuple[float, float]:
        """Mean `calibration_error` and `coverage` of two halves of the images, each with the other one's calibration.

        Raises:
            ValueError: Too few keypoints of a half have a label.
        """
        even = self.images % 2 == 0
        halves = [self.of_people(one).with_calibration(self.of_people(~one).fit()) for one in (even, ~even)]
        errors, coverages = zip(*((half.calibration_error(), half.coverage()) for half in halves), strict=True)
        return float(np.mean(errors)), float(np.mean(coverages))

    def coverage(self) -> float:
        """Share of labelled keypoints in the 90 % ellipses."""
        covariances = self.uncertainty.covariances.astype(np.float64)
        known = np.isfinite(self.offsets).all(axis=2)
        offsets = self.offsets[known]
        solved = np.linalg.solve(covariances[known], offsets[..., None])[..., 0]
        return float(((offsets * solved).sum(axis=1) <= -2 * np.log(1 - ELLIPSE)).mean())

    def calibration_error(self) -> float:
        """Expected calibration error of the probabilities of lying within each of ``DISTANCES``, all together."""
        known = np.isfinite(self.offsets).all(axis=2)
        errors = np.linalg.norm(self.offsets, axis=2)
        said, true = [], []
        for distance in self.sides[:, None] * np.array(DISTANCES)[:, None, None]:
            said.append(self.uncertainty.probability_within(distance)[known])
            true.append((errors <= distance)[known])
        return expected_calibration_error(np.concatenate(said), np.concatenate(true))


def expected_calibration_error(probabilities: Array, outcomes: Array) -> float:
    """Mean difference of probability and frequency over ten ranges of probabilities, weighted by their sizes.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.

    Args:
        probabilities: ``(M,)``.
        outcomes: ``(M,)`` bool.
    """
    bins = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)
    differences = np.bincount(bins, probabilities - outcomes, _BINS)
    return float(np.abs(differences).sum() / len(probabilities))


def keypoint_errors(
    runner: Runner,
    people: Sequence[PoseAnnotation],
    folder: Path,
    calibration: KeypointCalibration | None = None,
    progress: Callable[[int], object] | None = None,
    on_error: OnError | None = None,
) -> KeypointErrors:
    """Run a pose network on annotated boxes, with the crop and the decoding of `PoseEstimator`.

    Args:
        runner: Of a top-down network that gives heatmaps.
        calibration: Of the network; the one that the runner's weights carry, if any, unless given.
        progress: Called with the number of people done since the last call.
        on_error: See `report_failures`; people of images that fail are left out.

    Raises:
        DatasetError, ImageError: See `report_failures`.
        ValueError: No people are left, or a file that decodes inside.
    """
    config = of_task(runner.metadata.config, TopDownConfig)
    calibration = calibration or config.calibration or KeypointCalibration.uncalibrated(len(config.skeleton))
    method = TopDown(
        runner,
        None,
        crop=defaults.CROP_RULES[0],
        decoding="dark",
        batch_size=defaults.BATCH_SIZE,
        resize=defaults.RESIZES[0],
        calibration=calibration,
    )
    by_image: dict[str, list[PoseAnnotation]] = {}
    for person in people:
        by_image.setdefault(person.file_name, []).append(person)
    parts = []
    for number, (name, some) in enumerate(by_image.items()):
        failures: list[Failure] = []
        with image_failures([name], failures):
            parts.append((*_errors_in_image(method, some, folder), np.full(len(some), number)))
        report_failures(failures, on_error)
        if progress is not None:
            progress(len(some))
    if not parts:
        raise ValueError("no annotated people for the calibration")
    offsets, sides, spreads, cells, scores, images = (np.concatenate(part) for part in zip(*parts, strict=True))
    return KeypointErrors(offsets, sides, images, KeypointUncertainty(spreads, cells, scores, calibration))


def _errors_in_image(method: TopDown, people: Sequence[PoseAnnotation], folder: Path) -> tuple[Array, ...]:
    """Offsets, box sides, spreads, cells and scores of the people of one image."""
    boxes = np.stack([person.box for person in people]).astype(np.float32)
    poses = method.estimate_keypoints(read_or_fail(people[0], folder), boxes)
    joints = np.stack([person.person.joints for person in people])
    labelled = np.stack([person.person.visible > 0 for person in people])
    offsets = np.where(labelled[..., None], joints - poses.keypoints, np.nan)
    assert poses.uncertainty is not None
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    return offsets, sides, poses.uncertainty.spreads, poses.uncertainty.cells, poses.uncertainty.scores
