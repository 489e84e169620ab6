"""Pixel formats of the frames that app files take, and conversions between them and RGB images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from tinypose_torch.utils.defaults import PIXEL_FORMATS

Array = np.ndarray


@dataclass(frozen=True)
class PixelFormat:
    """Layout of a uint8 frame.

    Attributes:
        kind: What the description of an app file calls it.
        pixel_shape: Shape of one pixel; empty for NV21.
        chroma_rows: Whether half as many rows of chroma follow the rows of luma; sides are then even.
        to_rgb, from_rgb: Conversions from and to RGB images ``(H, W, 3)``.
    """

    kind: str
    pixel_shape: tuple[int, ...]
    chroma_rows: bool
    to_rgb: Callable[[Array], Array]
    from_rgb: Callable[[Array], Array]

    def frame_shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Shape of the array that holds a frame of (height, width) pixels."""
        height, width = size
        return (height * 3 // 2 if self.chroma_rows else height, width, *self.pixel_shape)

    def check_size(self, size: tuple[int, int]) -> None:
        """Check that frames of (height, width) pixels can have the format.

        Raises:
            ValueError: The format has chroma for two by two pixels, and a side is odd.
        """
        if self.chroma_rows and (size[0] % 2 or size[1] % 2):
            raise ValueError(f"frame_size={size[0]} x {size[1]}: {self.kind} needs an even height and width")


def _nv21_from_rgb(image: Array) -> Array:
    """YV12 by OpenCV, with its two planes of chroma interleaved."""
    height, width = image.shape[:2]
    planes = cv2.cvtColor(image, cv2.COLOR_RGB2YUV_YV12)
    chroma = planes[height:].reshape(2, -1).T.reshape(height // 2, width)
    return np.concatenate([planes[:height], chroma])


_FORMATS = dict(
    zip(
        PIXEL_FORMATS,
        (
            PixelFormat("uint8 HWC RGB", (3,), False, np.asarray, np.asarray),
            PixelFormat(
                "uint8 HWC RGBA",
                (4,),
                False,
                lambda frame: cv2.cvtColor(frame, cv2.COLOR_RGBA2RGB),
                lambda image: cv2.cvtColor(image, cv2.COLOR_RGB2RGBA),
            ),
            PixelFormat(
                "uint8 HWC BGR",
                (3,),
                False,
                lambda frame: cv2.cvtColor(frame, cv2.COLOR_BGR2RGB),
                lambda image: cv2.cvtColor(image, cv2.COLOR_RGB2BGR),
            ),
            PixelFormat(
                "uint8 NV21", (), True, lambda frame: cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_NV21), _nv21_from_rgb
            ),
        ),
        strict=True,
    )
)


def find_pixel_format(name: str) -> PixelFormat:
    """The pixel format of a name.

    Raises:
        ValueError: There is none; the message lists the names.
    """
    if name not in _FORMATS:
        raise ValueError(f"pixels={name!r}; choose one of {', '.join(_FORMATS)}")
    return _FORMATS[name]
