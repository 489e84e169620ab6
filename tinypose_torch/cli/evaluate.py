"""`tinypose evaluate`: accuracy of a pose network, a detector, or both together, also in an app file, on annotated images."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tinypose_torch.checkpoints.identity import resolve_model
from tinypose_torch.cli import evaluation_tasks as tasks
from tinypose_torch.cli.calibrate import check_calibrate, write_calibrated
from tinypose_torch.cli.networks import refuse_beside_app
from tinypose_torch.data.formats.registry import find_annotation_format
from tinypose_torch.estimators.pose_estimator import AppEstimator, PoseEstimator
from tinypose_torch.evaluation.report.keypoints import write_report
from tinypose_torch.evaluation.tracking import score_files
from tinypose_torch.geometry.skeletons import Skeleton
from tinypose_torch.models.config import BottomUpConfig, DetectorConfig, ModelConfig, TopDownConfig
from tinypose_torch.models.registry import get_config
from tinypose_torch.runtime import Runner, load_runner
from tinypose_torch.utils.atomic import replacing
from tinypose_torch.utils.defaults import AUTO
from tinypose_torch.utils.hints import check_matplotlib, print_next
from tinypose_torch.utils.messages import escaped
from tinypose_torch.utils.outputs import check_outputs
from tinypose_torch.utils.table import format_table
from tinypose_torch.utils.threads import check_threads

_TRACKING_NAMES = {"mota": "MOTA", "idf1": "IDF1"}
_POSE_OPTIONS = (
    *("flip", "decoding", "detections", "with_detector", "sigmas", "truth", "max_people", "single_person"),
    *("report", "calibrate"),
)
_NOT_OF_APPS = (
    *("weights", "flip", "decoding", "detections", "with_detector", "truth"),
    *("detector_weights", "person_class", "detection_threshold", "calibrate"),
)


class _Model(NamedTuple):
    """What was evaluated: the network, or the pose network of a pipeline; its backend and precision."""

    config: ModelConfig
    backend: str
    precision: str
    runner: Runner | None = None


def run(options: argparse.Namespace) -> int:
    """Evaluate, save the predictions, print the table, write the figures."""
    inputs = (options.annotations, options.weights, options.detector_weights, options.detections, options.truth)
    outputs = {f"--{name}": getattr(options, name) for name in ("json", "predictions", "report", "calibrate")}
    check_outputs(outputs, [*inputs, options.tracks, options.app], options.images, options.overwrite)
    if options.tracks:
        return _evaluate_tracks(options)
    check_threads(options.threads, "--threads")
    _check_options(options)
    evaluate = _evaluate_app if options.app else _evaluate_pipeline if options.with_detector else evaluate_network
    model, found = evaluate(options)
    if options.predictions:
        _write(options.predictions, format_records(found.results))
    if not found.results:
        print("tinypose: warning: nothing was found in the images", file=sys.stderr)
    accuracy = found.score() if found.score is not None else {}
    entry = model.config
    facts = {
        **accuracy,
        "images": found.num_images,
        "model": entry.name,
        "weights": options.weights or "official",
        "backend": model.backend,
        "precision": model.precision,
        "flip": options.flip,
        "shift": options.flip and options.shift,
        "decoding": options.decoding or getattr(entry, "decoding", None),
        "annotations": options.annotations,
        "detections": options.detections,
        **found.facts,
        **({"failed_images": sorted(found.failed)} if found.failed else {}),
    }
    print(f"images: {found.num_images}, {'boxes' if entry.gives_boxes else 'people'} found: {len(found.results)}")
    _report(accuracy, facts, options)
    if options.report and found.keypoints is not None:
        write_report(Path(options.report), found.keypoints, accuracy, facts)
        print(f"wrote {options.report}")
    if options.calibrate and found.errors is not None and model.runner is not None:
        weights = check_calibrate(model.runner, options.calibrate)
        write_calibrated(weights, found.errors, Path(options.calibrate), options.images)
    elif (options.weights or options.app) and accuracy:
        _print_next(model, options)
    for name, reason in found.failed.items():
        print(f"failed: {escaped(f'{name}: {reason}')}", file=sys.stderr)
    if found.failed:
        print(f"{len(found.failed)} of {found.num_images} images failed; their people count as missed", file=sys.stderr)
    return 1 if found.failed else 0


def _print_next(model: _Model, options: argparse.Namespace) -> None:
    """Print what comes after measuring: a file for an app, and then that file on images."""
    weights, entry = str(options.weights), model.config
    if options.app:
        print_next(["tinypose", "predict", options.images, "--app", options.app])
    elif model.backend == "eager":
        print_next(["tinypose", "export", entry.name, "--weights", weights])
    else:
        print_next(["tinypose", "predict", options.images, f"--{entry.option}-weights", weights])


def _check_flip(skeleton: Skeleton) -> None:
    """Refuse a flip test that would not swap left and right keypoints."""
    unpaired = skeleton.unpaired_names()
    if unpaired:
        raise ValueError(
            f"--flip: the weights do not say which keypoints are the opposites of {', '.join(unpaired)}; leave out "
            "--flip, or train with data.flip_pairs"
        )


def _check_options(options: argparse.Namespace) -> None:
    """Refuse options that contradict each other, before anything is loaded."""
    if not options.images:
        raise ValueError("--images is missing: the folder of the annotated images")
    if options.app:
        refuse_beside_app(options, _NOT_OF_APPS)
    for name in ("limit", "max_people", "workers"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise ValueError(f"--{_dashed(name)} {getattr(options, name)}; at least 1 is needed")
    if options.truth:
        options.format = options.format or "mpii"
        _refuse(
            options,
            ("limit", "max_people", "single_person", "sigmas", "detections", "with_detector", "report", "calibrate"),
            "COCO files; MPII is evaluated on all its people",
        )
    if options.report:
        check_matplotlib("--report")
    if not options.shift and not options.flip:
        raise ValueError("--no-shift is of the flip test; add --flip")
    if options.with_detector:
        if options.detector:
            raise ValueError("--with-detector is for --pose NAME; --detector NAME evaluates a detector alone")
        _refuse(options, ("flip", "detections", "calibrate"), "a pose network without a detector")
    elif options.calibrate and options.detections:
        raise ValueError("--calibrate is for annotated boxes; leave out --detections")
    elif options.detector_weights:
        raise ValueError("--detector-weights is for --with-detector; those of --detector are --weights")
    elif options.person_class:
        raise ValueError("--person-class is for --with-detector; --detector is evaluated on all its classes")
    if options.detection_threshold is not None:
        if not (options.detections or options.with_detector):
            raise ValueError("--detection-threshold is for the boxes of --detections or --with-detector")
        if not 0 <= options.detection_threshold <= 1:
            raise ValueError(f"--detection-threshold {options.detection_threshold}; expected 0 to 1")


def _refuse(options: argparse.Namespace, names: tuple[str, ...], kind: str) -> None:
    """Refuse options that are for something else."""
    for name in names:
        if getattr(options, name):
            raise ValueError(f"--{_dashed(name)} is for {kind}")


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _described(runner: Runner) -> _Model:
    return _Model(runner.metadata.config, runner.backend, runner.metadata.precision, runner)


def _evaluate_app(options: argparse.Namespace) -> tuple[_Model, tasks.Found]:
    options.decoding = "dark"  # as in every app
    estimator = AppEstimator(options.app, threads=options.threads)
    pose = estimator.metadata.pose
    return _Model(pose.config, estimator.runner.backend, pose.precision), tasks.evaluate_app(estimator, options)


def evaluate_network(options: argparse.Namespace) -> tuple[_Model, tasks.Found]:
    """One network, and what it finds in the images.

    Raises:
        ValueError, OSError: Options, weights or annotations that cannot be used.
    """
    usage = "--detector NAME" if options.detector else "--pose NAME"
    allowed = ("detection",) if options.detector == AUTO else ("pose", "bottom-up pose", "detection")
    name = resolve_model(options.detector or options.pose, options.weights, allowed, usage).name
    config = get_config(name)
    if options.detector and not config.gives_boxes:
        raise ValueError(f"--detector {name} is a pose network; pass --pose {name}")
    if not options.detector and config.gives_boxes and options.pose != AUTO:
        raise ValueError(f"--pose {name} is a detector; pass --detector {name}")
    runner = load_runner(name, options.weights, options.backend, options.device, options.threads, config.task)
    return _described(runner), _EVALUATE[config.task](runner, runner.metadata.config, options)


def _evaluate_detector(runner: Runner, entry: DetectorConfig, options: argparse.Namespace) -> tasks.Found:
    _refuse(options, _POSE_OPTIONS, "pose networks")
    return tasks.evaluate_boxes(runner, entry, options)


def _evaluate_bottom_up(runner: Runner, entry: BottomUpConfig, options: argparse.Namespace) -> tasks.Found:
    if options.flip:
        _check_flip(entry.skeleton)
    _refuse(
        options,
        ("decoding", "detections", "truth", "calibrate"),
        f"top-down networks; {entry.name} is a bottom-up network",
    )
    if not options.shift:
        raise ValueError("--no-shift is for top-down networks; this one's mirrored maps are never shifted")
    return tasks.evaluate_bottom_up(runner, entry, options)


def _evaluate_top_down(runner: Runner, entry: TopDownConfig, options: argparse.Namespace) -> tasks.Found:
    if options.flip:
        _check_flip(entry.skeleton)
    metric = find_annotation_format(options.annotations, options.format).metric
    return _EVALUATE_PEOPLE[metric](runner, entry, options)


_EVALUATE_PEOPLE = {"AP": tasks.evaluate_top_down, "PCKh": tasks.evaluate_mpii}  # by the annotation format's metric
_EVALUATE: dict[str, Callable[[Runner, Any, argparse.Namespace], tasks.Found]] = {
    "pose": _evaluate_top_down,
    "bottom-up pose": _evaluate_bottom_up,
    "detection": _evaluate_detector,
}


def _evaluate_pipeline(options: argparse.Namespace) -> tuple[_Model, tasks.Found]:
    name = resolve_model(options.pose, options.weights, ("pose", "bottom-up pose"), "--pose NAME").name
    if not get_config(name).takes_boxes:
        raise ValueError(f"--with-detector is for top-down networks; {name} is {get_config(name).kind}")
    detector = resolve_model(
        options.with_detector, options.detector_weights, ("detection",), "--with-detector NAME"
    ).name
    options.decoding = options.decoding or "dark"  # as deployed, whatever the network's own is
    estimator = PoseEstimator(
        detector,
        name,
        options.detector_weights,
        options.weights,
        options.backend,
        options.device,
        detection_threshold=options.detection_threshold,
        person_class=options.person_class,
        decoding=options.decoding,
        threads=options.threads,
    )
    return _described(estimator.pose_runner), tasks.evaluate_pipeline(estimator, options)


def _evaluate_tracks(options: argparse.Namespace) -> int:
    """People who were followed before, against MOTChallenge's annotations of the same video."""
    used = ("detector", "weights", "images", "limit", "predictions")
    boxes = ("detector_weights", "person_class", "detection_threshold")
    for name in (*_POSE_OPTIONS, *used, *boxes, "format"):
        if getattr(options, name):
            raise ValueError(f"--{_dashed(name)} has no effect on --tracks, which are of a network that ran before")
    scores = score_files(options.annotations, options.tracks)
    accuracy = {_TRACKING_NAMES.get(name, name): value for name, value in scores._asdict().items()}
    _report(accuracy, {**accuracy, "annotations": options.annotations, "tracks": options.tracks}, options)
    return 0


def _report(accuracy: dict[str, float], facts: dict[str, Any], options: argparse.Namespace) -> None:
    if accuracy:
        print(format_table(tuple(accuracy), [tuple(map(_shown, accuracy.values()))], right=range(len(accuracy))))
    if options.json:
        _write(options.json, json.dumps(facts, indent=2))


def format_records(records: Sequence[dict[str, Any]]) -> str:
    """A JSON list with a line per record, by which `is_own_output` recognises it."""
    return "[\n" + ",\n".join(map(json.dumps, records)) + "\n]" if records else "[]"


def _write(path: str, text: str) -> None:
    with replacing(Path(path)) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _shown(value: float) -> str:
    """A figure of the table; COCO's -1 means that there is nothing of a size."""
    if isinstance(value, int):
        return str(value)
    if value < 0:
        return "-"
    return f"{value:.3f}" if value <= 1 else f"{value:.2f}"
