"""`tinypose prelabel`: predicted annotations for people to correct."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tinypose_torch.cli.annotations import check_target, target_format, write_annotations
from tinypose_torch.cli.networks import refuse_beside_app
from tinypose_torch.data.formats.coco_content import Category, ImageAnnotations, Person
from tinypose_torch.data.formats.registry import AnnotationFormat
from tinypose_torch.estimators.pose_estimator import AppEstimator, PoseEstimator
from tinypose_torch.estimators.results import Poses
from tinypose_torch.utils import defaults
from tinypose_torch.utils.images import find_inputs, image_errors, load_image
from tinypose_torch.utils.messages import escaped, one_line
from tinypose_torch.utils.provenance import printable


def run(options: argparse.Namespace) -> int:
    """Predict and write."""
    chosen, files = find_images(options)
    images, failures = [], 0
    estimator = build_estimator(options)
    for found in predict_images(estimator, files, options):
        if found is None:
            failures += 1
        else:
            images.append(found.annotations)
    write_annotations(chosen, images, category_of(estimator), options.output)
    return report_failures(failures, len(files))


@dataclass(frozen=True)
class PredictedImage:
    """An RGB image with its poses, also as annotations."""

    image: np.ndarray
    poses: Poses
    annotations: ImageAnnotations


def find_images(options: argparse.Namespace) -> tuple[AnnotationFormat, list[str]]:
    """The format to write, and the files of the image folder.

    Raises:
        ValueError, FileNotFoundError: The output cannot be written, or there are no images.
    """
    chosen = target_format(options.target_format)
    check_target(chosen, options.output, (options.images, getattr(options, "labelled", None)), options.overwrite)
    if not Path(options.images).is_dir():
        raise FileNotFoundError(f"no image folder {options.images!r}")
    files, _ = find_inputs([options.images])
    if not files:
        raise FileNotFoundError(f"no images in {options.images}")
    return chosen, files


def build_estimator(options: argparse.Namespace, uncertainty: bool = False) -> PoseEstimator:
    """The estimator of the named networks, or of the app file."""
    if getattr(options, "app", None) is not None:
        refuse_beside_app(options, ("detector", "detector_weights", "pose_weights"))
        return AppEstimator(options.app)
    detector = None if options.detector == defaults.NO_DETECTOR else options.detector or defaults.AUTO
    return PoseEstimator(
        detector,
        options.pose,
        options.detector_weights,
        options.pose_weights,
        device=options.device,
        uncertainty=uncertainty,
    )


def predict_images(
    estimator: PoseEstimator, files: Sequence[str], options: argparse.Namespace
) -> Iterator[PredictedImage | None]:
    """Each image of the folder with its poses; ``None``, and a line on stderr, for images that cannot be used."""
    for file in tqdm(files, unit="image", disable=None):
        try:
            with image_errors():
                image = load_image(file)
                poses = estimator(image)
        except (ValueError, OSError) as error:
            print(f"failed: {one_line(error)}", file=sys.stderr)
            yield None
            continue
        people = to_people(poses, options.keypoint_threshold)
        name = name_in_folder(file, options.images)
        yield PredictedImage(image, poses, ImageAnnotations(name, image.shape[1], image.shape[0], people))


def name_in_folder(file: str, folder: str) -> str:
    """A file's name in annotations: relative to the image folder."""
    return printable(Path(file).relative_to(folder).as_posix())


def category_of(estimator: PoseEstimator) -> Category:
    """The category of the people that an estimator finds."""
    skeleton = estimator.pose_config.skeleton
    return Category("person", skeleton.keypoint_names, skeleton.links, skeleton.flip_pairs)


def report_failures(failures: int, count: int) -> int:
    """The exit status, after a line if some of ``count`` images failed."""
    if failures:
        print(escaped(f"{failures} of {count} images failed"), file=sys.stderr)
    return 1 if failures else 0


def to_people(poses: Poses, threshold: float) -> list[Person]:
    """Poses as annotations: keypoints from a score on are visible, others not labelled."""
    people = []
    for box, score, points, scores in zip(
        poses.boxes.tolist(),
        poses.scores.tolist(),
        poses.keypoints.tolist(),
        poses.keypoint_scores.tolist(),
        strict=True,
    ):
        labelled = [
            (x, y, 2) if keypoint_score >= threshold else (0.0, 0.0, 0)
            for (x, y), keypoint_score in zip(points, scores, strict=True)
        ]
        people.append(Person(labelled, (box[0], box[1], box[2], box[3]), score))
    return people
