"""`tinypose evaluate`: accuracy of a pose network or a detector, in whatever form, on annotated images."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tinypose_torch.atomic import replacing
from tinypose_torch.checkpoints.catalogue import get_entry
from tinypose_torch.checkpoints.entries import BottomUpEntry, DetectorEntry, PoseEntry
from tinypose_torch.data.boxes import read_boxes
from tinypose_torch.data.coco import CocoFile, read_coco
from tinypose_torch.data.errors import DatasetError
from tinypose_torch.data.images import check_images
from tinypose_torch.data.mpii import mpii_people
from tinypose_torch.data.records import Records, annotated_people, detected_people
from tinypose_torch.evaluation.bottom_up import find_in_images
from tinypose_torch.evaluation.boxes import box_accuracy, detect_in_images
from tinypose_torch.evaluation.coco import KeypointPrediction, import_pycocotools, keypoint_accuracy, keypoint_results
from tinypose_torch.evaluation.mpii import pckh_of_predictions, read_mpii_truth
from tinypose_torch.evaluation.topdown import predict_people
from tinypose_torch.evaluation.tracking import score_files
from tinypose_torch.geometry.skeletons import Skeleton
from tinypose_torch.runtime import Runner, load_runner
from tinypose_torch.table import format_table
from tinypose_torch.threads import check_threads

_TRACKING_NAMES = {"mota": "MOTA", "idf1": "IDF1"}


def run(options: argparse.Namespace) -> int:
    """Evaluate, print the table, write the figures."""
    if options.tracks:
        return _evaluate_tracks(options)
    check_threads(options.threads, "--threads")
    if not options.images:
        raise ValueError("--images is missing: the folder of the annotated images")
    if options.limit is not None and options.limit < 1:
        raise ValueError(f"--limit {options.limit}; at least 1 image is needed")
    if options.limit is not None and options.truth:
        raise ValueError("--limit is for COCO files; MPII's truth is one of all its people")
    if not options.shift and not options.flip:
        raise ValueError("--no-shift is of the flip test; add --flip")
    if not options.truth:
        import_pycocotools()  # before the work, not after it
    name = options.detector or options.pose
    task = get_entry(name).task
    if options.detector and task != "detection":
        raise ValueError(f"--detector {name} is a pose network; pass --pose {name}")
    if not options.detector and task == "detection":
        raise ValueError(f"--pose {name} is a detector; pass --detector {name}")
    runner = load_runner(name, options.weights, options.backend, options.device, options.threads, task)
    entry = runner.metadata.entry
    if isinstance(entry, DetectorEntry):
        accuracy = _evaluate_boxes(runner, entry, options)
    elif isinstance(entry, BottomUpEntry):
        accuracy = _evaluate_bottom_up(runner, entry, options)
    elif options.truth:
        accuracy = _evaluate_mpii(runner, entry, options)
    else:
        accuracy = _evaluate_coco(runner, entry, options)
    facts = {
        **accuracy,
        "model": entry.name,
        "weights": options.weights or "official",
        "backend": runner.backend,
        "precision": runner.metadata.precision,
        "flip": options.flip,
        "shift": options.flip and options.shift,
        "decoding": options.decoding or getattr(entry, "decoding", None),
        "annotations": options.annotations,
        "detections": options.detections,
    }
    _report(accuracy, facts, options)
    return 0


def _report(accuracy: dict[str, float], facts: dict[str, Any], options: argparse.Namespace) -> None:
    shown = [tuple(_shown(value) for value in accuracy.values())]
    print(format_table(tuple(accuracy), shown, right=range(len(accuracy))))
    if options.json:
        with replacing(Path(options.json)) as temporary:
            temporary.write_text(json.dumps(facts, indent=2) + "\n")


def _evaluate_tracks(options: argparse.Namespace) -> int:
    """People who were followed before, against MOTChallenge's annotations of the same video."""
    for name in ("detector", "weights", "images", "flip", "decoding", "detections", "sigmas", "truth", "limit"):
        if getattr(options, name):
            raise ValueError(f"--{name} has no effect on --tracks, which are of a network that ran before")
    scores = score_files(options.annotations, options.tracks)
    accuracy = {_TRACKING_NAMES.get(name, name): value for name, value in scores._asdict().items()}
    _report(accuracy, {**accuracy, "annotations": options.annotations, "tracks": options.tracks}, options)
    return 0


def _evaluate_boxes(runner: Runner, entry: DetectorEntry, options: argparse.Namespace) -> dict[str, float]:
    for name in ("flip", "decoding", "detections", "sigmas", "truth"):
        if getattr(options, name):
            raise ValueError(f"--{name} is for pose networks")
    images, _ = read_boxes(options.annotations, entry.class_names, keep_empty=True)
    items = images.items[: options.limit]
    check_images(items, options.images)
    for reason, ids in images.skipped.items():
        print(f"not used: {len(ids)} {reason}")
    with tqdm(total=len(items), unit="image", disable=None) as bar:
        records = list(detect_in_images(runner, items, Path(options.images), images.category_ids, bar.update))
    return box_accuracy(images.path, records, images.category_ids, [item.image_id for item in items])


def _evaluate_bottom_up(runner: Runner, entry: BottomUpEntry, options: argparse.Namespace) -> dict[str, float]:
    for name in ("decoding", "detections", "truth"):
        if getattr(options, name):
            raise ValueError(f"--{name} is for top-down networks; {entry.name} finds people itself")
    if not options.shift:
        raise ValueError("--no-shift is for top-down networks; this one's mirrored maps are never shifted")
    truth = _read_truth(entry, options)
    sigmas = _sigmas(truth.skeleton, options)
    images = dict(list(truth.images.items())[: options.limit])
    folder = Path(options.images)
    with tqdm(total=len(images), unit="image", disable=None) as bar:
        found = find_in_images(runner, images, folder, truth.category_id, flip=options.flip, progress=bar.update)
        return keypoint_accuracy(truth.path, list(found), sigmas, list(images))


def _read_truth(entry: PoseEntry | BottomUpEntry, options: argparse.Namespace) -> CocoFile:
    """The annotations, if they are of the network's keypoints."""
    truth = read_coco(options.annotations, entry.skeleton)
    skeleton = truth.skeleton
    if skeleton.keypoint_names != entry.skeleton.keypoint_names:
        if len(skeleton) != len(entry.skeleton):
            raise DatasetError(f"{truth.path} has {len(skeleton)} keypoints, {entry.name} finds {len(entry.skeleton)}")
        raise DatasetError(
            f"{truth.path} names its keypoints {', '.join(skeleton.keypoint_names)}; "
            f"{entry.name} finds {', '.join(entry.skeleton.keypoint_names)}"
        )
    return truth


def _evaluate_coco(runner: Runner, entry: PoseEntry, options: argparse.Namespace) -> dict[str, float]:
    truth = _read_truth(entry, options)
    skeleton = truth.skeleton
    sigmas = _sigmas(skeleton, options)
    people = (
        detected_people(truth, options.detections, entry.input_size, options.detection_threshold)
        if options.detections
        else annotated_people(truth, entry.input_size)
    )
    image_ids = None
    if options.limit is not None:
        image_ids = list(dict.fromkeys(record.image_id for record in people.items))[: options.limit]
        people = dataclasses.replace(people, items=[item for item in people.items if item.image_id in set(image_ids)])
    records = keypoint_results(_predict(runner, people, options), sigmas, category_id=truth.category_id)
    return keypoint_accuracy(truth.path, records, sigmas, image_ids)


def _evaluate_mpii(runner: Runner, entry: PoseEntry, options: argparse.Namespace) -> dict[str, float]:
    people, truth = mpii_people(options.annotations), read_mpii_truth(options.truth)
    if len(people.skeleton) != len(entry.skeleton):
        raise DatasetError(f"MPII has {len(people.skeleton)} keypoints, {entry.name} finds {len(entry.skeleton)}")
    if len(people) != len(truth.head_sizes):
        raise DatasetError(
            f"{options.truth} is of {len(truth.head_sizes)} people, {options.annotations} of {len(people)}"
        )
    return pckh_of_predictions(_predict(runner, people, options), truth)


def _predict(runner: Runner, people: Records, options: argparse.Namespace) -> list[KeypointPrediction]:
    check_images(people.items, options.images)
    for reason, ids in people.skipped.items():
        print(f"not used: {len(ids)} {reason}")
    how = {"flip": options.flip, "shift": options.shift, "decoding": options.decoding}
    with tqdm(total=len(people), unit="person", disable=None) as bar:
        return list(predict_people(runner, people.items, Path(options.images), progress=bar.update, **how))


def _sigmas(skeleton: Skeleton, options: argparse.Namespace) -> tuple[float, ...]:
    if options.sigmas is None:
        return skeleton.sigmas
    if len(options.sigmas) != len(skeleton) or not np.all(np.array(options.sigmas) > 0):
        raise ValueError(f"--sigmas: {len(options.sigmas)} numbers; {len(skeleton)} above 0 are needed")
    return tuple(options.sigmas)


def _shown(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.3f}" if value <= 1 else f"{value:.2f}"
