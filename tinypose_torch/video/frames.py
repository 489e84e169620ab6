"""Iteration over images from files, folders, patterns, videos and cameras."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, TypeVar

import numpy as np

from tinypose_torch.utils.images import ImageError, find_inputs, load_image
from tinypose_torch.video import VideoReader, is_camera, is_video

Result = TypeVar("Result")


def why_nothing(item: str) -> str:
    """Reason why an input matches no file."""
    if os.path.isdir(item):
        if not os.access(item, os.R_OK | os.X_OK):
            return "this folder cannot be read"
        return "no images in this folder; videos are named one by one, and overlays of earlier runs are left out"
    return "no file fits this pattern" if glob.has_magic(item) else "no such file"


@dataclass
class Frame:
    """One image of a stream.

    Attributes:
        source: The file or camera that it came from; ``image N`` for the N-th of given frames, from 0.
        image: ``(H, W, 3)`` uint8 RGB.
        index: Number of the frame in its video, from 0; ``None`` for a photo.
        time: Presentation time, seconds from the start of the video; see `VideoReader`. ``None`` for a photo.
    """

    source: str
    image: np.ndarray
    index: int | None = None
    time: float | None = None


def read_frames(
    sources: str | os.PathLike[str] | Iterable[Any], on_error: Callable[[str, Exception], None] | None = None
) -> Iterator[Frame]:
    """Yield every photo and every video frame in order, one at a time.

    Args:
        sources: Files, folders, glob patterns, ``webcam`` or ``webcam:NUMBER``; or frames: arrays ``(H, W, 3)`` uint8 RGB
            or PIL images, from any iterable such as a generator, which are taken one at a time.
        on_error: Called with a source that cannot be read and the reason, after which the next one follows. Without
            it the reason is raised.

    Raises:
        ImageError, VideoError, FileNotFoundError: See `load_image` and `VideoReader`.
    """
    items = iter([sources] if isinstance(sources, (str, os.PathLike)) else sources)
    first = list(islice(items, 1))
    if first and not isinstance(first[0], (str, os.PathLike)):
        yield from _given_frames(chain(first, items), on_error)
        return
    found, missing = find_sources(map(os.fspath, chain(first, items)))
    for item in missing:
        _fail(item, FileNotFoundError(f"{item}: {why_nothing(item)}"), on_error)
    for source in found:
        try:
            yield from _frames_of(source)
        except (ValueError, OSError) as error:
            _fail(source, error, on_error)


def map_frames(
    sources: str | os.PathLike[str] | Iterable[Any],
    function: Callable[[np.ndarray], Result],
    on_error: Callable[[str, Exception], None] | None = None,
) -> Iterator[tuple[Frame, Result]]:
    """Yield every photo and frame of `read_frames` with the result of a function of its image.

    Args:
        function: Takes the image. What it raises goes to ``on_error`` as well, for this image or frame alone.
    """
    for frame in read_frames(sources, on_error):
        try:
            result = function(frame.image)
        except (ValueError, OSError) as error:
            place = "" if frame.index is None else f"frame {frame.index}: "
            _fail(frame.source, ImageError(f"{frame.source}: {place}{error}"), on_error)
            continue
        yield frame, result


def find_sources(items: Iterable[str]) -> tuple[list[str], list[str]]:
    """Expand folders and patterns; cameras stay as they are, behind the files.

    Returns:
        Files and cameras, and the items that match nothing.
    """
    items = list(items)
    files, missing = find_inputs(item for item in items if not is_camera(item))
    return files + list(dict.fromkeys(item for item in items if is_camera(item))), missing


def _given_frames(images: Iterable[Any], on_error: Callable[[str, Exception], None] | None) -> Iterator[Frame]:
    for index, image in enumerate(images):
        source = f"image {index}"
        try:
            frame = Frame(source, load_image(image))
        except (ValueError, OSError) as error:
            _fail(source, ImageError(f"{source}: {error}"), on_error)
            continue
        yield frame


def _frames_of(source: str) -> Iterator[Frame]:
    if not is_video(source):
        yield Frame(source, load_image(source))
        return
    with VideoReader(source) as video:
        for index, image in enumerate(video):
            yield Frame(source, image, index, video.time)


def _fail(source: str, error: Exception, on_error: Callable[[str, Exception], None] | None) -> None:
    if on_error is None:
        raise error
    on_error(source, error)
