"""Images of a dataset: fast, and as their annotations mean them."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from tinypose_torch.data.errors import DatasetError


class FromFile(Protocol):
    """Something of a dataset that is in an image file."""

    @property
    def file_name(self) -> str:
        """Of the image, relative to the images' folder."""


_log = logging.getLogger(__name__)


def read_image(path: Path) -> np.ndarray | None:
    """An image as ``(H, W, 3)`` uint8 RGB, its EXIF rotation ignored as annotations do; ``None`` if it cannot be decoded."""
    try:
        with open(path, "rb", buffering=0) as file:  # and imdecode: faster than imread and numpy's fromfile
            encoded = np.frombuffer(file.read(), np.uint8)
    except OSError:
        return None
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION) if len(encoded) else None


def read_or_fail(item: FromFile, folder: Path) -> np.ndarray:
    """The image of an item, RGB.

    Raises:
        DatasetError: It is missing or cannot be decoded.
    """
    path = folder / item.file_name
    image = read_image(path)
    if image is None:
        raise DatasetError(f"{path}: {'cannot be decoded' if path.is_file() else 'no such image'}")
    return image


def read_or_next(items: Sequence[FromFile], folder: Path, index: int) -> tuple[int, np.ndarray]:
    """The image of an item, RGB; where it cannot be decoded, which the log says, that of the next item that can.

    Returns:
        The index of the item whose image it is, and the image.

    Raises:
        DatasetError: None of the images can be decoded.
    """
    for attempt in range(len(items)):
        place = (index + attempt) % len(items)
        path = folder / items[place].file_name
        image = read_image(path)
        if image is not None:
            return place, image
        _log.warning("cannot decode %s; another image takes its place", path)
    raise DatasetError(f"no image in {folder} can be decoded")


def check_images(records: Sequence[FromFile], folder: str | os.PathLike[str]) -> None:
    """Whether the image of every record exists.

    Raises:
        DatasetError: Some do not; the message names the first.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DatasetError(f"no image folder {str(folder)!r}")
    missing = sorted({name for name in {record.file_name for record in records} if not (folder / name).is_file()})
    if missing:
        raise DatasetError(f"{len(missing)} images are not in {folder}, the first is {missing[0]!r}")
