"""The networks of `tinypose evaluate` on annotated images: what each kind of them finds, and how it is scored."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tinypose_torch.cli.calibrate import check_calibrate
from tinypose_torch.cli.evaluation_data import (
    choose_images,
    completed,
    load_people,
    oks_sigmas,
    print_skipped,
    read_content,
    read_keypoints,
)
from tinypose_torch.data.detection.annotations import load_detection_annotations
from tinypose_torch.data.errors import DatasetError
from tinypose_torch.data.formats.coco import CocoFile
from tinypose_torch.data.formats.registry import find_annotation_format
from tinypose_torch.data.images import FromFile, check_images
from tinypose_torch.data.pose.annotations import PoseAnnotations
from tinypose_torch.estimators.pose_estimator import AppEstimator, PoseEstimator
from tinypose_torch.evaluation.bottom_up import find_in_images
from tinypose_torch.evaluation.boxes import box_accuracy, detect_in_images
from tinypose_torch.evaluation.calibration import KeypointErrors, keypoint_errors
from tinypose_torch.evaluation.coco import KeypointPrediction, keypoint_results
from tinypose_torch.evaluation.images import ImageFile, OnError
from tinypose_torch.evaluation.mpii import mpii_results, pckh_of_predictions, read_mpii_truth
from tinypose_torch.evaluation.pipeline import pipeline_results
from tinypose_torch.evaluation.report.matching import KeypointEvaluation
from tinypose_torch.evaluation.top_down import predict_people
from tinypose_torch.evaluation.truth import Truth, read_truth
from tinypose_torch.models.config import BottomUpConfig, DetectorConfig, TopDownConfig
from tinypose_torch.runtime import Runner

Results = list[dict[str, Any]]


@dataclass(frozen=True)
class Found:
    """What a network found in the images of a dataset.

    Attributes:
        results: What ``--predictions`` saves: records of COCO's result format, or of `mpii_results`.
        num_images: Number of images that were evaluated.
        score: Gives the accuracy by name; ``None`` without annotations.
        facts: What else the figures' file tells.
        failed: Why images could not be used, by file name; their people count as missed.
        keypoints: What a report is made of; ``None`` where there is none.
        errors: What a calibration is fitted to; ``None`` unless it is asked for.
    """

    results: Results
    num_images: int
    score: Callable[[], dict[str, float]] | None
    facts: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    keypoints: KeypointEvaluation | None = None
    errors: KeypointErrors | None = None


class _Failures:
    """The images of an evaluation that could not be used.

    Args:
        folder: Folder of the images.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.reasons: dict[str, str] = {}

    def add(self, name: str, error: Exception) -> None:
        """Keep why an image failed."""
        self.reasons[name] = str(error).removeprefix(f"{self.folder / name}: ")

    def check(self, images: Sequence[FromFile]) -> None:
        """Refuse an evaluation of nothing.

        Raises:
            DatasetError: All images failed.
        """
        if self.reasons and len(self.reasons) == len({image.file_name for image in images}):
            name, reason = next(iter(self.reasons.items()))
            raise DatasetError(f"none of the {len(self.reasons)} images can be used; the first, {name}: {reason}")


def evaluate_boxes(runner: Runner, entry: DetectorConfig, options: argparse.Namespace) -> Found:
    """A detector."""
    content = read_content(options)
    truth = completed(read_truth(options.annotations, content=content))
    images, _ = load_detection_annotations(
        options.annotations, entry.class_names, keep_empty=True, content=truth.content, allow_unannotated=True
    )
    items = images.items[: options.limit]
    check_images(items, options.images)
    print_skipped(images.skipped)
    failed = _Failures(options.images)
    with tqdm(total=len(items), unit="image", disable=None) as bar:
        folder, ids = Path(options.images), images.category_ids
        results = list(detect_in_images(runner, items, folder, ids, bar.update, failed.add, options.workers))
    failed.check(items)

    def score() -> dict[str, float]:
        return box_accuracy(truth, results, images.category_ids, [item.image_id for item in items])

    return Found(results, len(items), score if content["annotations"] else None, failed=failed.reasons)


def evaluate_bottom_up(runner: Runner, entry: BottomUpConfig, options: argparse.Namespace) -> Found:
    """A bottom-up network."""
    coco, truth = read_keypoints(entry, options)
    images = choose_images(coco, options)[: options.limit]

    def find(progress: Callable[[int], object], on_error: OnError) -> Results:
        how: dict[str, Any] = {"flip": options.flip, "progress": progress, "on_error": on_error}
        how["workers"] = options.workers
        return list(find_in_images(runner, images, Path(options.images), coco.category_id, **how))

    return _on_whole_images(find, images, coco, truth, options)


def evaluate_pipeline(estimator: PoseEstimator, options: argparse.Namespace) -> Found:
    """A detector and a top-down network together, with the crop and the decoding of the deployed pipeline."""
    assert estimator.detector_config is not None
    facts = {
        "detector": estimator.detector_config.name,
        "detector_weights": options.detector_weights or "official",
        "detection_threshold": estimator.detection_threshold,
    }
    return dataclasses.replace(_find_people(estimator, options), facts=facts)


def evaluate_app(estimator: AppEstimator, options: argparse.Namespace) -> Found:
    """An app file, with the images fitted into its frame."""
    metadata = estimator.metadata
    facts = {
        "detector": metadata.detector.config.name,
        "weights": options.app,
        "detection_threshold": metadata.threshold,
        "frame": list(metadata.frame_size),
        "people_at_most": metadata.max_people,
    }
    return dataclasses.replace(_find_people(estimator, options), facts=facts)


def _find_people(estimator: PoseEstimator, options: argparse.Namespace) -> Found:
    """The people that an estimator finds in whole images."""
    coco, truth = read_keypoints(estimator.pose_config, options)
    images = choose_images(coco, options)[: options.limit]

    def find(progress: Callable[[int], object], on_error: OnError) -> Results:
        folder, how = Path(options.images), (progress, on_error, options.workers)
        return list(pipeline_results(estimator, images, folder, coco.category_id, *how))

    return _on_whole_images(find, images, coco, truth, options)


def _on_whole_images(
    find: Callable[[Callable[[int], object], OnError], Results],
    images: Sequence[ImageFile],
    coco: CocoFile,
    truth: Truth,
    options: argparse.Namespace,
) -> Found:
    sigmas = oks_sigmas(coco.skeleton, options)
    check_images(images, options.images)
    failed = _Failures(options.images)
    with tqdm(total=len(images), unit="image", disable=None) as bar:
        results = find(bar.update, failed.add)
    failed.check(images)
    image_ids = [image.image_id for image in images]
    keypoints = KeypointEvaluation(truth, results, coco.skeleton, sigmas, image_ids, Path(options.images))
    score = keypoints.accuracy if coco.annotations else None
    return Found(results, len(images), score, failed=failed.reasons, keypoints=keypoints)


def evaluate_top_down(runner: Runner, entry: TopDownConfig, options: argparse.Namespace) -> Found:
    """A top-down network on annotated boxes, or on those of a detection file."""
    coco, truth = read_keypoints(entry, options)
    sigmas = oks_sigmas(coco.skeleton, options)
    people, image_ids = load_people(coco, entry, options)
    failed = _Failures(options.images)
    if options.calibrate:
        check_calibrate(runner, options.calibrate)
    results = keypoint_results(_predict(runner, people, options, failed), sigmas, category_id=coco.category_id)
    errors = _errors(runner, people, options, failed) if options.calibrate else None
    keypoints = KeypointEvaluation(truth, results, coco.skeleton, sigmas, image_ids, Path(options.images))
    score = keypoints.accuracy if coco.annotations else None
    return Found(results, len(image_ids), score, failed=failed.reasons, keypoints=keypoints, errors=errors)


def evaluate_mpii(runner: Runner, entry: TopDownConfig, options: argparse.Namespace) -> Found:
    """A top-down network on MPII."""
    if options.truth is None:
        raise ValueError("--truth is missing: MPII's gt_valid.mat, which has the head sizes")
    found = find_annotation_format(options.annotations, options.format)
    people, truth = found.read_people(Path(options.annotations)), read_mpii_truth(options.truth)
    if len(people.skeleton) != len(entry.skeleton):
        raise DatasetError(f"MPII has {len(people.skeleton)} keypoints, {entry.name} finds {len(entry.skeleton)}")
    if len(people) != len(truth.head_sizes):
        raise DatasetError(
            f"{options.truth} is of {len(truth.head_sizes)} people, {options.annotations} of {len(people)}"
        )
    failed = _Failures(options.images)
    predictions = _predict(runner, people, options, failed)
    num_images = len({record.file_name for record in people.items})
    results = mpii_results(predictions, people)
    return Found(results, num_images, lambda: pckh_of_predictions(predictions, truth), failed=failed.reasons)


def _predict(
    runner: Runner, people: PoseAnnotations, options: argparse.Namespace, failed: _Failures
) -> list[KeypointPrediction]:
    check_images(people.items, options.images)
    print_skipped(people.skipped)
    how: dict[str, Any] = {
        "flip": options.flip,
        "shift": options.shift,
        "decoding": options.decoding,
        "on_error": failed.add,
    }
    how["workers"] = options.workers
    with tqdm(total=len(people), unit="person", disable=None) as bar:
        predictions = list(predict_people(runner, people.items, Path(options.images), progress=bar.update, **how))
    failed.check(people.items)
    return predictions


def _errors(runner: Runner, people: PoseAnnotations, options: argparse.Namespace, failed: _Failures) -> KeypointErrors:
    """The errors of all keypoints, for the calibration."""
    with tqdm(total=len(people), desc="calibration", unit="person", disable=None) as bar:
        images = Path(options.images)
        return keypoint_errors(runner, people.items, images, progress=bar.update, on_error=failed.add)
