"""Process the items of a batch in several processes, each of which writes parts of the data set."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinypose_torch.batch.dataset import BatchError, Row, writing_part
from tinypose_torch.batch.sources import Item
from tinypose_torch.estimators.results import Poses
from tinypose_torch.tracking.pose_tracker import PoseTracker
from tinypose_torch.utils.images import image_errors
from tinypose_torch.utils.messages import one_line
from tinypose_torch.video import VideoReader

MAX_ROWS = 200  # images per part: what a killed process loses at most
_PARTS_PER_WORKER = 4  # at least, so that all end at about the same time


@dataclass(frozen=True)
class Work:
    """What every process does with its items.

    Attributes:
        build: Makes the estimator; runs once per process.
        folder: Of the data set.
        weights: SHA-256 of the weights, which every row names.
        batch_size: Images that the estimator gets at once.
        readers: Threads that decode images ahead.
        track: Whether the people of videos get ids, and steady keypoints.
    """

    build: Callable[[], Any]
    folder: Path
    weights: str
    batch_size: int = 16
    readers: int = 1
    track: bool = False


def process(items: Sequence[Item], work: Work, workers: int, first_part: int = 0) -> Iterator[tuple[int, int]]:
    """Process all items.

    Args:
        workers: Processes; 1 works in this one.
        first_part: Number of the first part, so that parts are in the order of the items.

    Yields:
        Number of items and of errors of every part, as it is finished.

    Raises:
        BatchError: A process was killed. What is finished stays; the same command continues.
        OutputError: A part cannot be written.
    """
    parts = enumerate(_split(items, workers), first_part)
    if workers == 1:
        _prepare(work)
        yield from (_write_part(number, part) for number, part in parts)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start, (work,))
    try:
        for future in as_completed([pool.submit(_write_part, number, part) for number, part in parts]):
            yield future.result()
    except BrokenProcessPool:
        raise BatchError(
            "a process was killed, perhaps for lack of memory (see --workers); what is finished is kept: run the same "
            "command again to continue"
        ) from None
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _split(items: Sequence[Item], workers: int) -> Iterator[list[Item]]:
    """A part for every video, and for so many images."""
    for item in items:
        if item.is_video:
            yield [item]
    images = [item for item in items if not item.is_video]
    size = max(1, min(MAX_ROWS, -(-len(images) // (workers * _PARTS_PER_WORKER))))
    yield from (images[start : start + size] for start in range(0, len(images), size))


_estimator: Any = None
_work: Work


def _start(work: Work) -> None:
    """Begin a separate process, which ends with its parent: a process left behind could write rows a second time."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _prepare(work)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _prepare(work: Work) -> None:
    global _estimator, _work
    _estimator, _work = work.build(), work


def _write_part(number: int, items: list[Item]) -> tuple[int, int]:
    """Write the part of some images, or of one video; returns the number of items and of items with errors."""
    errors = 0
    with writing_part(_work.folder / f"part-{number:06}-{uuid.uuid4().hex[:8]}.parquet", _work.weights) as part:
        for row in _video_rows(items[0]) if items[0].is_video else _image_rows(items):
            part.add(row)
            errors += row.error is not None
    return len(items), errors


def _image_rows(items: list[Item]) -> Iterator[Row]:
    with ThreadPoolExecutor(_work.readers) as readers:
        for chunk, images in _loaded(items, readers):
            yield from _rows(chunk, images)


def _loaded(items: list[Item], readers: ThreadPoolExecutor) -> Iterator[tuple[list[Item], list[Any]]]:
    """Batches with their images, or the errors; the next batch is decoded while one is in use."""
    chunks = [items[start : start + _work.batch_size] for start in range(0, len(items), _work.batch_size)]
    ahead = [readers.submit(_load, item) for item in chunks[0]]
    for index, chunk in enumerate(chunks):
        coming = [readers.submit(_load, item) for item in chunks[index + 1]] if index + 1 < len(chunks) else []
        yield chunk, [future.result() for future in ahead]
        ahead = coming


def _load(item: Item) -> np.ndarray | Exception:
    try:
        with image_errors():
            return item.load()
    except (ValueError, OSError) as error:
        return error


def _rows(items: list[Item], images: list[Any]) -> Iterator[Row]:
    """Rows of a batch in its order."""
    good = [image for image in images if not isinstance(image, Exception)]
    results = iter(_estimate(good))
    for item, image in zip(items, images, strict=True):
        result = image if isinstance(image, Exception) else next(results)
        size = None if isinstance(image, Exception) else image.shape[:2]
        yield _row(item.key, result, image_size=size)


def _estimate(images: list[np.ndarray]) -> list[Poses | Exception]:
    """Poses of every image; if the batch fails, of one image after the other."""
    try:
        with image_errors():
            return list(map(_checked, _estimator(images)))
    except (ValueError, OSError) as error:
        if len(images) == 1:
            return [error]
        return [result for image in images for result in _estimate([image])]


def _video_rows(item: Item) -> Iterator[Row]:
    """Rows of a video's frames; a last one with the error if it cannot be read to its end."""
    try:
        with VideoReader(item.file) as video:
            tracker = PoseTracker(_estimator) if _work.track else None
            index = 0
            for index, image in enumerate(video):
                estimate = _estimator if tracker is None else partial(tracker, time=video.time)
                with image_errors():
                    poses = _checked(estimate(image))
                yield Row(item.key, poses, index, video.time, image.shape[:2])
            if video.ended_early:
                raise ValueError(f"ends early, after {index + 1} of {video.declared_frames} frames")
    except (ValueError, OSError) as error:
        yield _row(item.key, error)


def _row(key: str, result: Poses | Exception, **facts: Any) -> Row:
    if isinstance(result, Exception):
        reason = one_line(result).removeprefix("image 0: ").removeprefix(f"{key}: ")
        return Row(key, Poses.empty(_estimator.pose_config.skeleton), error=reason, **facts)
    return Row(key, result, **facts)


def _checked(poses: Poses) -> Poses:
    if not all(np.isfinite(values).all() for values in (poses.boxes, poses.keypoints, poses.keypoint_scores)):
        raise ValueError("the networks gave NaN or infinite numbers; check the weights")
    return poses
