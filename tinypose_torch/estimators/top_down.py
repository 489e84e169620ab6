"""Photos in, poses out.

image -> detector input -> detector -> boxes -> one crop per person -> pose network -> heatmaps -> keypoints -> `Poses`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, overload

import cv2
import numpy as np

from tinypose_torch.codecs.heatmap import decode_heatmaps
from tinypose_torch.estimators.results import Detections, Poses
from tinypose_torch.geometry.crops import Crops, make_crops, region_crops, warp
from tinypose_torch.geometry.matrix_nms import MatrixNMSConfig, in_image, matrix_nms
from tinypose_torch.geometry.nms import multiclass_nms
from tinypose_torch.geometry.portable import resize_cubic, warp_affine
from tinypose_torch.models.config import DetectorConfig, ModelConfig, TopDownConfig, of_task
from tinypose_torch.runtime import Runner, load_runner
from tinypose_torch.utils import defaults
from tinypose_torch.utils.images import image_errors, load_image, map_images
from tinypose_torch.video.frames import Frame, map_frames

Array = np.ndarray
_GREY = 128  # beside an image that keeps its aspect ratio


class PoseEstimator:
    """Finds people and their keypoints.

    With its defaults it gives the answers of PaddleDetection's deployed pipeline.

    Args:
        detector: Catalogue name of the person detector; ``None`` for none, when images without given boxes are
            one person's; ``"auto"`` for the model
            that ``detector_weights`` say they hold, and for ``defaults.DETECTOR`` without weights.
        pose: Catalogue name of the pose network, or ``"auto"``, likewise (``defaults.POSE``).
        detector_weights, pose_weights: Weight files, exported files, or tags of releases such as ``"2021"``; the
            official weights unless given. See `tinypose_torch.checkpoints.identity.resolve_model`.
        backend: ``"auto"`` runs exported files with what they were made for, weights eagerly; or ``"eager"``,
            ``"torchscript"``, ``"executorch"``, ``"onnx"``.
        device: For example ``"cpu"`` or ``"cuda"``.
        detection_threshold: Score from which a detected person is kept; the detector's own (0.5) unless given.
        crop: How persons are cut out: ``"deploy"``, ``"evaluation"`` or ``"consistent"``; see
            `tinypose_torch.geometry.crops`.
        decoding: ``"dark"`` or ``"plain"``. Deployment always uses DARK; evaluation what the entry says.
        batch_size: Most people that the pose network sees at once.
        threads: Inference threads; see `load_runner`.
        person_class: Class of the detector whose boxes get poses; unless given ``"person"``, or its only class.
        resize: ``"opencv"``, whose results depend on the machine, or ``"portable"``, which gives the same bits
            on every machine; see `tinypose_torch.geometry.portable`.

    Raises:
        UnknownModelError, CheckpointError, DownloadError: See `create_model`.
        ValueError: A threshold outside [0, 1], or an unknown backend, device, crop, decoding, class or resize.
    """

    def __init__(
        self,
        detector: str | None = defaults.AUTO,
        pose: str = defaults.AUTO,
        detector_weights: str | os.PathLike[str] | None = None,
        pose_weights: str | os.PathLike[str] | None = None,
        backend: str = "auto",
        device: str = "cpu",
        *,
        detection_threshold: float | None = None,
        crop: str = "deploy",
        decoding: str = "dark",
        batch_size: int = 64,
        threads: int | None = None,
        person_class: str | None = None,
        resize: str = "opencv",
    ) -> None:
        if detection_threshold is not None and not 0 <= detection_threshold <= 1:
            raise ValueError(f"detection_threshold={detection_threshold}; expected 0 to 1")
        if crop not in defaults.CROP_RULES:
            raise ValueError(f"unknown crop rule {crop!r}; choose one of {', '.join(defaults.CROP_RULES)}")
        if decoding not in ("dark", "plain"):
            raise ValueError(f"unknown decoding {decoding!r}; choose 'dark' or 'plain'")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}; at least 1 is needed")
        if resize not in defaults.RESIZES:
            raise ValueError(f"unknown resize {resize!r}; choose one of {', '.join(defaults.RESIZES)}")
        self.crop, self.decoding, self.batch_size, self.resize = crop, decoding, batch_size, resize
        self.pose_runner = load_runner(pose, pose_weights, backend, device, threads, "pose", "pose=NAME")
        self.pose_config = of_task(self.pose_runner.metadata.config, TopDownConfig)
        if self.pose_runner.metadata.decodes and decoding != "dark":
            raise ValueError(f"{pose_weights} decodes with DARK inside; decoding={decoding!r} is not possible")
        self.detector_runner: Runner | None = None
        self.detector_config: DetectorConfig | None = None
        if detector is not None:
            self.detector_runner = load_runner(
                detector, detector_weights, backend, device, threads, "detection", "detector=NAME"
            )
            entry = of_task(self.detector_runner.metadata.config, DetectorConfig)
            check_resize(entry, resize)
            self.detector_config = dataclasses.replace(entry, person_class=find_person_class(entry, person_class))
            if detection_threshold is None:
                detection_threshold = self.detector_config.person_threshold
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
                Without boxes and without a detector the whole image is one person's box, with a score of 1.

        Raises:
            ImageError, FileNotFoundError: See `load_image`.
            ValueError: Boxes of another shape, empty or outside the image.
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
            sources, on_error: See `map_frames`.
        """
        yield from map_frames(sources, lambda image: self._estimate(image, None), on_error)

    @image_errors()
    def detect(self, image: Any) -> Detections:
        """All detections in an image, of every class, before the person threshold.

        Raises:
            ValueError: The estimator was built without a detector.
        """
        return self._detect(load_image(image))

    @image_errors()
    def estimate_keypoints(self, image: Array, boxes: Array, scores: Array | None = None) -> Poses:
        """Keypoints of the people in the given boxes of an RGB image."""
        if len(boxes) == 0:
            return Poses.empty(self.pose_config.skeleton)
        if scores is None:
            scores = np.ones(len(boxes), np.float32)
        return self._estimate_in_crops(image, self.make_crops(image, boxes), boxes, scores)

    def _estimate_in_crops(self, image: Array, crops: Crops, boxes: Array, scores: Array) -> Poses:
        entry = self.pose_config
        keypoints, keypoint_scores = [], []
        for start in range(0, len(boxes), self.batch_size):
            rows = slice(start, start + self.batch_size)
            (output,) = self.pose_runner(crop_people(image, crops, entry, rows, self.resize))
            coordinates, peaks = self._decode(output)
            keypoints.append(coordinates)
            keypoint_scores.append(peaks)
        in_image = crops.to_image(np.concatenate(keypoints))
        return Poses(boxes, scores, in_image, np.concatenate(keypoint_scores), entry.skeleton)

    def make_crops(self, image: Array, boxes: Array) -> Crops:
        """How the given boxes are cut out of an RGB image."""
        return crops_of(image, boxes, self.pose_config, self.crop)

    def _decode(self, output: Array) -> tuple[Array, Array]:
        """Coordinates in heatmap cells and scores, of heatmaps or of keypoints that the file itself decoded."""
        if self.pose_runner.metadata.decodes:
            return output[..., :2] / self.pose_config.heatmap_stride, output[..., 2]
        return decode_heatmaps(output, self.decoding)

    @image_errors()
    def _estimate(self, image: Array, boxes: Any) -> Poses:
        if boxes is not None:
            return self.estimate_keypoints(image, _check_boxes(boxes, image))
        if self.detector_runner is None:
            crops = whole_image_crops(image, self.pose_config, self.crop)
            return self._estimate_in_crops(image, crops, _whole_image_box(image), np.ones(1, np.float32))
        people = self.detect_people(image)
        return self.estimate_keypoints(image, people.boxes, people.scores)

    @image_errors()
    def detect_people(self, image: Array, threshold: float | None = None) -> Detections:
        """People in an RGB image ``(H, W, 3)`` uint8, scored above a threshold: the estimator's unless given.

        Raises:
            ValueError: The estimator has no detector.
        """
        threshold = self.detection_threshold if threshold is None else threshold
        detections = self._detect(image, threshold)
        entry = self.detector_config
        assert entry is not None
        person = detections.class_ids == entry.person_class
        return detections[person & (detections.scores > threshold)]

    def _detect(self, image: Array, threshold: float | None = None) -> Detections:
        """Detections of every class; where it saves work, only those scored above a threshold."""
        if self.detector_runner is None or self.detector_config is None:
            raise ValueError("this PoseEstimator has no detector; build it with one")
        entry = self.detector_config
        scores, boxes, *embeddings = self.detector_runner(resize_for_detector(image, entry, self.resize))
        if threshold is not None and threshold > entry.nms.score_threshold:  # a better one minds no worse ones
            entry = dataclasses.replace(entry, nms=dataclasses.replace(entry.nms, score_threshold=threshold))
        return select_detections(scores[0], boxes[0], entry, image.shape[:2], *(maps[0] for maps in embeddings))


def resize_for_detector(image: Array, entry: DetectorConfig, resize: str = "opencv") -> Array:
    """An RGB image at the detector's size, ``(1, H, W, 3)`` uint8; stretched to it, or with grey beside it."""
    height, width = entry.input_size
    check_resize(entry, resize)
    if resize == "portable":
        return resize_cubic(image, (height, width))[None]
    if not entry.letterbox:
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)[None]
    inner_height, inner_width = _letter_size(image.shape[:2], entry.input_size)
    inner = cv2.resize(image, (inner_width, inner_height), interpolation=cv2.INTER_AREA)
    letter = np.full((1, height, width, 3), _GREY, np.uint8)
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    letter[0, top : top + inner_height, left : left + inner_width] = inner
    return letter


def check_resize(entry: DetectorConfig, resize: str) -> None:
    """Check that images can be resized so for a detector.

    Raises:
        ValueError: The detector keeps the image's aspect ratio, for which there is no portable resize.
    """
    if entry.letterbox and resize == "portable":
        raise ValueError(f"{entry.name} keeps the image's aspect ratio; its resize is 'opencv', not 'portable'")


def select_detections(
    scores: Array,
    boxes: Array,
    entry: DetectorConfig,
    image_size: tuple[int, int],
    embeddings: Array | None = None,
) -> Detections:
    """The detector's raw output of one image as detections in pixels of that image."""
    height, width = entry.input_size
    scale_factor = (height / image_size[0], width / image_size[1])
    if entry.letterbox:
        inner_height, inner_width = _letter_size(image_size, entry.input_size)
        boxes = boxes - np.array([(width - inner_width) / 2, (height - inner_height) / 2] * 2, np.float32)
        ratio = min(scale_factor)
        scale_factor = (ratio, ratio)
    if isinstance(entry.nms, MatrixNMSConfig):
        chosen = matrix_nms(scores, in_image(boxes, entry.input_size, scale_factor), entry.nms)
    else:
        chosen = multiclass_nms(scores, boxes, entry.nms, scale_factor, image_size, _level_sizes(entry))
    embeddings = None if embeddings is None else embeddings[chosen.rows]
    return Detections(chosen.boxes, chosen.scores, chosen.class_ids, entry.class_names, embeddings)


def _letter_size(image_size: tuple[int, int], input_size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of an image that is made as large as fits."""
    ratio = min(input_size[0] / image_size[0], input_size[1] / image_size[1])
    return round(image_size[0] * ratio), round(image_size[1] * ratio)


def crop_people(
    image: Array, crops: Crops, entry: ModelConfig, rows: slice = slice(None), resize: str = "opencv"
) -> Array:
    """Persons of an RGB image at the pose network's size, ``(N, H, W, 3)`` uint8."""
    height, width = entry.input_size
    warp_person = warp_affine if resize == "portable" else warp
    return np.stack(
        [
            warp_person(image[y1:y2, x1:x2], matrix, (height, width))
            for (x1, y1, x2, y2), matrix in zip(crops.regions[rows], crops.matrices[rows], strict=True)
        ]
    )


def whole_image_crops(image: Array, entry: TopDownConfig, rule: str = "deploy") -> Crops:
    """How an image that is one person's box goes to the pose network.

    By the deploy rule it is fitted to the network's width, as by PaddleDetection's keypoint inference without a detector.
    """
    if rule != "deploy":
        return crops_of(image, _whole_image_box(image), entry, rule)
    height, width = entry.input_size
    return region_crops(_whole_image_box(image).astype(np.int64), (height, width), entry.heatmap_size)


def _whole_image_box(image: Array) -> Array:
    return np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32)


def crops_of(image: Array, boxes: Array, entry: TopDownConfig, rule: str) -> Crops:
    """How boxes are cut out of an RGB image for a pose network."""
    height, width = entry.input_size
    return make_crops(boxes, image.shape[:2], (height, width), entry.heatmap_size, rule, entry.udp)


def photos_for_pose(folder: str | os.PathLike[str], entry: TopDownConfig) -> Array:
    """The photos of a folder at a pose network's size, ``(N, H, W, 3)`` uint8; each is one person's box.

    Raises:
        FileNotFoundError: There are none.
    """
    return np.concatenate(map_images(folder, lambda image: crop_people(image, whole_image_crops(image, entry), entry)))


def photos_for_detector(folder: str | os.PathLike[str], entry: DetectorConfig) -> Array:
    """The photos of a folder at a detector's size, ``(N, H, W, 3)`` uint8.

    Raises:
        FileNotFoundError: There are none.
    """
    return np.concatenate(map_images(folder, lambda image: resize_for_detector(image, entry)))


def people_for_network(
    folder: str | os.PathLike[str], estimator: PoseEstimator, entry: TopDownConfig | None = None
) -> Array:
    """The people that an estimator finds in the photos of a folder, as a pose network sees them.

    Args:
        entry: Of that pose network, which may have another input size; the estimator's own unless given.

    Raises:
        FileNotFoundError: There are no photos, or no people in them.
    """
    entry = entry or estimator.pose_config

    def prepare(image: Array) -> Array | None:
        boxes = estimator.detect_people(image).boxes
        return crop_people(image, crops_of(image, boxes, entry, estimator.crop), entry) if len(boxes) else None

    people = [found for found in map_images(folder, prepare) if found is not None]
    if not people:
        raise FileNotFoundError(f"no people in the photos of {folder}")
    return np.concatenate(people)


def find_person_class(entry: DetectorConfig, name: str | None = None) -> int:
    """Index of the detector's class whose boxes get poses.

    Args:
        name: Of the class; unless given ``"person"``, or the only class.

    Raises:
        ValueError: There is no such class, or no class was named where there are several and none is a person.
    """
    classes = ", ".join(entry.class_names)
    if name is not None:
        if name not in entry.class_names:
            raise ValueError(f"{entry.name} has no class {name!r}; its classes: {classes}")
        return entry.class_names.index(name)
    if entry.person_class is not None:
        return entry.person_class
    if len(entry.class_names) == 1:
        return 0
    raise ValueError(
        f"{entry.name} has no class 'person'; name the one whose boxes get poses with --person-class "
        f"(in Python: person_class): {classes}"
    )


def _level_sizes(entry: DetectorConfig) -> tuple[int, ...]:
    """Anchors per pyramid level; every level halves the one before, rounding up."""
    sizes = []
    for stride in entry.strides:
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
