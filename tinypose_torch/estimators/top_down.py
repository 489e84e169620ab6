"""Top-down pose estimation: detector -> boxes -> one crop per person -> pose network -> heatmaps -> keypoints."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from tinypose_torch.codecs.calibration import KeypointCalibration, KeypointUncertainty
from tinypose_torch.codecs.heatmap import decode_heatmaps, heatmap_covariances
from tinypose_torch.estimators.base import PoseMethod
from tinypose_torch.estimators.detection import PersonDetector
from tinypose_torch.estimators.preprocessing import crop_people, crops_of, whole_image_box, whole_image_crops
from tinypose_torch.estimators.results import Poses
from tinypose_torch.geometry.crops import Crops
from tinypose_torch.models.config import TopDownConfig, of_task
from tinypose_torch.runtime import Runner
from tinypose_torch.utils import defaults
from tinypose_torch.utils.images import map_images

Array = np.ndarray


@dataclass(frozen=True)
class _People:
    """Boxes of the people of one image, with their scores and crops."""

    boxes: Array
    scores: Array
    crops: Crops


class TopDown(PoseMethod):
    """Estimates the pose of each person in a box.

    Args:
        runner: The pose network.
        detector: Finds the boxes; without it an image is one person's box.
        crop, decoding, batch_size, resize: See `PoseEstimator`.
        calibration: With it, poses have an uncertainty.

    Raises:
        ValueError: The network is for another task, or decodes otherwise.
    """

    runner: Runner
    config: TopDownConfig

    def __init__(
        self,
        runner: Runner,
        detector: PersonDetector | None,
        *,
        crop: str,
        decoding: str,
        batch_size: int,
        resize: str,
        calibration: KeypointCalibration | None = None,
    ) -> None:
        self.runner, self.detector, self.calibration = runner, detector, calibration
        self.config = of_task(runner.metadata.config, TopDownConfig)
        self.crop, self.decoding, self.batch_size, self.resize = crop, decoding, batch_size, resize
        if runner.metadata.decodes and calibration is not None:
            raise ValueError(
                f"this file of {self.config.name} decodes inside; uncertainty needs heatmaps: pass the weights, or "
                "export the file with --heatmaps"
            )
        if runner.metadata.decodes and decoding != "dark":
            raise ValueError(
                f"this file of {self.config.name} decodes with DARK inside; decoding={decoding!r} is not possible"
            )

    @property
    def track_threshold(self) -> float | None:
        return None if self.detector is None else self.detector.threshold

    def estimate(self, images: Sequence[Array], boxes: Sequence[Any]) -> list[Poses]:
        return self._estimate_people(images, self._find_people(images, boxes))

    def estimate_keypoints(self, image: Array, boxes: Array, scores: Array | None = None) -> Poses:
        return self._estimate_people([image], [self._in_boxes(image, boxes, scores)])[0]

    def make_crops(self, image: Array, boxes: Array) -> Crops:
        return crops_of(image, boxes, self.config, self.crop)

    def _find_people(self, images: Sequence[Array], boxes: Sequence[Any]) -> list[_People]:
        without_boxes = [image for image, given in zip(images, boxes, strict=True) if given is None]
        detected = iter(self.detector.detect_people(without_boxes) if self.detector and without_boxes else [])
        people = []
        for image, given in zip(images, boxes, strict=True):
            if given is not None:
                people.append(self._in_boxes(image, _check_boxes(given, image)))
            elif self.detector is None:
                crops = whole_image_crops(image, self.config, self.crop)
                people.append(_People(whole_image_box(image), np.ones(1, np.float32), crops))
            else:
                found = next(detected)
                people.append(self._in_boxes(image, found.boxes, found.scores))
        return people

    def _in_boxes(self, image: Array, boxes: Array, scores: Array | None = None) -> _People:
        scores = np.ones(len(boxes), np.float32) if scores is None else scores
        return _People(boxes, scores, self.make_crops(image, boxes))

    def _estimate_people(self, images: Sequence[Array], people: Sequence[_People]) -> list[Poses]:
        """Poses of the people of each image; the people of all images fill the batches of the pose network."""
        ends = np.cumsum([len(some.boxes) for some in people])[:-1]
        parts = [np.split(values, ends) for values in self._run(self._cut_out(images, people))]
        poses = []
        for some, cells, scores, *spreads in zip(people, *parts, strict=True):
            keypoints, uncertainty = some.crops.to_image(cells), None
            if self.calibration is not None:
                (spread,) = spreads
                uncertainty = _uncertainty(spread, scores, some.crops, self.calibration)
            skeleton = self.config.skeleton
            poses.append(Poses(some.boxes, some.scores, keypoints, scores, skeleton, uncertainty=uncertainty))
        return poses

    def _cut_out(self, images: Sequence[Array], people: Sequence[_People]) -> Iterator[Array]:
        for image, some in zip(images, people, strict=True):
            for row in range(len(some.boxes)):
                yield crop_people(image, some.crops, self.config, slice(row, row + 1), self.resize)[0]

    def _run(self, crops: Iterator[Array]) -> list[Array]:
        """Coordinates ``(P, K, 2)`` in heatmap cells, and scores ``(P, K)``, of P crops.

        With a calibration also covariances ``(P, K, 2, 2)``, square cells.
        """
        count = len(self.config.skeleton)
        decoded = [tuple(np.zeros((0, count, *rest), np.float32) for rest in ((2,), (), (2, 2)))]
        if self.calibration is None:
            decoded = [decoded[0][:2]]
        while batch := list(islice(crops, self.batch_size)):
            (output,) = self.runner(np.stack(batch))
            decoded.append(self._decode(output))
        return [np.concatenate(part) for part in zip(*decoded, strict=True)]

    def _decode(self, output: Array) -> tuple[Array, ...]:
        """Coordinates in heatmap cells and scores, of heatmaps or of keypoints that the file itself decoded."""
        if self.runner.metadata.decodes:
            return output[..., :2] / self.config.heatmap_stride, output[..., 2]
        decoded = decode_heatmaps(output, self.decoding)
        return decoded if self.calibration is None else (*decoded, heatmap_covariances(output, self.config.sigma))


def _uncertainty(spreads: Array, scores: Array, crops: Crops, calibration: KeypointCalibration) -> KeypointUncertainty:
    """In pixels of the image, from covariances in square cells."""
    pixels = spreads * crops.scales[:, None, :, None] * crops.scales[:, None, None, :]
    return KeypointUncertainty(pixels, np.sqrt(crops.scales.prod(axis=1)), scores, calibration)


def people_for_network(
    folder: str | os.PathLike[str], detector: PersonDetector, entry: TopDownConfig, crop: str = defaults.CROP_RULES[0]
) -> Array:
    """The people that a detector finds in the photos of a folder, as a pose network sees them.

    Args:
        entry: Of the pose network.
        crop: Rule by which people are cut out; see `tinypose_torch.geometry.crops`.

    Raises:
        FileNotFoundError: There are no photos, or no people in them.
    """

    def prepare(image: Array) -> Array | None:
        boxes = detector.detect_people([image])[0].boxes
        return crop_people(image, crops_of(image, boxes, entry, crop), entry) if len(boxes) else None

    people = [found for found in map_images(folder, prepare) if found is not None]
    if not people:
        raise FileNotFoundError(f"no people in the photos of {folder}")
    return np.concatenate(people)


def _check_boxes(boxes: Any, image: Array) -> Array:
    array = np.asarray(boxes, np.float32)
    if array.size == 0:
        return np.zeros((0, 4), np.float32)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"boxes of shape {array.shape}; expected (N, 4): x1, y1, x2, y2")
    height, width = image.shape[:2]
    for index, (x1, y1, x2, y2) in enumerate(array.tolist()):
        if not (np.isfinite(array[index]).all() and x1 < x2 and y1 < y2):
            raise ValueError(f"box {index} is {[x1, y1, x2, y2]}; expected x1 < x2 and y1 < y2")
        if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
            raise ValueError(f"box {index}, {[x1, y1, x2, y2]}, lies outside the {width}x{height} image")
    return array
