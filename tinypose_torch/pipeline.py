"""Photos in, poses out.

image -> detector input -> detector -> boxes -> one crop per person -> pose network -> heatmaps -> keypoints -> `Poses`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, overload

import cv2
import numpy as np

from tinypose_torch import defaults
from tinypose_torch.checkpoints.catalogue import DetectorEntry, ModelEntry, PoseEntry
from tinypose_torch.frames import Frame, read_frames
from tinypose_torch.geometry.crops import Crops, make_crops
from tinypose_torch.geometry.heatmaps import decode_heatmaps
from tinypose_torch.geometry.suppression import suppress
from tinypose_torch.images import load_image
from tinypose_torch.results import Detections, Poses
from tinypose_torch.runtime import Runner, load_runner

Array = np.ndarray
HEATMAP_STRIDE = 4


class PoseEstimator:
    """Finds people and their keypoints.

    With its defaults it gives the answers of PaddleDetection's deployed pipeline.

    Args:
        detector: Catalogue name of the person detector; ``None`` if boxes are always given.
        pose: Catalogue name of the pose network.
        detector_weights, pose_weights: Weight files; the official weights unless given.
        backend: ``"auto"`` or ``"eager"``.
        device: For example ``"cpu"`` or ``"cuda"``.
        detection_threshold: Score from which a detected person is kept; the detector's own (0.5) unless given.
        crop: How persons are cut out: ``"deploy"``, ``"evaluation"`` or ``"consistent"``; see
            `tinypose_torch.geometry.crops`.
        decoding: ``"dark"`` or ``"plain"``. Deployment always uses DARK; evaluation what the entry says.
        batch_size: Most people that the pose network sees at once.

    Raises:
        UnknownModelError, CheckpointError, DownloadError: See `create_model`.
        ValueError: A threshold outside [0, 1], or an unknown backend, device, crop or decoding.
    """

    def __init__(
        self,
        detector: str | None = defaults.DETECTOR,
        pose: str = defaults.POSE,
        detector_weights: str | os.PathLike[str] | None = None,
        pose_weights: str | os.PathLike[str] | None = None,
        backend: str = "auto",
        device: str = "cpu",
        *,
        detection_threshold: float | None = None,
        crop: str = "deploy",
        decoding: str = "dark",
        batch_size: int = 64,
    ) -> None:
        if detection_threshold is not None and not 0 <= detection_threshold <= 1:
            raise ValueError(f"detection_threshold={detection_threshold}; expected 0 to 1")
        if crop not in defaults.CROP_RULES:
            raise ValueError(f"unknown crop rule {crop!r}; choose one of {', '.join(defaults.CROP_RULES)}")
        if decoding not in ("dark", "plain"):
            raise ValueError(f"unknown decoding {decoding!r}; choose 'dark' or 'plain'")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}; at least 1 is needed")
        self.crop, self.decoding, self.batch_size = crop, decoding, batch_size
        self.pose_runner = load_runner(pose, pose_weights, backend, device)
        self.pose_entry = _of_task(self.pose_runner, PoseEntry, "a pose network")
        self.detector_runner: Runner | None = None
        self.detector_entry: DetectorEntry | None = None
        if detector is not None:
            self.detector_runner = load_runner(detector, detector_weights, backend, device)
            self.detector_entry = _of_task(self.detector_runner, DetectorEntry, "a detector")
            if detection_threshold is None:
                detection_threshold = self.detector_entry.person_threshold
        self.detection_threshold = detection_threshold

    @overload
    def __call__(self, image: list[Any] | tuple[Any, ...], boxes: Sequence[Any] | None = None) -> list[Poses]: ...

    @overload
    def __call__(self, image: Any, boxes: Any = None) -> Poses: ...

    def __call__(self, image: Any, boxes: Any = None) -> Poses | list[Poses]:
        """Find the poses in one image, or in each of a list.

        Args:
            image: A path, an array ``(H, W, 3)`` uint8 RGB, a PIL image, or a list of them.
            boxes: ``(N, 4)`` x1, y1, x2, y2 in pixels, to skip detection; for a list of images, a list of such.

        Raises:
            ImageError, FileNotFoundError: See `load_image`.
            ValueError: Boxes of another shape, empty or outside the image; no boxes and no detector.
        """
        if not isinstance(image, (list, tuple)):
            return self._estimate(load_image(image), boxes)
        if boxes is not None and len(boxes) != len(image):
            raise ValueError(f"{len(image)} images, but boxes of {len(boxes)}")
        per_image = boxes if boxes is not None else [None] * len(image)
        return [self(one, given) for one, given in zip(image, per_image, strict=True)]

    def stream(
        self, sources: str | Iterable[str], on_error: Callable[[str, Exception], None] | None = None
    ) -> Iterator[tuple[Frame, Poses]]:
        """Poses in photos, folders, glob patterns, videos and cameras, one image at a time.

        Args:
            sources, on_error: See `read_frames`.
        """
        for frame in read_frames(sources, on_error):
            yield frame, self._estimate(frame.image, None)

    def detect(self, image: Any) -> Detections:
        """All detections in an image, of every class, before the person threshold.

        Raises:
            ValueError: The estimator was built without a detector.
        """
        return self._detect(load_image(image))

    def estimate_keypoints(self, image: Array, boxes: Array, scores: Array | None = None) -> Poses:
        """Keypoints of the people in the given boxes of an RGB image."""
        entry = self.pose_entry
        skeleton = entry.skeleton
        if len(boxes) == 0:
            return Poses.empty(skeleton)
        crops = self.make_crops(image, boxes)
        keypoints, keypoint_scores = [], []
        for start in range(0, len(boxes), self.batch_size):
            rows = slice(start, start + self.batch_size)
            (heatmaps,) = self.pose_runner(pose_input(image, crops, entry, rows))
            coordinates, peaks = decode_heatmaps(heatmaps, self.decoding)
            keypoints.append(coordinates)
            keypoint_scores.append(peaks)
        in_image = crops.to_image(np.concatenate(keypoints))
        if scores is None:
            scores = np.ones(len(boxes), np.float32)
        return Poses(boxes, scores, in_image, np.concatenate(keypoint_scores), skeleton)

    def make_crops(self, image: Array, boxes: Array) -> Crops:
        """How the given boxes are cut out of an RGB image."""
        height, width = self.pose_entry.input_size
        return make_crops(
            boxes,
            image.shape[:2],
            (height, width),
            (height // HEATMAP_STRIDE, width // HEATMAP_STRIDE),
            self.crop,
            self.pose_entry.udp,
        )

    def _estimate(self, image: Array, boxes: Any) -> Poses:
        if boxes is not None:
            return self.estimate_keypoints(image, _check_boxes(boxes, image))
        people = self._find_people(image)
        return self.estimate_keypoints(image, people.boxes, people.scores)

    def _find_people(self, image: Array) -> Detections:
        detections = self._detect(image)
        entry = self.detector_entry
        assert entry is not None
        assert self.detection_threshold is not None
        if entry.person_class is None:
            raise ValueError(f"{entry.name} has no class 'person' among {entry.class_names}")
        person = detections.class_ids == entry.person_class
        return detections[person & (detections.scores > self.detection_threshold)]

    def _detect(self, image: Array) -> Detections:
        if self.detector_runner is None or self.detector_entry is None:
            raise ValueError("this PoseEstimator has no detector; pass boxes, or build it with one")
        entry = self.detector_entry
        scores, boxes = self.detector_runner(detector_input(image, entry))
        return select_detections(scores[0], boxes[0], entry, image.shape[:2])


def detector_input(image: Array, entry: ModelEntry) -> Array:
    """An RGB image as the detector's input ``(1, 3, H, W)``: resized without keeping the aspect ratio, normalised."""
    height, width = entry.input_size
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    return normalise([resized], entry)


def select_detections(scores: Array, boxes: Array, entry: DetectorEntry, image_size: tuple[int, int]) -> Detections:
    """The detector's raw output of one image as detections in pixels of that image."""
    height, width = entry.input_size
    scale_factor = (height / image_size[0], width / image_size[1])
    found = suppress(scores, boxes, entry.suppression, scale_factor, image_size, _level_sizes(entry))
    return Detections(*found, entry.class_names)


def pose_input(image: Array, crops: Crops, entry: ModelEntry, rows: slice = slice(None)) -> Array:
    """Persons of an RGB image as the pose network's input ``(N, 3, H, W)``."""
    height, width = entry.input_size
    warped = [
        cv2.warpAffine(image[y1:y2, x1:x2], matrix, (width, height), flags=cv2.INTER_LINEAR)
        for (x1, y1, x2, y2), matrix in zip(crops.regions[rows], crops.matrices[rows], strict=True)
    ]
    return normalise(warped, entry)


def normalise(images: Sequence[Array], entry: ModelEntry) -> Array:
    """Equal-sized RGB images to one normalised float32 batch ``(N, 3, H, W)``.

    A table of the 256 values per channel gives the very numbers of the original, which rounds to float32 after
    scaling, after subtracting the mean and after dividing.
    """
    scaled = (np.arange(256, dtype=np.float32) * np.float32(1 / 255)).astype(np.float64)
    centred = (scaled[:, None] - np.array(entry.mean)).astype(np.float32)
    table = (centred / np.array(entry.std)).astype(np.float32)
    batch = np.empty((len(images), 3, *images[0].shape[:2]), np.float32)
    for index, image in enumerate(images):
        batch[index] = cv2.LUT(image, table[None]).transpose(2, 0, 1)
    return batch


def _level_sizes(entry: DetectorEntry) -> tuple[int, ...]:
    """Anchors per pyramid level; every level halves the one before, rounding up."""
    sizes = []
    for stride in (8, 16, 32, 64):
        height, width = (-(-size // stride) for size in entry.input_size)
        sizes.append(height * width)
    return tuple(sizes)


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


def _of_task(runner: Runner, kind: type[Any], expected: str) -> Any:
    if not isinstance(runner.entry, kind):
        raise ValueError(f"{runner.entry.name} is not {expected}")
    return runner.entry
