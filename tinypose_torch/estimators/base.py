"""What all estimators have in common: one image, a list of images, or a stream of frames in; poses out."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from tinypose_torch.geometry.crops import Crops
from tinypose_torch.models.config import KeypointConfig
from tinypose_torch.runtime import Runner
from tinypose_torch.utils.images import ImageError, image_errors, load_image
from tinypose_torch.video.frames import Frame, map_frames

if TYPE_CHECKING:
    from tinypose_torch.estimators.detection import PersonDetector
    from tinypose_torch.estimators.results import Detections, Poses
    from tinypose_torch.runtime.app import AppRunner

Array = np.ndarray
OnError = Callable[[str, Exception], None]


class PoseMethod(ABC):
    """A way from RGB images ``(H, W, 3)`` uint8 to poses: top-down, bottom-up, or an app file.

    Attributes:
        runner: The pose network; ``None`` for an app file, which runs its networks itself.
        config: The pose network's config.
        detector: The person detector; ``None`` if there is none.
        app: The app file; ``None`` if there is none.
    """

    runner: Runner | None = None
    config: KeypointConfig
    detector: PersonDetector | None = None
    app: AppRunner | None = None

    @property
    def runners(self) -> tuple[Runner, ...]:
        """The networks that are run one by one; none with an app file."""
        detector = None if self.detector is None else self.detector.runner
        return tuple(runner for runner in (self.runner, detector) if runner is not None)

    @property
    @abstractmethod
    def track_threshold(self) -> float | None:
        """Score from which a person starts a track; ``None`` for the tracker's default."""

    @abstractmethod
    def estimate(self, images: Sequence[Array], boxes: Sequence[Any]) -> list[Poses]:
        """Poses in images.

        Args:
            boxes: Of every image the people's boxes ``(N, 4)``, or ``None`` if they are to be found.

        Raises:
            ValueError: Boxes that cannot be used.
        """

    @abstractmethod
    def estimate_keypoints(self, image: Array, boxes: Array, scores: Array | None = None) -> Poses:
        """Keypoints of the people in boxes ``(N, 4)``, whose scores are 1 unless given.

        Raises:
            ValueError: The method does not use boxes.
        """

    @abstractmethod
    def make_crops(self, image: Array, boxes: Array) -> Crops:
        """How boxes are cut out of an image.

        Raises:
            ValueError: The method does not use boxes.
        """


class Estimator(ABC):
    """Finds the poses in one image, in a list of images, or in a stream of frames.

    Attributes:
        batch_size: Maximum number of images, and of people, that a network gets at once.
    """

    batch_size: int

    @abstractmethod
    def _estimate(self, images: Sequence[Array], boxes: Sequence[Any]) -> list[Poses]:
        """Poses in at most ``batch_size`` RGB images; see `PoseMethod.estimate`."""

    @property
    @abstractmethod
    def backends(self) -> frozenset[str]:
        """Names of the backends that run the networks."""

    @property
    def own_threads(self) -> bool:
        """Whether the networks use only their own threads, so that two processes can each run an estimator."""
        return False

    @property
    def detector(self) -> PersonDetector | None:
        """The person detector; ``None`` if the estimator needs or has none."""
        return None

    @property
    def track_threshold(self) -> float | None:
        """Score from which a person starts a track; ``None`` for the tracker's default."""
        return None

    @image_errors()
    def detect(self, image: Any) -> Detections:
        """All detections in an image, of every class, before the person threshold.

        Raises:
            ValueError: The estimator has no detector.
        """
        return self._needed_detector().detect([load_image(image)])[0]

    @image_errors()
    def detect_people(self, image: Array, threshold: float | None = None) -> Detections:
        """People in an RGB image ``(H, W, 3)`` uint8, scored above a threshold: the estimator's unless given.

        Raises:
            ValueError: The estimator has no detector.
        """
        return self._needed_detector().detect_people([image], threshold)[0]

    def estimate_keypoints(self, image: Array, boxes: Array, scores: Array | None = None) -> Poses:
        """Keypoints of the people in the boxes ``(N, 4)`` of an RGB image, whose scores are 1 unless given.

        Raises:
            ValueError: The estimator does not use boxes.
        """
        raise ValueError(f"this {type(self).__name__} does not use boxes")

    def _needed_detector(self) -> PersonDetector:
        if self.detector is None:
            raise ValueError(f"this {type(self).__name__} has no detector; build it with one")
        return self.detector

    @overload
    def __call__(self, image: list[Any] | tuple[Any, ...], boxes: Sequence[Any] | None = None) -> list[Poses]: ...

    @overload
    def __call__(self, image: Any, boxes: Any = None) -> Poses: ...

    def __call__(self, image: Any, boxes: Any = None) -> Poses | list[Poses]:
        """Find the poses in one image; a list or tuple of images is passed to `batch`.

        Args:
            image: A path, an array ``(H, W, 3)`` uint8 RGB, or a PIL image.
            boxes: ``(N, 4)`` x1, y1, x2, y2 in pixels, to skip detection. Without boxes and without a detector the whole
                image is one person's box, with a score of 1; bottom-up networks use no boxes.

        Raises:
            ImageError, FileNotFoundError: See `load_image`.
            ValueError: Boxes of another shape, empty or outside the image, or boxes for a bottom-up network.
        """
        if isinstance(image, (list, tuple)):
            return self.batch(image, boxes)
        with image_errors():
            return self._estimate([load_image(image)], [boxes])[0]

    def batch(self, images: Iterable[Any], boxes: Sequence[Any] | None = None) -> list[Poses]:
        """Find the poses in many images, which the networks get in batches of ``batch_size``.

        At most ``batch_size`` images are in memory at once, so paths or a generator need little memory. If a batch
        fails, for example because the memory is too small, its images are estimated one by one.

        Args:
            images: Paths, arrays or PIL images; see `__call__`. They may be of different sizes.
            boxes: One array of boxes, or ``None``, per image; see `__call__`.

        Returns:
            One `Poses` per image, equal to that of a call with this image alone up to the rounding of the backend, whose
            sums may depend on the size of a batch.

        Raises:
            ImageError, FileNotFoundError, ValueError: See `__call__`; the message begins with the index of the image.
        """
        if isinstance(images, (str, os.PathLike)):
            raise ValueError(f"{os.fspath(images)!r} is one image; pass a list of images")
        if boxes is not None and isinstance(images, Sized) and len(boxes) != len(images):
            raise ValueError(f"{len(images)} images, but boxes of {len(boxes)}")
        pairs = zip(images, repeat(None)) if boxes is None else zip(images, boxes, strict=True)
        found: list[Poses] = []
        while batch := list(islice(pairs, self.batch_size)):
            found += self._estimate_batch(batch, len(found))
        return found

    def _estimate_batch(self, batch: Sequence[tuple[Any, Any]], first: int) -> list[Poses]:
        """Poses in images with their boxes; ``first`` is the index of the first one."""
        try:
            with image_errors():
                images = [load_image(image) for image, _ in batch]
                return self._estimate(images, [boxes for _, boxes in batch])
        except (ValueError, OSError) as error:
            if len(batch) == 1:
                raise _kind_of(error)(f"image {first}: {error}") from error
        return [poses for index, one in enumerate(batch, first) for poses in self._estimate_batch([one], index)]

    def stream(
        self, sources: str | os.PathLike[str] | Iterable[Any], on_error: OnError | None = None
    ) -> Iterator[tuple[Frame, Poses]]:
        """Poses in photos, folders, glob patterns, videos, cameras, or given frames, one image at a time.

        Args:
            sources, on_error: See `read_frames`.
        """

        def estimate(image: Array) -> Poses:
            with image_errors():
                return self._estimate([image], [None])[0]

        yield from map_frames(sources, estimate, on_error)


def _kind_of(error: ValueError | OSError) -> type[ValueError | OSError]:
    """The class of an error among those that take a message alone, which many of Python's and a user's own do not."""
    return next(kind for kind in (ImageError, FileNotFoundError, OSError, ValueError) if isinstance(error, kind))
