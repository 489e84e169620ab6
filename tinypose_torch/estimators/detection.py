"""People in images: the detector's input, its raw outputs, and the boxes that are kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tinypose_torch.estimators.preprocessing import check_resize, letterbox_size, resize_for_detector
from tinypose_torch.estimators.results import Detections
from tinypose_torch.models.config import DetectorConfig, of_task
from tinypose_torch.runtime import Runner

Array = np.ndarray


class PersonDetector:
    """Finds the boxes of people.

    Args:
        runner: The detection network.
        threshold: Score from which a detected person is kept; the network's own unless given.
        person_class: Class whose boxes are people's; unless given ``"person"``, or the only class.
        resize: ``"opencv"`` or ``"portable"``; see `resize_for_detector`.

    Raises:
        ValueError: No such class, or a network for another task.
    """

    def __init__(
        self, runner: Runner, threshold: float | None = None, person_class: str | None = None, resize: str = "opencv"
    ) -> None:
        config = of_task(runner.metadata.config, DetectorConfig)
        check_resize(config, resize)
        self.runner, self.resize = runner, resize
        self.config = dataclasses.replace(config, person_class=find_person_class(config, person_class))
        self.threshold = config.person_threshold if threshold is None else threshold

    def detect(self, images: Sequence[Array], threshold: float | None = None) -> list[Detections]:
        """Detections of every class in RGB images, which the network gets as one batch.

        Args:
            images: At least one, each ``(H, W, 3)`` uint8 of any size.
            threshold: Lower scores may be left out, where that saves work.
        """
        config = self.config
        outputs = self.runner(np.concatenate([resize_for_detector(image, config, self.resize) for image in images]))
        if threshold is not None and threshold > config.nms.score_threshold:  # higher-scoring boxes are kept regardless
            config = dataclasses.replace(config, nms=dataclasses.replace(config.nms, score_threshold=threshold))
        return [
            select_detections(scores, boxes, config, image.shape[:2], *embeddings)
            for image, scores, boxes, *embeddings in zip(images, *outputs, strict=True)
        ]

    def detect_people(self, images: Sequence[Array], threshold: float | None = None) -> list[Detections]:
        """People in RGB images, scored above a threshold: the detector's unless given. Arguments as of `detect`."""
        threshold = self.threshold if threshold is None else threshold
        return [
            found[(found.class_ids == self.config.person_class) & (found.scores > threshold)]
            for found in self.detect(images, threshold)
        ]


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
        inner_height, inner_width = letterbox_size(image_size, entry.input_size)
        boxes = boxes - np.array([(width - inner_width) / 2, (height - inner_height) / 2] * 2, np.float32)
        ratio = min(scale_factor)
        scale_factor = (ratio, ratio)
    found = entry.nms.apply(scores, boxes, entry.input_size, scale_factor, image_size, _level_sizes(entry))
    embeddings = None if embeddings is None else embeddings[found.rows]
    return Detections(found.boxes, found.scores, found.class_ids, entry.class_names, embeddings)


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
