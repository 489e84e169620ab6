"""Reading of dataset images, without EXIF rotation, as annotations assume."""

from __future__ import annotations

import logging
import os
import reprlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import simplejpeg

from tinypose_torch.data.errors import DatasetError
from tinypose_torch.utils.images import MAX_PIXELS


class FromFile(Protocol):
    """An item of a dataset with an image file."""

    @property
    def file_name(self) -> str:
        """Of the image, relative to the images' folder."""


Array = np.ndarray
_log = logging.getLogger(__name__)


class ImageReader:
    """Reads images successively into the same memory, which stays in the CPU cache.

    What it gives is valid until it reads the next.
    """

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)

    def __call__(self, path: str | os.PathLike[str]) -> Array | None:
        """See `read_image`."""
        try:
            with open(path, "rb", buffering=0) as file:
                encoded = file.read()
        except (OSError, MemoryError):
            return None
        if simplejpeg.is_jpeg(encoded):
            try:
                height, width, _, _ = simplejpeg.decode_jpeg_header(encoded)
                if height * width <= MAX_PIXELS:  # OpenCV's pixels, sooner
                    return simplejpeg.decode_jpeg(encoded, "RGB", buffer=self._room_for(3 * height * width))
            except (ValueError, MemoryError):
                pass  # damaged, too large, or CMYK, which OpenCV reads
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        try:
            return cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
        except (cv2.error, MemoryError):  # empty, or larger than OpenCV or the memory takes
            return None

    def _room_for(self, size: int) -> Array:
        """Memory at an odd address: libjpeg-turbo writes aligned rows past the caches, which doubles the time of a warp."""
        if len(self._memory) < size:
            memory = np.empty(size + 2, np.uint8)
            self._memory = memory[1 - memory.ctypes.data % 2 :][:size]
        return self._memory


def read_image(path: str | os.PathLike[str]) -> Array | None:
    """An image as ``(H, W, 3)`` uint8 RGB, its EXIF rotation ignored as annotations do; ``None`` if it cannot be decoded."""
    return ImageReader()(path)


def read_or_fail(item: FromFile, folder: Path) -> Array:
    """Read the RGB image of an item.

    Raises:
        DatasetError: It is missing or cannot be decoded.
    """
    path = folder / item.file_name
    image = read_image(path)
    if image is None:
        raise DatasetError(f"{path}: {'cannot be decoded' if path.is_file() else 'no such image'}")
    return image


def read_or_next(
    items: Sequence[FromFile],
    folder: str | os.PathLike[str],
    index: int,
    read: Callable[[str], Array | None] = read_image,
) -> tuple[int, Array]:
    """Read the RGB image of an item. If it cannot be decoded, log it and read the next item's image.

    Args:
        read: `read_image`, or an `ImageReader` of the caller's.

    Returns:
        The index of the item whose image it is, and the image.

    Raises:
        DatasetError: None of the images can be decoded.
    """
    for attempt in range(len(items)):
        place = (index + attempt) % len(items)
        path = os.path.join(folder, items[place].file_name)  # 20 times as fast as pathlib
        image = read(path)
        if image is not None:
            return place, image
        _log.warning("cannot decode %s; another image takes its place", path)
    raise DatasetError(f"no image in {folder} can be decoded")


def check_images(records: Sequence[FromFile], folder: str | os.PathLike[str]) -> None:
    """Check that the image of every record exists.

    Raises:
        DatasetError: Some do not; the message names the first.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DatasetError(f"no image folder {str(folder)!r}")
    missing = sorted(name for name in {record.file_name for record in records} if not _is_file(folder / name))
    if missing:
        raise DatasetError(f"{len(missing)} images are not in {folder}, the first is {reprlib.repr(missing[0])}")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that may not be read
        return False
