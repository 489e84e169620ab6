"""`tinypose batch`: poses of very many images into a Parquet data set."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tinypose_torch.batch.dataset import create_or_continue, locked
from tinypose_torch.batch.sources import Item, find_items
from tinypose_torch.batch.work import Work, process
from tinypose_torch.checkpoints.download import fetch_pretrained
from tinypose_torch.checkpoints.files import hash_weights
from tinypose_torch.checkpoints.identity import resolve_model
from tinypose_torch.cli.networks import choose_networks
from tinypose_torch.geometry.skeletons import Skeleton
from tinypose_torch.models.registry import get_config
from tinypose_torch.utils import defaults
from tinypose_torch.utils.messages import escaped
from tinypose_torch.utils.threads import count_cores
from tinypose_torch.video.frames import why_nothing


def run(options: argparse.Namespace) -> int:
    """Process what is missing in the data set."""
    _check(options)
    items, missing = find_items(options.sources, options.column)
    for source in missing:
        print(escaped(f"failed: {source}: {why_nothing(source)}"), file=sys.stderr)
    if not items:
        return 1
    options.pose = resolve_model(options.pose, options.pose_weights, ("pose", "bottom-up pose"), "--pose NAME").name
    workers = min(options.workers or _default_workers(options.device), len(items))
    if options.threads is None and options.device == "cpu":
        options.threads = max(1, count_cores() // workers)
    identity = _identity(options)
    with locked(Path(options.output)):
        skeleton, work = _prepare(options, items, identity, workers)
        results = create_or_continue(Path(options.output), identity, skeleton)
        known, parts = results.keys(), results.next_part()
        left = [item for item in items if item.key not in known]
        errors = _process(left, work, workers, len(items) - len(left), parts)
    failed = f", {errors} with errors" if errors else ""
    print(f"{len(left)} images and videos processed{failed}, {len(items) - len(left)} done before -> {options.output}")
    return 1 if missing else 0


def _check(options: argparse.Namespace) -> None:
    for name in ("workers", "batch_size"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} {value}; at least 1 is needed")
    if Path(options.output).exists() and not Path(options.output).is_dir():
        raise ValueError(f"--output {options.output} is a file; name a folder")


def _default_workers(device: str) -> int:
    """A process per core, or one for a GPU."""
    return count_cores() if device == "cpu" else 1


def _prepare(
    options: argparse.Namespace, items: Sequence[Item], identity: dict[str, Any], workers: int
) -> tuple[Skeleton, Work]:
    """The skeleton, and the work of every process; wrong options and weights are found here, before processes start."""
    files = [item.file for item in items]
    networks = choose_networks(options, files)
    estimator = networks.build()
    build = networks.build if workers > 1 else lambda: estimator
    readers = max(1, count_cores() // workers)
    weights = "+".join(str(digest) for digest in (identity["detector_sha256"], identity["pose_sha256"]) if digest)
    return estimator.pose_config.skeleton, Work(
        build, Path(options.output), weights, options.batch_size, readers, options.track
    )


def _identity(options: argparse.Namespace) -> dict[str, Any]:
    """What decides the results."""
    detector = None
    if options.detector != defaults.NO_DETECTOR and get_config(options.pose).takes_boxes:
        detector = resolve_model(options.detector, options.detector_weights, ("detection",), "--detector NAME").name
    return {
        "detector": detector,
        "detector_sha256": _digest(detector, options.detector_weights) if detector else None,
        "pose": options.pose,
        "pose_sha256": _digest(options.pose, options.pose_weights),
        "detection_threshold": options.detection_threshold,
        "person_class": options.person_class,
        "crop": options.crop,
        "track": options.track,
    }


def _digest(name: str, weights: str | None) -> str:
    """SHA-256 of the weights of a model."""
    source = resolve_model(name, weights)
    return hash_weights(source.path or fetch_pretrained(get_config(name), source.release))


def _process(items: Sequence[Item], work: Work, workers: int, done: int, parts: int) -> int:
    """Process the items, with a progress bar; returns the number of errors."""
    errors = 0
    with tqdm(total=done + len(items), initial=done, unit="item", disable=None) as bar:
        for count, wrong in process(items, work, workers, parts):
            errors += wrong
            bar.set_postfix(errors=errors, refresh=False)
            bar.update(count)
    return errors
