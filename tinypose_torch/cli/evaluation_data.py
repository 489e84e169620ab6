"""The annotations and images that `tinypose evaluate` reads, as its options choose them."""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path
from typing import Any

from tinypose_torch.data.errors import DatasetError
from tinypose_torch.data.formats.coco import CocoFile, read_coco
from tinypose_torch.data.formats.registry import read_annotations
from tinypose_torch.data.pose.annotations import PoseAnnotations, load_detections, load_pose_annotations
from tinypose_torch.evaluation.images import ImageFile, select_images
from tinypose_torch.evaluation.truth import Truth, import_pycocotools, read_truth
from tinypose_torch.geometry.skeletons import Skeleton
from tinypose_torch.models.config import KeypointConfig, TopDownConfig


def read_content(options: argparse.Namespace) -> dict[str, Any]:
    """The annotation file; without annotations only where predictions are saved."""
    path = Path(options.annotations)
    content = read_annotations(path, options.images, options.format)
    if content.get("annotations") in (None, []):
        for option in ("report", "calibrate"):
            if getattr(options, option):
                raise DatasetError(f"{path}: no annotations, with which --{option} compares the predictions")
        if not options.predictions:
            raise DatasetError(f"{path}: no annotations; pass --predictions FILE to save what is found in the images")
        print(f"{path} has no annotations: the predictions are saved, there is no accuracy")
        return {**content, "annotations": []}
    import_pycocotools()  # before the work, not after it
    return content


def read_keypoints(entry: KeypointConfig, options: argparse.Namespace) -> tuple[CocoFile, Truth]:
    """The annotations, if they are of the network's keypoints; and the same for COCO's evaluation."""
    content = read_content(options)
    coco = read_coco(options.annotations, entry.skeleton, content)
    skeleton = coco.skeleton
    if skeleton.keypoint_names != entry.skeleton.keypoint_names:
        if len(skeleton) != len(entry.skeleton):
            raise DatasetError(f"{coco.path} has {len(skeleton)} keypoints, {entry.name} finds {len(entry.skeleton)}")
        raise DatasetError(
            f"{coco.path} names its keypoints {', '.join(skeleton.keypoint_names)}; "
            f"{entry.name} finds {', '.join(entry.skeleton.keypoint_names)}"
        )
    return coco, completed(read_truth(coco.path, keypoint_category=coco.category_id, content=content))


def completed(truth: Truth) -> Truth:
    """The truth, after a line on the fields that were derived."""
    if truth.derived:
        missing = ", ".join(f"{name} ({count})" for name, count in truth.derived.items())
        print(f"{truth.path}: annotations without {missing}; derived as COCO defines them")
    return truth


def choose_images(coco: CocoFile, options: argparse.Namespace) -> list[ImageFile]:
    """The images that the options choose."""
    least, most = (1, 1) if options.single_person else (0, options.max_people)
    if most is not None and not coco.annotations:
        raise DatasetError(f"{coco.path}: no annotations, by which images are chosen for their number of people")
    images = select_images(coco, least, most)
    if not images:
        number = "exactly 1 person" if options.single_person else f"at most {most} people"
        raise DatasetError(f"{coco.path}: no image with {number}")
    return images


def load_people(coco: CocoFile, entry: TopDownConfig, options: argparse.Namespace) -> tuple[PoseAnnotations, list[int]]:
    """The people in annotated or detected boxes, and the ids of the images that count."""
    image_ids = [image.image_id for image in choose_images(coco, options)]
    if options.detections:
        threshold = options.detection_threshold or 0.0
        people = load_detections(coco, options.detections, entry.input_size, threshold, allow_empty=True)
        image_ids = image_ids[: options.limit]
    elif coco.annotations:
        people = load_pose_annotations(coco, entry.input_size)
        if options.limit is not None:
            with_people = {record.image_id for record in people.items}
            image_ids = [identity for identity in image_ids if identity in with_people][: options.limit]
    else:
        raise DatasetError(f"{coco.path}: no annotated boxes; pass --detections FILE or --with-detector NAME")
    chosen = set(image_ids)
    return dataclasses.replace(people, items=[item for item in people.items if item.image_id in chosen]), image_ids


def print_skipped(skipped: dict[str, list[Any]]) -> None:
    """Print how many annotations are not used, by reason."""
    for reason, ids in skipped.items():
        print(f"not used: {len(ids)} {reason}")


def oks_sigmas(skeleton: Skeleton, options: argparse.Namespace) -> tuple[float, ...]:
    """The constants of object keypoint similarity: of the options, else the skeleton's."""
    if options.sigmas is None:
        return skeleton.sigmas
    if len(options.sigmas) != len(skeleton) or not all(0 < sigma < math.inf for sigma in options.sigmas):
        raise ValueError(f"--sigmas: {len(options.sigmas)} numbers; {len(skeleton)} above 0 are needed, all finite")
    return tuple(options.sigmas)
