"""`tinypose batch`: poses of very many images into a Parquet data set."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tinypose_torch.batch.dataset import BatchResults, create_or_continue, locked
from tinypose_torch.batch.local import LocalWorkers
from tinypose_torch.batch.parts import Part
from tinypose_torch.batch.ray_cluster import RayCluster, ShippedFiles
from tinypose_torch.batch.sources import find_items
from tinypose_torch.batch.worker import Work, split
from tinypose_torch.checkpoints.download import fetch_pretrained
from tinypose_torch.checkpoints.files import hash_weights
from tinypose_torch.checkpoints.identity import resolve_model
from tinypose_torch.cli.networks import Networks, choose_networks
from tinypose_torch.models.registry import get_config
from tinypose_torch.utils import defaults
from tinypose_torch.utils.messages import escaped
from tinypose_torch.video.frames import why_nothing

_LOG_SECONDS = 60  # between lines of progress in a log file
_SHOWN = 5  # items that cannot be read


def run(options: argparse.Namespace) -> int:
    """Process what is missing in the data set."""
    _check(options)
    items, missing = find_items(options.sources, options.column)
    for source in missing:
        print(escaped(f"failed: {source}: {why_nothing(source)}"), file=sys.stderr)
    if not items:
        return 1
    options.pose = resolve_model(options.pose, options.pose_weights, ("pose", "bottom-up pose"), "--pose NAME").name
    identity = _identity(options)
    with locked(Path(options.output)), _workers(options) as workers:
        networks = choose_networks(options, [item.file for item in items])
        # Wrong options and weights are found here, before workers start. The machine of the command needs no GPU.
        skeleton = networks.build("cpu" if options.ray else None).pose_config.skeleton
        results = create_or_continue(Path(options.output), identity, skeleton)
        known = results.keys()
        left = [item for item in items if item.key not in known]
        tasks = split(left, workers.workers, results.next_part())
        parts = workers.run(tasks, _work(options, networks, identity, workers.threads)) if left else iter(())
        errors, unread = _add(parts, results, len(items) - len(left), len(items))
    failed = f", {errors} with errors" if errors else ""
    print(
        f"{len(left) - len(unread)} images and videos processed{failed}, {len(items) - len(left)} done before "
        f"-> {options.output}"
    )
    _print_unread(unread)
    return 1 if missing or unread else 0


def _check(options: argparse.Namespace) -> None:
    for name in ("workers", "batch_size"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} {value}; at least 1 is needed")
    if Path(options.output).exists() and not Path(options.output).is_dir():
        raise ValueError(f"--output {options.output} is a file; name a folder")


def _workers(options: argparse.Namespace) -> LocalWorkers | RayCluster:
    """Where the workers run; sets ``options.threads`` unless it is given."""
    workers: LocalWorkers | RayCluster
    if options.ray:
        workers = RayCluster(options.ray, options.workers, options.threads or 1, options.device)
    else:
        workers = LocalWorkers(options.workers, options.device)
    if options.threads is None and options.device == "cpu":
        options.threads = workers.threads
    return workers


def _work(options: argparse.Namespace, networks: Networks, identity: dict[str, Any], readers: int) -> Work:
    weights = "+".join(str(digest) for digest in (identity["detector_sha256"], identity["pose_sha256"]) if digest)
    build = ShippedFiles.of(networks, "detector_weights", "pose_weights") if options.ray else networks.build
    return Work(build, weights, options.batch_size, readers, options.track)


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


def _add(parts: Iterator[Part], results: BatchResults, done: int, total: int) -> tuple[int, list[tuple[str, str]]]:
    """Add finished parts to the data set, with a progress bar; returns the errors' number, and what cannot be read."""
    errors, unread = 0, list[tuple[str, str]]()
    with _progress(done, total) as bar:
        for part in parts:
            results.add(part)
            errors += part.errors
            unread += part.unread
            bar.set_postfix(errors=errors, refresh=False)
            bar.update(part.num_items)
    return errors, unread


@contextmanager
def _progress(done: int, total: int) -> Iterator[Any]:
    """A progress bar; in a log file a line per minute. If the run fails, a line with what is left."""
    interval = 0.1 if sys.stderr.isatty() else _LOG_SECONDS
    with tqdm(total=total, initial=done, unit="image", mininterval=interval, maxinterval=interval) as bar:
        try:
            yield bar
        except BaseException:
            bar.close()
            print(
                f"stopped: {total - bar.n} of {total} images and videos are left; the same command continues",
                file=sys.stderr,
            )
            raise


def _print_unread(unread: Sequence[tuple[str, str]]) -> None:
    for key, reason in unread[:_SHOWN]:
        print(escaped(f"failed: {key}: {reason}"), file=sys.stderr)
    if unread:
        more = f"{len(unread)} images and videos" if len(unread) > 1 else "1 image or video"
        print(f"{more} could not be read and have no rows; the same command tries again", file=sys.stderr)
