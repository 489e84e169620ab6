"""`tinypose prelabel`: predicted annotations for people to correct."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from tinypose_torch.cli.annotations import check_target, target_format, write_annotations
from tinypose_torch.cli.networks import refuse_beside_app
from tinypose_torch.data.formats.coco_content import Category, ImageAnnotations, Person
from tinypose_torch.estimators.pose_estimator import AppEstimator, PoseEstimator
from tinypose_torch.estimators.results import Poses
from tinypose_torch.utils import defaults
from tinypose_torch.utils.images import find_inputs, image_errors, load_image
from tinypose_torch.utils.messages import escaped, one_line
from tinypose_torch.utils.provenance import printable


def run(options: argparse.Namespace) -> int:
    """Predict and write."""
    chosen = target_format(options.target_format)
    check_target(chosen, options.output, (options.images,), options.overwrite)
    if not Path(options.images).is_dir():
        raise FileNotFoundError(f"no image folder {options.images!r}")
    files, _ = find_inputs([options.images])
    if not files:
        raise FileNotFoundError(f"no images in {options.images}")
    estimator = _build_estimator(options)
    images, failures = [], 0
    for file in tqdm(files, unit="image", disable=None):
        try:
            with image_errors():
                image = load_image(file)
                poses = estimator(image)
        except (ValueError, OSError) as error:
            failures += 1
            print(f"failed: {one_line(error)}", file=sys.stderr)
            continue
        name = printable(Path(file).relative_to(options.images).as_posix())
        people = to_people(poses, options.keypoint_threshold)
        images.append(ImageAnnotations(name, image.shape[1], image.shape[0], people))
    skeleton = estimator.pose_config.skeleton
    category = Category("person", skeleton.keypoint_names, skeleton.links, skeleton.flip_pairs)
    write_annotations(chosen, images, category, options.output)
    if failures:
        print(escaped(f"{failures} of {len(files)} images failed"), file=sys.stderr)
    return 1 if failures else 0


def _build_estimator(options: argparse.Namespace) -> PoseEstimator:
    if options.app is not None:
        refuse_beside_app(options, ("detector", "detector_weights", "pose_weights"))
        return AppEstimator(options.app)
    detector = None if options.detector == defaults.NO_DETECTOR else options.detector or defaults.AUTO
    return PoseEstimator(detector, options.pose, options.detector_weights, options.pose_weights, device=options.device)


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
