"""`tinypose benchmark --app`: an app beside its two networks alone and beside the estimator in Python."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinypose_torch.cli.photos import photos_for_network
from tinypose_torch.estimators.app import letterbox
from tinypose_torch.estimators.pose_estimator import AppEstimator
from tinypose_torch.models.config import ModelConfig
from tinypose_torch.runtime.metadata import ExportMetadata
from tinypose_torch.timing.app import FrameWork, prepare_app, prepare_estimator, prepare_networks
from tinypose_torch.timing.backends import Backend
from tinypose_torch.timing.people import boxes_of, made_up_photo
from tinypose_torch.timing.processes import TimedProcess, time_in_turns
from tinypose_torch.utils.atomic import replacing
from tinypose_torch.utils.images import map_images
from tinypose_torch.utils.outputs import check_outputs
from tinypose_torch.utils.table import format_table
from tinypose_torch.utils.threads import check_threads

_NO_EFFECT = ("models", "weights", "backend", "end_to_end", "plot")
_PREPARE = {"app": prepare_app, "networks": prepare_networks, "python": prepare_estimator}


def run(options: argparse.Namespace) -> int:
    """Measure, print the table, and write JSON if asked."""
    _check(options)
    estimator = AppEstimator(options.app)
    metadata = estimator.metadata
    frame = _frame(estimator, options.images)
    found = estimator(frame).boxes
    counts = sorted({1, metadata.max_people})
    boxes = [boxes_of(count, metadata.frame_size) for count in counts]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        backend = Backend(estimator.runner.backend, precision=metadata.pose.precision)
        detector, pose = (
            _export(backend, network, Path(folder), options.images) for network in (metadata.detector, metadata.pose)
        )
        for threads in options.threads:
            work = FrameWork(Path(options.app), detector, pose, frame, found, boxes, threads)
            rows += _measure(work, options.rounds)
    height, width = metadata.frame_size
    names = f"{metadata.detector.config.name} and {metadata.pose.config.name}"
    print(
        f"\n{options.app}: {names}, {width}x{height}, median of {options.rounds} interleaved rounds\n\n{_table(rows)}"
    )
    if options.json:
        with replacing(Path(options.json)) as temporary:
            temporary.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


def _check(options: argparse.Namespace) -> None:
    for name in _NO_EFFECT:
        if getattr(options, name):
            shown = "NAME" if name == "models" else f"--{name.replace('_', '-')}"
            raise ValueError(f"{shown} has no effect with --app, whose file settles it")
    check_outputs({"--json": options.json}, [options.app], options.images, options.overwrite)
    if options.rounds < 1:
        raise ValueError(f"--rounds {options.rounds}; at least 1 is needed")
    for threads in options.threads:
        check_threads(threads, "--threads")


def _frame(estimator: AppEstimator, folder: str | None) -> np.ndarray:
    """The photo of a folder in which the app finds the most people, as a frame; without photos a made-up one."""
    size = estimator.metadata.frame_size
    if folder is None:
        return made_up_photo(size)
    frames = map_images(folder, lambda image: letterbox(image, size).frame)
    return max(frames, key=lambda frame: len(estimator(frame)))


def _export(backend: Backend, metadata: ExportMetadata, folder: Path, images: str | None) -> Path:
    """A network like one of the app's, with random weights, which are as fast."""
    config: ModelConfig = metadata.config
    print(f"exporting {config.name} to {backend.format}, {backend.precision} ...", file=sys.stderr, flush=True)
    network = config.build().eval()
    network.config = config
    photos = photos_for_network(images, config) if images else None
    return backend.make(config.option, network, folder, photos, raw=False)[0]


def _measure(work: FrameWork, rounds: int) -> list[dict[str, Any]]:
    """Rows of all parts, with one number of threads.

    Raises:
        TimingError: A process died.
    """
    processes: dict[str, TimedProcess] = {}
    try:
        for label, prepare in _PREPARE.items():
            processes[label] = TimedProcess(partial(prepare, work))
            processes[label].wait_until_ready()
        seconds = time_in_turns(processes, rounds, f"{work.threads} threads")
    finally:
        for process in processes.values():
            process.close()
    medians = {label: np.median(times, axis=0) * 1e3 for label, times in seconds.items()}
    return [
        {"part": part, "people": people, "threads": work.threads}
        | {f"{label}_ms": _rounded(float(values[index])) for label, values in medians.items()}
        for index, (part, people) in enumerate(work.parts)
    ]


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 3)


def _table(rows: list[dict[str, Any]]) -> str:
    header = ("part", "threads", "people", "app ms", "networks ms", "app / networks", "PoseEstimator ms")
    cells = [
        (
            row["part"],
            str(row["threads"]),
            "-" if row["people"] is None else str(row["people"]),
            "-" if row["app_ms"] is None else f"{row['app_ms']:.2f}",
            f"{row['networks_ms']:.2f}",
            "-" if row["app_ms"] is None else f"{row['app_ms'] / row['networks_ms']:.2f}",
            f"{row['python_ms']:.2f}",
        )
        for row in rows
    ]
    return format_table(header, cells, right=range(1, 7))
