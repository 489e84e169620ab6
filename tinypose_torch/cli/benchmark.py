"""`tinypose benchmark`: backends side by side, in one interleaved run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinypose_torch.checkpoints.files import find_weights
from tinypose_torch.checkpoints.identity import resolve_model
from tinypose_torch.cli import benchmark_app
from tinypose_torch.cli.photos import count_photos, photos_for_network
from tinypose_torch.factory import create_model
from tinypose_torch.models.base import Network
from tinypose_torch.models.config import config_of
from tinypose_torch.timing.backends import BASELINE, Backend, known_backends, prepare_network
from tinypose_torch.timing.people import SIZE, prepare_pipeline
from tinypose_torch.timing.plot import check_plot, draw_times
from tinypose_torch.timing.processes import Run, TimedProcess, TimingError, time_in_turns
from tinypose_torch.utils.atomic import replacing
from tinypose_torch.utils.defaults import BENCHMARK_MODELS
from tinypose_torch.utils.outputs import check_outputs
from tinypose_torch.utils.table import format_table
from tinypose_torch.utils.threads import check_threads

PEOPLE = (1, 6)


def run(options: argparse.Namespace, backends: Mapping[str, Backend] | None = None) -> int:
    """Measure, print the tables, and write JSON and plot if asked.

    Args:
        backends: By name; those of `known_backends` unless given. With ``options.end_to_end`` `PoseEstimator` must be able
            to run the files of each.
    """
    if options.app is not None:
        return benchmark_app.run(options)
    backends = known_backends() if backends is None else backends
    _check(options, backends)
    networks = _build_networks(options)
    pairs = _pairs(networks) if options.end_to_end else []
    usable = _usable({name: backends[name] for name in options.backend or backends}, options)
    rounds = f"median of {options.rounds} interleaved rounds"
    rows: list[dict[str, Any]] = []
    for name, network in networks.items():
        measured = _measure_networks(name, network, usable, options)
        rows += measured
        print(f"\n{name}, float32 in and out, batch 1, {rounds}\n\n{_table(measured)}")
    for detector, pose in pairs:
        measured = _measure_people(detector, pose, networks, usable, options)
        rows += measured
        print(f"\n{detector} and {pose}, {SIZE[1]}x{SIZE[0]} photo to poses, {rounds}\n\n{_people_table(measured)}")
    print(
        f"\n{platform.machine()}, {os.cpu_count()} cores; ratio: to ONNX Runtime with as many threads; "
        "memory: the most of a Python process that does nothing else."
    )
    if options.json:
        with replacing(Path(options.json)) as temporary:
            temporary.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        draw_times([row for row in rows if "people" not in row], Path(options.plot))
    return 0


def _check(options: argparse.Namespace, backends: Mapping[str, Backend]) -> None:
    outputs = {"--json": options.json, "--plot": options.plot}
    check_outputs(outputs, [options.weights], options.images, options.overwrite)
    if options.rounds < 1:
        raise ValueError(f"--rounds {options.rounds}; at least 1 is needed")
    for threads in options.threads:
        check_threads(threads, "--threads")
    unknown = [name for name in options.backend or () if name not in backends]
    if unknown:
        raise ValueError(f"--backend {unknown[0]}; there are {', '.join(map(repr, backends))}")
    if options.plot:
        check_plot(Path(options.plot))
    count_photos(options.images)


def _build_networks(options: argparse.Namespace) -> dict[str, Network]:
    """The networks by name, with weights of a folder, a file or a release; random ones unless given."""
    names = options.models or BENCHMARK_MODELS
    weights = Path(options.weights or "")
    if options.weights and weights.is_dir() and not any(weights.glob("*.pdiparams")):
        return {name: create_model(name, weights=find_weights(weights, name)) for name in names}
    if options.weights and weights.exists() and not options.models:
        names = [resolve_model(None, weights, usage="NAME").name]
    return {name: create_model(name, weights=options.weights) for name in names}


def _pairs(networks: dict[str, Network]) -> list[tuple[str, str]]:
    """Detectors with pose networks, in the order given.

    Raises:
        ValueError: There is no pair.
    """
    detectors = [name for name, network in networks.items() if config_of(network).gives_boxes]
    poses = [name for name, network in networks.items() if config_of(network).takes_boxes]
    pairs = list(zip(detectors, poses, strict=False))
    if not pairs:
        raise ValueError("--end-to-end needs a detector and a pose network among the models")
    return pairs


def _usable(wanted: Mapping[str, Backend], options: argparse.Namespace) -> dict[str, Backend]:
    """Those that can be measured; says why others cannot."""
    usable = {}
    for label, backend in wanted.items():
        if backend.missing:
            _say(f"{label}: {' and '.join(backend.missing)} not installed, left out")
        elif backend.precision == "int8" and not options.images:
            _say(f"{label}: needs --images to calibrate on, left out")
        else:
            usable[label] = backend
    return usable


def _measure_networks(
    name: str, network: Network, backends: dict[str, Backend], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Rows of one network, the fastest first."""
    photos = photos_for_network(options.images, config_of(network)) if options.images else None
    rows = []
    size = config_of(network).input_size
    with tempfile.TemporaryDirectory() as folder:
        files = _make_files(name, network, backends, Path(folder), photos)
        for threads in options.threads:
            prepared = {
                label: partial(prepare_network, backends[label], name, size, paths[0], threads)
                for label, paths in files.items()
            }
            with _processes(prepared) as processes:
                seconds = time_in_turns(processes, options.rounds, f"{name}, {threads} threads")
                memory = {label: process.peak_memory() for label, process in processes.items()}
            timed = {label: times[:, 0] for label, times in seconds.items()}
            facts = {
                label: {
                    "bytes": sum(path.stat().st_size for path in files[label]),
                    "peak_memory": memory[label],
                    "version": backends[label].version,
                }
                for label in timed
            }
            rows += _network_rows(name, threads, timed, facts)
    return rows


def _make_files(
    name: str, network: Network, backends: dict[str, Backend], folder: Path, photos: np.ndarray | None
) -> dict[str, tuple[Path, ...]]:
    """What every backend reads; says which have nothing."""
    files = {}
    for label, backend in backends.items():
        _say(f"preparing {name} for {label} ...")
        try:
            files[label] = backend.make(name, network, folder, photos)
        except (ValueError, TimingError) as error:
            _say(f"{label}: {error}; left out")
    return files


def _network_rows(
    name: str, threads: int, seconds: dict[str, np.ndarray], facts: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    medians = {label: float(np.median(times)) * 1e3 for label, times in seconds.items()}
    return [
        {
            "model": name,
            "backend": label,
            "threads": threads,
            "median_ms": round(medians[label], 3),
            "p90_ms": round(float(np.percentile(seconds[label], 90)) * 1e3, 3),
            "ratio": round(medians[label] / medians[BASELINE], 3) if BASELINE in medians else None,
            **facts[label],
        }
        for label in sorted(medians, key=medians.__getitem__)
    ]


def _measure_people(
    detector: str, pose: str, networks: dict[str, Network], backends: dict[str, Backend], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Rows of one pair, from photo to poses, the fastest first; from files as `tinypose export` makes them by default."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, tuple[Path, Path]] = {}
        for label, backend in backends.items():
            _say(f"exporting {detector} and {pose} to {label}, images in and keypoints out ...")
            one, two = (
                _pipeline_file(backend, name, networks[name], Path(folder), options.images) for name in (detector, pose)
            )
            files[label] = one, two
        for threads in options.threads:
            prepared = {
                label: partial(prepare_pipeline, (detector, pose), some, threads, PEOPLE)
                for label, some in files.items()
            }
            with _processes(prepared) as processes:
                seconds = time_in_turns(processes, options.rounds, f"photo to poses, {threads} threads")
            rows += _people_rows(f"{detector} + {pose}", threads, seconds)
    return rows


def _pipeline_file(backend: Backend, name: str, network: Network, folder: Path, images: str | None) -> Path:
    photos = photos_for_network(images, config_of(network)) if images else None
    return backend.make(name, network, folder, photos, raw=False)[0]


def _people_rows(model: str, threads: int, seconds: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    medians = {label: np.median(times, axis=0) * 1e3 for label, times in seconds.items()}
    rows = []
    for label in sorted(medians, key=lambda label: float(medians[label][1])):
        detector, (whole, poses) = float(medians[label][0]), np.split(medians[label][1:], 2)
        for index, people in enumerate(PEOPLE):
            rows.append(
                {
                    "model": model,
                    "backend": label,
                    "threads": threads,
                    "people": people,
                    "median_ms": round(float(whole[index]), 3),
                    "networks_ms": round(detector + float(poses[index]), 3),
                    "pose_ms": round(float(poses[index]), 3),
                }
            )
    return rows


@contextmanager
def _processes(prepared: Mapping[str, Callable[[], Run]]) -> Iterator[dict[str, TimedProcess]]:
    """Those that became ready; says which did not, and why."""
    processes: dict[str, TimedProcess] = {}
    try:
        for label, prepare in prepared.items():
            process = TimedProcess(prepare)
            try:
                process.wait_until_ready()
                processes[label] = process
            except TimingError as error:
                process.close()
                _say(f"{label}: {error}; left out")
        yield processes
    finally:
        for process in processes.values():
            process.close()


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _table(rows: list[dict[str, Any]]) -> str:
    header = ("backend", "threads", "median ms", "p90 ms", "ratio", "file MB", "memory MB", "version")
    cells = [
        (
            row["backend"],
            str(row["threads"]),
            f"{row['median_ms']:.2f}",
            f"{row['p90_ms']:.2f}",
            "-" if row["ratio"] is None else f"{row['ratio']:.2f}",
            f"{row['bytes'] / 1e6:.2f}",
            "-" if row["peak_memory"] is None else f"{row['peak_memory'] / 1e6:.0f}",
            row["version"],
        )
        for row in rows
    ]
    return format_table(header, cells, right=range(1, 7))


def _people_table(rows: list[dict[str, Any]]) -> str:
    header = ("backend", "threads", "people", "median ms", "networks ms", "whole / networks", "pose network ms")
    cells = [
        (
            row["backend"],
            str(row["threads"]),
            str(row["people"]),
            f"{row['median_ms']:.2f}",
            f"{row['networks_ms']:.2f}",
            f"{row['median_ms'] / row['networks_ms']:.2f}",
            f"{row['pose_ms']:.2f}",
        )
        for row in rows
    ]
    return format_table(header, cells, right=range(1, 7))
