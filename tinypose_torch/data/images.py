"""Reading of dataset images, turned as the annotations assume."""

from __future__ import annotations

import logging
import os
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from tinypose_torch.data.errors import DatasetError


class FromFile(Protocol):
    """An item of a dataset with an image file."""

    @property
    def file_name(self) -> str:
        """Of the image, relative to the images' folder."""

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(height, width) that the annotations give; ``None`` if they give none."""


Array = np.ndarray
_log = logging.getLogger(__name__)


def read_image(path: str | os.PathLike[str], image_size: tuple[int, int] | None = None) -> Array | None:
    """An image as ``(H, W, 3)`` uint8 RGB; ``None`` if it cannot be decoded.

    The EXIF rotation is ignored, as COCO's annotations and PaddleDetection do. A quarter turn is applied if only the turned
    image has the annotated size: tools that show photos of phones upright annotate them so.

    Args:
        image_size: (height, width) that the annotations give.
    """
    try:
        with open(path, "rb") as file:
            encoded = np.frombuffer(file.read(), np.uint8)
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is not None and image.shape[:2] != image_size and image.shape[1::-1] == image_size:
            turned = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
            if turned is not None and turned.shape[:2] == image_size:
                return turned
        return image
    except (OSError, MemoryError, cv2.error):  # cv2.error: empty, or larger than OpenCV or the memory takes
        return None


def read_or_fail(item: FromFile, folder: Path) -> Array:
    """Read the RGB image of an item.

    Raises:
        DatasetError: It is missing or cannot be decoded.
    """
    path = folder / item.file_name
    image = read_image(path, item.image_size)
    if image is None:
        raise DatasetError(f"{path}: {'cannot be decoded' if path.is_file() else 'no such image'}")
    return image


def read_or_next(items: Sequence[FromFile], folder: str | os.PathLike[str], index: int) -> tuple[int, Array]:
    """Read the RGB image of an item. If it cannot be decoded, log it and read the next item's image.

    Returns:
        The index of the item whose image it is, and the image.

    Raises:
        DatasetError: None of the images can be decoded.
    """
    for attempt in range(len(items)):
        place = (index + attempt) % len(items)
        path = os.path.join(folder, items[place].file_name)  # 20 times as fast as pathlib
        image = read_image(path, items[place].image_size)
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
