"""What every process or actor of a batch does: images and videos in, the rows of a part out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tinypose_torch.batch.parts import Part, PartWriter, Row
from tinypose_torch.batch.sources import Item
from tinypose_torch.estimators.base import Estimator
from tinypose_torch.estimators.results import Poses
from tinypose_torch.tracking.pose_tracker import PoseTracker
from tinypose_torch.utils.images import image_errors
from tinypose_torch.utils.messages import one_line
from tinypose_torch.video import VideoReader

PARTS_PER_WORKER = 4  # at least, so that all workers end at about the same time
MIN_PART, MAX_PART = 200, 5000  # images per part of a large batch: what a killed process loses at most
_MAX_PARTS = 5000  # of a data set, as long as the parts are not too large
Task = tuple[int, list[Item]]  # a part's number, and its images or its video


@dataclass(frozen=True)
class Work:
    """How every worker makes rows.

    Attributes:
        build: Makes the estimator for a device, or for the device that the options name; runs once per worker.
        weights: SHA-256 of the weights, which every row names.
        batch_size: Images that are decoded ahead, and that the estimator gets at once.
        readers: Threads that decode images.
        track: Whether the people of videos get ids, and smoothed keypoints.
    """

    build: Callable[[str | None], Estimator]
    weights: str
    batch_size: int = 8
    readers: int = 1
    track: bool = False

    def start(self, device: str | None = None) -> Worker:
        """A worker in this process."""
        return Worker(self, self.build(device))


def split(items: Sequence[Item], workers: int, first_number: int = 0) -> Iterator[Task]:
    """The items of every part: a video, or so many images.

    Args:
        first_number: Number of the first part.
    """
    images = [item for item in items if not item.is_video]
    size = part_size(len(images), workers)
    chunks = [images[start : start + size] for start in range(0, len(images), size)]
    yield from enumerate([*([item] for item in items if item.is_video), *chunks], first_number)


def part_size(num_images: int, workers: int) -> int:
    """Images per part."""
    size = max(MIN_PART, min(MAX_PART, num_images // _MAX_PARTS))
    return max(1, min(size, -(-num_images // (workers * PARTS_PER_WORKER))))


class Worker:
    """Makes the rows of parts, one part after the other."""

    def __init__(self, work: Work, estimator: Any) -> None:
        self._work, self._estimator = work, estimator

    def __call__(self, task: Task) -> Part:
        """The rows of some images, or of one video."""
        number, items = task
        writer, errors, unread = PartWriter(self._work.weights), 0, list[tuple[str, str]]()
        for row in self._video_rows(items[0], unread) if items[0].is_video else self._image_rows(items, unread):
            writer.add(row)
            errors += row.error is not None
        return Part(number, len(items), writer.finish(), errors, unread)

    def _image_rows(self, items: list[Item], unread: list[tuple[str, str]]) -> Iterator[Row]:
        with ThreadPoolExecutor(self._work.readers) as readers:
            for chunk, images in self._loaded(items, readers):
                unread += [
                    (item.key, _reason(item, error))
                    for item, error in zip(chunk, images, strict=True)
                    if isinstance(error, OSError)
                ]
                yield from self._rows(chunk, images)

    def _loaded(self, items: list[Item], readers: ThreadPoolExecutor) -> Iterator[tuple[list[Item], list[Any]]]:
        """Batches with their images, or the errors; the next batch is decoded while one is in use."""
        size = self._work.batch_size
        chunks = [items[start : start + size] for start in range(0, len(items), size)]
        ahead = [readers.submit(_load, item) for item in chunks[0]]
        for chunk, following in zip(chunks, [*chunks[1:], []], strict=True):
            images = [future.result() for future in ahead]
            ahead = [readers.submit(_load, item) for item in following]
            yield chunk, images

    def _rows(self, items: list[Item], images: list[Any]) -> Iterator[Row]:
        """Rows of a batch in its order."""
        results = iter(estimate_each(self._estimator, [image for image in images if not isinstance(image, Exception)]))
        for item, image in zip(items, images, strict=True):
            if isinstance(image, OSError):
                continue
            if isinstance(image, Exception):
                yield self._row(item, image)
            else:
                yield self._row(item, next(results), image_size=image.shape[:2])

    def _video_rows(self, item: Item, unread: list[tuple[str, str]]) -> Iterator[Row]:
        """Rows of a video's frames; a last one with the error if it cannot be read to its end."""
        if not os.path.isfile(item.file):
            unread.append((item.key, "no such file"))
            return
        try:
            with VideoReader(item.file) as video:
                tracker = PoseTracker(self._estimator) if self._work.track else None
                index = 0
                for index, image in enumerate(video):
                    estimate = self._estimator if tracker is None else partial(tracker, time=video.time)
                    with image_errors():
                        poses = _checked(estimate(image))
                    yield Row(item.key, poses, index, video.time, image.shape[:2])
                if video.ended_early:
                    raise ValueError(f"ends early, after {index + 1} of {video.declared_frames} frames")
        except (ValueError, OSError) as error:
            yield self._row(item, error)

    def _row(self, item: Item, result: Poses | Exception, **facts: Any) -> Row:
        if isinstance(result, Exception):
            return Row(
                item.key, Poses.empty(self._estimator.pose_config.skeleton), error=_reason(item, result), **facts
            )
        return Row(item.key, result, **facts)


def estimate_each(estimator: Any, images: list[np.ndarray]) -> list[Poses | Exception]:
    """Poses of every image, or why there are none: if a batch fails, its images are estimated one by one."""
    try:
        with image_errors():
            return list(map(_checked, estimator(images)))
    except (ValueError, OSError) as error:
        if len(images) == 1:
            return [error]
        return [result for image in images for result in estimate_each(estimator, [image])]


def _load(item: Item) -> np.ndarray | Exception:
    try:
        with image_errors():
            return item.load()
    except (ValueError, OSError) as error:
        return error


def _reason(item: Item, error: Exception) -> str:
    return one_line(error).removeprefix("image 0: ").removeprefix(f"{item.key}: ").removeprefix(f"{item.file}: ")


def _checked(poses: Poses) -> Poses:
    if not all(np.isfinite(values).all() for values in (poses.boxes, poses.keypoints, poses.keypoint_scores)):
        raise ValueError("the networks gave NaN or infinite numbers; check the weights")
    return poses
