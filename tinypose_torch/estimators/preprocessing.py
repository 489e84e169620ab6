"""Images as networks take them: resized for a detector, cropped for a top-down network, fitted in for a bottom-up one.

All resizes for detectors are in `resize_for_detector`, all warps for top-down networks in `crop_people`, and all warps for
bottom-up networks in `fit_image`.
"""

from __future__ import annotations

import os

import cv2
import numpy as np

from tinypose_torch.geometry.crops import PIXEL_STD, Crops, evaluation_crops, make_crops, region_crops
from tinypose_torch.geometry.portable import resize_cubic, warp_affine
from tinypose_torch.geometry.warp import warp
from tinypose_torch.models.config import BottomUpConfig, DetectorConfig, ModelConfig, TopDownConfig
from tinypose_torch.utils.images import map_images

Array = np.ndarray
RESIZE_DIVISOR = 64
MAX_ASPECT = 8  # of a bottom-up network's input; narrower images get black beside them
_GREY = 128  # beside an image that keeps its aspect ratio


def resize_for_detector(image: Array, entry: DetectorConfig, resize: str = "opencv") -> Array:
    """An RGB image at the detector's size, ``(1, H, W, 3)`` uint8; stretched to it, or with grey beside it."""
    height, width = entry.input_size
    check_resize(entry, resize)
    if resize == "portable":
        return resize_cubic(image, (height, width))[None]
    if not entry.letterbox:
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)[None]
    inner_height, inner_width = letterbox_size(image.shape[:2], entry.input_size)
    inner = cv2.resize(image, (inner_width, inner_height), interpolation=cv2.INTER_AREA)
    letter = np.full((1, height, width, 3), _GREY, np.uint8)
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    letter[0, top : top + inner_height, left : left + inner_width] = inner
    return letter


def check_resize(entry: DetectorConfig, resize: str) -> None:
    """Check that images can be resized so for a detector.

    Raises:
        ValueError: The detector keeps the image's aspect ratio, for which there is no portable resize.
    """
    if entry.letterbox and resize == "portable":
        raise ValueError(f"{entry.name} keeps the image's aspect ratio; its resize is 'opencv', not 'portable'")


def letterbox_size(image_size: tuple[int, int], input_size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of an image that is made as large as fits; at least one pixel."""
    ratio = min(input_size[0] / image_size[0], input_size[1] / image_size[1])
    return max(1, round(image_size[0] * ratio)), max(1, round(image_size[1] * ratio))


def crop_people(
    image: Array, crops: Crops, entry: ModelConfig, rows: slice = slice(None), resize: str = "opencv"
) -> Array:
    """Persons of an RGB image at the pose network's size, ``(N, H, W, 3)`` uint8."""
    height, width = entry.input_size
    warp_person = warp_affine if resize == "portable" else warp
    return np.stack(
        [
            warp_person(image[y1:y2, x1:x2], matrix, (height, width))
            for (x1, y1, x2, y2), matrix in zip(crops.regions[rows], crops.matrices[rows], strict=True)
        ]
    )


def crops_of(image: Array, boxes: Array, entry: TopDownConfig, rule: str) -> Crops:
    """How boxes are cut out of an RGB image for a pose network."""
    height, width = entry.input_size
    return make_crops(boxes, image.shape[:2], (height, width), entry.heatmap_size, rule, entry.udp)


def whole_image_crops(image: Array, entry: TopDownConfig, rule: str = "deploy") -> Crops:
    """How an image that is one person's box goes to the pose network.

    By the deploy rule it is fitted to the network's width, as by PaddleDetection's keypoint inference without a detector.
    """
    if rule != "deploy":
        return crops_of(image, whole_image_box(image), entry, rule)
    height, width = entry.input_size
    return region_crops(whole_image_box(image).astype(np.int64), (height, width), entry.heatmap_size)


def whole_image_box(image: Array) -> Array:
    """The box of an image, ``(1, 4)``."""
    return np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32)


def fit_image(image: Array, size: tuple[int, int]) -> tuple[Array, Crops]:
    """An RGB image at a bottom-up network's size, ``(H, W, 3)`` uint8, and its transform.

    Args:
        size: (height, width) of the network's input.
    """
    crop = whole_image(image, size)
    return warp(image, crop.matrices[0], size), crop


def whole_image(image: Array, input_size: tuple[int, int]) -> Crops:
    """The image in the middle of the input, as large as fits; PaddleDetection's `resized_size` is as wide or a bit wider."""
    height, width = image.shape[:2]
    center = np.array([[round(width / 2), round(height / 2)]], np.float32)
    factor = max(height / input_size[0], width / input_size[1])
    scale = np.array([input_size[::-1]], np.float32) * np.float32(factor / PIXEL_STD)
    return evaluation_crops(center, scale, (height, width), input_size, input_size, udp=False)


def resized_size(image_size: tuple[int, int], short: int) -> tuple[int, int]:
    """(height, width) of a bottom-up network's input.

    The shorter side is ``short``, the longer one a multiple of 64 of at most ``MAX_ASPECT`` times that.
    """
    height, width = image_size
    long = -(-max(height, width) * short // min(height, width) // RESIZE_DIVISOR) * RESIZE_DIVISOR
    long = min(long, MAX_ASPECT * short)
    return (short, long) if height <= width else (long, short)


def photos_for_pose(folder: str | os.PathLike[str], entry: TopDownConfig) -> Array:
    """The photos of a folder at a pose network's size, ``(N, H, W, 3)`` uint8; each is one person's box.

    Raises:
        FileNotFoundError: There are none.
    """
    return np.concatenate(map_images(folder, lambda image: crop_people(image, whole_image_crops(image, entry), entry)))


def photos_for_bottom_up(folder: str | os.PathLike[str], entry: BottomUpConfig) -> Array:
    """The photos of a folder as a file of one size sees them, ``(N, H, W, 3)`` uint8.

    Raises:
        FileNotFoundError: There are none.
    """
    return np.stack(map_images(folder, lambda image: fit_image(image, entry.input_size)[0]))


def photos_for_detector(folder: str | os.PathLike[str], entry: DetectorConfig) -> Array:
    """The photos of a folder at a detector's size, ``(N, H, W, 3)`` uint8.

    Raises:
        FileNotFoundError: There are none.
    """
    return np.concatenate(map_images(folder, lambda image: resize_for_detector(image, entry)))
