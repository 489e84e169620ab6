"""Detection augmentation: albumentations transforms of an image and its boxes, with PicoDet's distributions.

They take ``image``, ``(H, W, 3)`` uint8 RGB, and ``objects``, an `DetectionSample`. Size and interpolation are common
to a batch, and come last: `resize_with_boxes`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import albumentations as A
import cv2
import numpy as np
from PIL import Image, ImageEnhance

from tinypose_torch.data.detection.sample import DetectionSample
from tinypose_torch.geometry.boxes import box_centers, iou

Array = np.ndarray
# None: the whole image.
CROP_OVERLAPS: tuple[float | None, ...] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, None)
INTERPOLATIONS = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)


class DetectionTransform(A.BasicTransform):
    """Base class of transforms of an image and its boxes."""

    _targets = ()

    @property
    def targets(self) -> dict[str, Callable[..., Any]]:
        return {"image": self.apply, "objects": self.apply_to_sample}

    def apply(self, img: Array, *args: Any, **params: Any) -> Array:
        return img

    def apply_to_sample(self, objects: DetectionSample, **params: Any) -> DetectionSample:
        """Return the transformed boxes; ``params`` are the sampled parameters."""
        return objects


class RandomIoUCrop(DetectionTransform):
    """Crop a region whose IoU with an object is at least a sampled threshold (Liu et al., "SSD", ECCV 2016).

    The shares are tried in random order, each up to ``attempts`` times, until a part fits in which the centre of an object
    lies; objects whose centre is outside are dropped. The share "none" keeps the whole image.

    Args:
        scale: Minimum and maximum side of the region, relative to the image's.
        aspect: Minimum and maximum aspect ratio (width / height), relative to the image's.
    """

    def __init__(
        self, scale: tuple[float, float] = (0.3, 1.0), aspect: tuple[float, float] = (0.5, 2.0), attempts: int = 50
    ) -> None:
        super().__init__(p=1.0)
        self.scale, self.aspect, self.attempts = scale, aspect, attempts

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        objects: DetectionSample = data["objects"]
        height, width = data["image"].shape[:2]
        if len(objects) == 0:
            return {"part": None}
        for choice in self.random_generator.permutation(len(CROP_OVERLAPS)):
            least = CROP_OVERLAPS[choice]
            if least is None:
                break
            for _ in range(self.attempts):
                part = self._draw(height, width)
                if part is not None and _overlaps(objects.boxes, part).max() >= least and _kept(objects, part).any():
                    return {"part": part}
        return {"part": None}

    def _draw(self, height: int, width: int) -> tuple[int, int, int, int] | None:
        generator = self.random_generator
        scale = generator.uniform(*self.scale)
        aspect = generator.uniform(max(self.aspect[0], scale**2), min(self.aspect[1], scale**-2))
        crop_height, crop_width = int(height * scale / np.sqrt(aspect)), int(width * scale * np.sqrt(aspect))
        if not (0 < crop_height < height and 0 < crop_width < width):
            return None
        y = int(generator.integers(0, height - crop_height))
        x = int(generator.integers(0, width - crop_width))
        return x, y, x + crop_width, y + crop_height

    def apply(self, img: Array, *args: Any, part: tuple[int, int, int, int] | None = None, **params: Any) -> Array:
        if part is None:
            return img
        x1, y1, x2, y2 = part
        return img[y1:y2, x1:x2]

    def apply_to_sample(
        self, objects: DetectionSample, part: tuple[int, int, int, int] | None = None, **params: Any
    ) -> DetectionSample:
        if part is None:
            return objects
        kept = _kept(objects, part)
        return DetectionSample(_clipped(objects.boxes, part)[kept], objects.labels[kept])


class DetectionRandomFlip(DetectionTransform):
    """Flip the image and its boxes horizontally."""

    def apply(self, img: Array, *args: Any, **params: Any) -> Array:
        return cv2.flip(img, 1)

    def apply_to_sample(self, objects: DetectionSample, shape: tuple[int, ...] = (), **params: Any) -> DetectionSample:
        boxes = objects.boxes.copy()
        boxes[:, [0, 2]] = np.float32(shape[1]) - objects.boxes[:, [2, 0]]
        return DetectionSample(boxes, objects.labels)


class PhotometricDistort(DetectionTransform):
    """Change brightness, contrast, saturation and hue by Pillow, in random order, each with probability 0.5.

    Args:
        factors: Minimum and maximum factor of brightness, contrast and saturation.
        hue: Maximum shift of Pillow's 8-bit hue, degrees.
    """

    _OPERATIONS = ("brightness", "contrast", "saturation", "hue")

    def __init__(self, factors: tuple[float, float] = (0.5, 1.5), hue: float = 18.0, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.factors, self.hue = factors, hue

    def get_params(self) -> dict[str, Any]:
        generator = self.random_generator
        steps = []
        for index in generator.permutation(len(self._OPERATIONS)):
            name = self._OPERATIONS[index]
            if generator.uniform(0.0, 1.0) >= 0.5:
                amount = generator.uniform(-self.hue, self.hue) if name == "hue" else generator.uniform(*self.factors)
                steps.append((name, float(amount)))
        return {"steps": steps}

    def apply(self, img: Array, *args: Any, steps: Sequence[tuple[str, float]] = (), **params: Any) -> Array:
        for name, amount in steps:
            img = adjust_colour(img, name, amount)
        return img


def adjust_colour(image: Array, name: str, amount: float) -> Array:
    """Adjust an RGB image by Pillow: ``"brightness"``, ``"contrast"``, ``"saturation"``, ``"hue"``."""
    picture = Image.fromarray(image)
    if name == "hue":
        hsv = np.array(picture.convert("HSV"))
        hsv[..., 0] = (np.trunc(hsv[..., 0] + amount).astype(np.int32) % 256).astype(np.uint8)
        return np.array(Image.fromarray(hsv, "HSV").convert("RGB"))
    enhancers = {
        "brightness": ImageEnhance.Brightness,
        "contrast": ImageEnhance.Contrast,
        "saturation": ImageEnhance.Color,
    }
    return np.array(enhancers[name](picture).enhance(amount))


def resize_with_boxes(image: Array, boxes: Array, size: int, interpolation: int) -> tuple[Array, Array]:
    """Resize an image to a float32 square without keeping the aspect ratio, and its boxes, clipped to the image.

    The values are neither rounded nor clipped to 0..255, as in PaddleDetection.
    """
    height, width = image.shape[:2]
    resized = cv2.resize(image.astype(np.float32), None, fx=size / width, fy=size / height, interpolation=interpolation)
    factors = np.array([size / width, size / height] * 2, np.float32)
    return resized, np.clip(boxes * factors, 0, size).astype(np.float32)


def _overlaps(boxes: Array, part: tuple[int, int, int, int]) -> Array:
    """Intersection over union of boxes with a part of the image."""
    return iou(boxes, np.array(part, np.float32), epsilon=0)


def _kept(objects: DetectionSample, part: tuple[int, int, int, int]) -> Array:
    x1, y1, x2, y2 = part
    x, y = box_centers(objects.boxes).T
    inside = (x >= x1) & (y >= y1) & (x < x2) & (y < y2)
    clipped = _clipped(objects.boxes, part)
    return inside & (clipped[:, :2] < clipped[:, 2:]).all(axis=1)


def _clipped(boxes: Array, part: tuple[int, int, int, int]) -> Array:
    x1, y1, x2, y2 = part
    clipped = np.concatenate([np.maximum(boxes[:, :2], (x1, y1)), np.minimum(boxes[:, 2:], (x2, y2))], axis=1)
    return (clipped - np.array([x1, y1, x1, y1])).astype(np.float32)
