"""The images of a COCO file that an evaluation uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from tinypose_torch.data.errors import DatasetError
from tinypose_torch.data.formats.coco import CocoFile
from tinypose_torch.data.images import FromFile, read_or_fail
from tinypose_torch.utils.images import ImageError, image_errors
from tinypose_torch.utils.processes import ProcessPool

Array = np.ndarray
OnError = Callable[[str, Exception], object]
Failure = tuple[str, Exception]
Result = TypeVar("Result")


class DatasetImage(FromFile, Protocol):
    """An image of a dataset, with or without its annotations."""

    @property
    def image_id(self) -> int:
        """Of the annotation file."""


@dataclass(frozen=True)
class ImageFile:
    """An image of a dataset.

    Attributes:
        file_name: Relative to the images' folder.
        image_size: (height, width) that the annotations give.
    """

    image_id: int
    file_name: str
    image_size: tuple[int, int]


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

    return [
        ImageFile(identity, image["file_name"], (image["height"], image["width"]))
        for identity, image in coco.images.items()
        if selected(identity)
    ]


def predict_images(
    images: Sequence[DatasetImage],
    folder: Path,
    function: Callable[[int, Array], Iterable[Result]],
    progress: Callable[[int], object] | None = None,
    on_error: OnError | None = None,
    workers: int = 1,
) -> Iterator[Result]:
    """All results of a function for images, one image at a time.

    Args:
        function: Takes an image's id and its pixels, ``(H, W, 3)`` uint8 RGB, turned as the annotations
            assume; see `read_image`.
        progress: Called with 1 after every image.
        on_error: See `report_failures`.
        workers: Processes that decode and predict; the function is pickled if there are several.

    Raises:
        DatasetError, ImageError: See `report_failures`.
        ProcessKilledError: A process was killed.
    """
    with ProcessPool(partial(_ImagePredictor, function, folder), min(workers, max(len(images), 1))) as pool:
        for results, failures in pool.run(images, ordered=True):
            report_failures(failures, on_error)
            yield from results
            if progress is not None:
                progress(1)


class _ImagePredictor:
    """A function's results for an image, and the failures."""

    def __init__(self, function: Callable[[int, Array], Iterable[Any]], folder: Path, device: str | None) -> None:
        self.function, self.folder = function, folder

    def __call__(self, image: DatasetImage) -> tuple[list[Any], list[Failure]]:
        failures: list[Failure] = []
        results: list[Any] = []
        with image_failures([image.file_name], failures):
            results += self.function(image.image_id, read_or_fail(image, self.folder))
        return results, failures


def report_failures(failures: Iterable[Failure], on_error: OnError | None) -> None:
    """Pass failures on.

    Args:
        on_error: Called with the name of every image and the error. Without it the first error is raised.

    Raises:
        DatasetError: An image is missing or cannot be decoded.
        ImageError: The memory is too small for an image, or it cannot be processed.
    """
    for name, error in failures:
        if on_error is None:
            raise error
        on_error(name, error)


@contextmanager
def image_failures(names: Iterable[str], failures: list[Failure]) -> Iterator[None]:
    """Keeps the error of images that cannot be read or processed.

    Args:
        names: File names of the images that the block uses.
        failures: Each name and the error are added.
    """
    try:
        with image_errors():
            yield
    except (DatasetError, ImageError) as error:
        failures += [(name, error) for name in names]
