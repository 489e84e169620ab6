"""The images of a COCO file that an evaluation uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinypose_torch.data.coco import CocoFile
from tinypose_torch.data.images import read_or_fail

Array = np.ndarray


@dataclass(frozen=True)
class ImageFile:
    """An image of a dataset.

    Attributes:
        file_name: Relative to the images' folder.
    """

    image_id: int
    file_name: str


def select_images(coco: CocoFile, min_people: int = 0, max_people: int | None = None) -> list[ImageFile]:
    """The images of a COCO file by their number of annotated people, in the file's order.

    An ``iscrowd`` annotation marks an unknown number of people, so its image is left out where ``max_people`` is given.
    """
    people = Counter(row["image_id"] for row in coco.annotations)
    iscrowd = {row["image_id"] for row in coco.annotations if row.get("iscrowd")}

    def selected(identity: int) -> bool:
        if max_people is not None and (identity in iscrowd or people[identity] > max_people):
            return False
        return people[identity] >= min_people

    return [ImageFile(identity, image["file_name"]) for identity, image in coco.images.items() if selected(identity)]


def read_images(
    images: Sequence[ImageFile], folder: Path, progress: Callable[[int], object] | None = None
) -> Iterator[tuple[int, Array]]:
    """Ids and pixels, ``(H, W, 3)`` uint8 RGB, of images; their EXIF rotation is ignored, as annotations do.

    Args:
        progress: Called with 1 after every image.

    Raises:
        DatasetError: An image is missing or cannot be decoded.
    """
    for image in images:
        yield image.image_id, read_or_fail(image, folder)
        if progress is not None:
            progress(1)
