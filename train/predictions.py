"""A picture of what a trained model finds in a few images, beside what is annotated there."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tinypose_torch.data.formats.coco import read_coco
from tinypose_torch.data.formats.registry import read_annotations
from tinypose_torch.data.images import FromFile, read_or_fail
from tinypose_torch.data.pose.annotations import PoseAnnotation, load_pose_annotations
from tinypose_torch.data.pose.dataset import PoseDataset
from tinypose_torch.estimators.detection import select_detections
from tinypose_torch.estimators.pose_estimator import BottomUpEstimator, PoseEstimator
from tinypose_torch.estimators.preprocessing import resize_for_detector
from tinypose_torch.evaluation.report.images import TILE, Labelled, draw_labelled
from tinypose_torch.evaluation.report.page import ImagePair
from tinypose_torch.geometry.boxes import boxes_of_points
from tinypose_torch.geometry.skeletons import Skeleton
from tinypose_torch.models.config import BottomUpConfig, DetectorConfig, TopDownConfig, config_of, of_task
from tinypose_torch.runtime import load_runner
from tinypose_torch.utils.images import save_png
from train.config import Config
from train.lightning_module import Job
from train.pose import EvaluationCrops
from train.preflight import PREDICTIONS

_IMAGES = 12
_COLUMNS = 3  # of pairs
_CAPTION = 22  # pixels
_GAP = 8  # pixels
_DARK = 24
Array = np.ndarray
_NO_SKELETON = Skeleton.unnamed(0)


Predict = Callable[[Array, Labelled], Labelled]


def draw_predictions(config: Config, job: Job, weights: Path, device: str) -> Path:
    """Draw `prediction_pairs` into one picture, ``predictions.png``.

    Raises:
        DatasetError: An image is missing or cannot be decoded.
    """
    path = Path(config.output) / PREDICTIONS
    save_png(prediction_sheet(prediction_pairs(config, job, weights, device), job), path)
    return path


def prediction_pairs(config: Config, job: Job, weights: Path, device: str) -> list[ImagePair]:
    """Annotations and predictions of up to 12 validation images, or training images where there are no others.

    Args:
        weights: The weight file that is used.
        device: Where the network runs.

    Raises:
        DatasetError: An image is missing or cannot be decoded.
    """
    entry = config_of(job.network)
    read_labels, build_predict = _BY_TASK[entry.task]
    images, folder = read_labels(config, job), Path(_source(job).folder)
    predict, threshold = build_predict(config.model, entry, weights, device)
    skeleton = getattr(entry, "skeleton", _NO_SKELETON)  # detectors have none
    pairs = []
    for labelled in (images[index] for index in _spread(len(images))):
        image = read_or_fail(labelled, folder)
        annotated = draw_labelled(image, labelled, skeleton)
        predicted = draw_labelled(image, predict(image, labelled), skeleton)
        pairs.append(ImagePair(f"{labelled.file_name} (score >= {threshold:g})", annotated, predicted))
    return pairs


def first_image(job: Job) -> Path:
    """The first validation image, or training image where there are no others."""
    source = _source(job)
    items = source.records if config_of(job.network).takes_boxes else source.images
    return Path(source.folder) / items[0].file_name


def _source(job: Job) -> Any:
    """The validation data, or the training data where there are no others."""
    return job.samples if job.evaluation is None else job.evaluation


def _spread(count: int) -> list[int]:
    return sorted({round(index) for index in np.linspace(0, count - 1, min(count, _IMAGES))})


def _labelled_boxes(config: Config, job: Job) -> list[Labelled]:
    names = config_of(job.network).head_names
    return [
        _boxes_only(item, item.objects.boxes, [names[label] for label in item.objects.labels])
        for item in _source(job).images
        if len(item.objects)
    ]


def _labelled_groups(config: Config, job: Job) -> list[Labelled]:
    return [
        Labelled(item.file_name, item.image_size, *_extents(item.people.joints, item.people.visible > 0))
        for item in _source(job).images
        if len(item.people)
    ]


def _labelled_people(config: Config, job: Job) -> list[Labelled]:
    entry = of_task(config_of(job.network), TopDownConfig)
    return _by_image(_annotated_records(config, entry, _source(job), job.evaluation is not None))


def _annotated_records(
    config: Config, entry: TopDownConfig, source: PoseDataset | EvaluationCrops, evaluates: bool
) -> Sequence[PoseAnnotation]:
    """The annotated people, also where the evaluation uses detected ones."""
    if not evaluates or config.data.detections is None or config.data.val is None:
        return source.records
    content = read_annotations(config.data.val, source.folder, config.data.format)
    return load_pose_annotations(read_coco(config.data.val, entry.skeleton, content), entry.input_size).items


def _by_image(records: Sequence[PoseAnnotation]) -> list[Labelled]:
    people: dict[str, list[PoseAnnotation]] = defaultdict(list)
    for record in records:
        people[record.file_name].append(record)
    return [
        Labelled(
            name,
            some[0].image_size,
            np.stack([one.box for one in some]),
            [""] * len(some),
            np.stack([one.person.joints for one in some]),
            np.stack([one.person.visible > 0 for one in some]),
        )
        for name, some in people.items()
    ]


def _boxes_only(image: FromFile, boxes: Array, labels: Sequence[str]) -> Labelled:
    return Labelled(
        image.file_name, image.image_size, boxes, labels, np.zeros((len(boxes), 0, 2)), np.zeros((len(boxes), 0), bool)
    )


def _extents(keypoints: Array, visible: Array) -> tuple[Array, list[str], Array, Array]:
    """Boxes around the visible keypoints of people who have some, and these people."""
    some = visible.any(axis=1)
    keypoints, visible = keypoints[some], visible[some]
    return boxes_of_points(keypoints, visible), [""] * len(keypoints), keypoints, visible


def _bottom_up(model: str, entry: BottomUpConfig, weights: Path, device: str) -> tuple[Predict, float]:
    bottom_up, threshold = BottomUpEstimator(model, weights, "eager", device), entry.keypoint_threshold

    def find(image: Array, labelled: Labelled) -> Labelled:
        poses = bottom_up(image)
        return Labelled(
            labelled.file_name, labelled.image_size, *_extents(poses.keypoints, poses.keypoint_scores >= threshold)
        )

    return find, threshold


def _top_down(model: str, entry: TopDownConfig, weights: Path, device: str) -> tuple[Predict, float]:
    threshold = entry.keypoint_threshold
    top_down = PoseEstimator(None, model, None, weights, "eager", device, crop="evaluation", decoding=entry.decoding)

    def estimate(image: Array, labelled: Labelled) -> Labelled:
        poses = top_down.estimate_keypoints(image, labelled.boxes)
        return dataclasses.replace(labelled, keypoints=poses.keypoints, visible=poses.keypoint_scores >= threshold)

    return estimate, threshold


def _detector(model: str, entry: DetectorConfig, weights: Path, device: str) -> tuple[Predict, float]:
    runner = load_runner(model, weights, "eager", device, task="detection")

    def detect(image: Array, labelled: Labelled) -> Labelled:
        scores, boxes, *_ = runner(resize_for_detector(image, entry))
        found = select_detections(scores[0], boxes[0], entry, image.shape[:2])
        found = found[found.scores >= entry.person_threshold]
        pairs = zip(found.class_ids, found.scores, strict=True)
        labels = [f"{entry.class_names[label]} {score:.2f}" for label, score in pairs]
        return _boxes_only(labelled, found.boxes, labels)

    return detect, entry.person_threshold


# Functions that return the annotated images of a job, and a function from an image and its annotations to predictions with
# the score from which they are drawn.
_BY_TASK: dict[
    str, tuple[Callable[[Config, Job], list[Labelled]], Callable[[str, Any, Path, str], tuple[Predict, float]]]
] = {
    "pose": (_labelled_people, _top_down),
    "bottom-up pose": (_labelled_groups, _bottom_up),
    "detection": (_labelled_boxes, _detector),
}


def prediction_sheet(pairs: Sequence[ImagePair], job: Job) -> Array:
    """One RGB picture of all pairs, ``(H, W, 3)`` uint8."""
    part = "training" if job.evaluation is None else "validation"
    tiles = [
        np.concatenate([_tile(pair.annotated, f"annotated ({part})"), _tile(pair.predicted, "predicted")], axis=1)
        for pair in pairs
    ]
    height, width = max(map(len, tiles)) + _GAP, 2 * TILE + _GAP
    columns = min(_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * height, columns * width, 3), _DARK, np.uint8)
    for index, tile in enumerate(tiles):
        top, left = index // columns * height, index % columns * width
        sheet[top : top + len(tile), left : left + 2 * TILE] = tile
    return sheet


def _tile(drawn: Array, caption: str) -> Array:
    """A drawn image below a caption."""
    tile = np.full((_CAPTION + len(drawn), TILE, 3), _DARK, np.uint8)
    tile[_CAPTION:, : drawn.shape[1]] = drawn
    cv2.putText(tile, caption, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (235, 235, 235), 1, cv2.LINE_AA)
    return tile
