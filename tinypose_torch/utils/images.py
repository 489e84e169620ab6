"""Photos from files, arrays and PIL images, as RGB uint8."""

from __future__ import annotations

import glob
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from tinypose_torch.utils.atomic import is_temporary, replacing
from tinypose_torch.utils.messages import escaped
from tinypose_torch.utils.provenance import SOFTWARE, is_overlay

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"))
MAX_PIXELS = 178_956_970  # Pillow's own limit
_BAND = 1 << 22  # pixels
_MEMORY_MESSAGES = ("out of memory", "insufficient memory", "not enough memory", "can't allocate", "failed to allocate")
_log = logging.getLogger(__name__)
Result = TypeVar("Result")


class ImageError(ValueError):
    """An image that cannot be read or used."""


@contextmanager
def image_errors() -> Iterator[None]:
    """Raises what OpenCV, the memory or a network fails with as `ImageError`, so that it concerns one image only.

    Usable as a decorator.
    """
    try:
        yield
    except (cv2.error, MemoryError, RuntimeError) as error:
        if isinstance(error.__context__, ImportError):
            raise  # a missing package concerns all images
        lines = str(error).strip().splitlines()
        message = lines[0] if lines else type(error).__name__
        if isinstance(error, MemoryError) or any(words in message.lower() for words in _MEMORY_MESSAGES):
            raise ImageError(f"not enough memory for this image ({message})") from error
        raise ImageError(f"cannot be processed: {message}") from error


@image_errors()
def load_image(source: Any) -> np.ndarray:
    """An image as ``(H, W, 3)`` uint8 RGB.

    Args:
        source: A path, a PIL image, or an array ``(H, W, 3)`` uint8 RGB. Files and PIL images may be of any mode:
            greyscale, palette, CMYK and 16 bits per channel are converted, transparency is dropped, and a file's EXIF
            rotation is applied.

    Raises:
        FileNotFoundError: There is no such file.
        ImageError: Not an image, damaged, cut short, too large, or an array of another kind.
    """
    if isinstance(source, np.ndarray):
        return _check_array(source)
    if isinstance(source, Image.Image):
        return _convert(source)
    if not isinstance(source, (str, os.PathLike)):
        raise ImageError(f"{type(source).__name__} is not an image; pass a path, a uint8 array or a PIL image")
    path = Path(source)
    if path.is_dir():
        raise ImageError(f"{path} is a folder, not an image; PoseEstimator.stream takes folders")
    if not path.is_file():
        if path.exists():
            raise ImageError(f"{path}: not a regular file")
        raise FileNotFoundError(f"no image {str(path)!r}")
    return _decode(path, str(path), path.stat().st_size)


@image_errors()
def decode_image(data: bytes, name: str) -> np.ndarray:
    """An encoded image as `load_image` reads it from a file.

    Args:
        data: Contents of an image file.
        name: What errors call it.

    Raises:
        ImageError: Not an image, damaged, cut short or too large.
    """
    return _decode(io.BytesIO(data), name, len(data))


def _decode(file: Path | io.BytesIO, name: str, size: int) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL's own warnings about sizes and odd metadata
            with Image.open(file) as image:
                if image.format == "EPS":
                    raise ImageError("EPS is not supported; convert it to PNG")  # Pillow would run Ghostscript
                ImageOps.exif_transpose(_checked_size(image), in_place=True)
                return _convert(image)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from None
    except UnidentifiedImageError:
        raise ImageError(f"{name}: {'not an image that can be read' if size else 'empty file'}") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{name}: larger than {MAX_PIXELS} pixels") from None
    except MemoryError:
        raise ImageError(f"{name}: not enough memory for this image") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError) as error:
        if isinstance(error, OSError) and error.strerror:  # of the system, not of the decoder
            raise ImageError(f"{name}: {error.strerror}") from None
        raise ImageError(f"{name}: damaged image: {error}") from None


def find_inputs(inputs: Iterable[str]) -> tuple[list[str], list[str]]:
    """Expand folders and patterns.

    Args:
        inputs: Files, folders (their images, recursively) and glob patterns. Overlays that this program wrote are left
            out of folders and patterns.

    Returns:
        Files in order, each once; and the inputs that match nothing, with the folders that cannot be read.
    """
    found: dict[str, None] = {}
    missing: list[str] = []
    for item in inputs:
        # os.path answers False to names that are too long; pathlib raises.
        unreadable: list[str] = []
        if os.path.isdir(item):
            files = _images_in(item, unreadable)
        elif os.path.exists(item):
            files = [item]
        else:
            matches = sorted(file for file in glob.glob(item, recursive=True) if os.path.isfile(file))
            files = [file for file in matches if not _is_left_out(file)]
        missing += unreadable or ([] if files else [item])
        found.update(dict.fromkeys(files))
    return list(found), missing


def map_images(folder: str | os.PathLike[str], function: Callable[[np.ndarray], Result]) -> list[Result]:
    """Results of a function for every image of a folder; images that fail are left out with a warning.

    Raises:
        FileNotFoundError: The folder has no images, or all of them fail.
    """
    files, _ = find_inputs([os.fspath(folder)])
    results = []
    for file in files:
        try:
            with image_errors():
                results.append(function(load_image(file)))
        except (ValueError, OSError) as error:
            reason = str(error).removeprefix(f"{file}: ")
            _log.warning("%s is left out: %s", escaped(file), escaped(reason))
    if not results:
        raise FileNotFoundError(
            f"none of the {len(files)} images in {folder} can be used" if files else f"no images in {folder}"
        )
    return results


def save_png(image: np.ndarray, path: Path) -> None:
    """Write an RGB image; the file appears only when it is complete."""
    mark = PngInfo()
    mark.add_text("Software", SOFTWARE)
    with replacing(path, durable=False) as temporary:
        # Level 1: a third of the default's time for a tenth more bytes.
        Image.fromarray(image).save(temporary, format="PNG", compress_level=1, pnginfo=mark)


def _images_in(folder: str, unreadable: list[str]) -> list[str]:
    """Images in a folder and the folders in it, in order; collects the folders that cannot be read."""
    files = [
        str(Path(parent, name))
        for parent, _, names in os.walk(folder, onerror=lambda error: unreadable.append(str(error.filename)))
        for name in names
        if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
    ]
    return sorted(file for file in files if not _is_left_out(file))


def _is_left_out(file: str) -> bool:
    """Whether this program wrote the file, or was killed while writing it."""
    return is_temporary(file) or is_overlay(file)


def _checked_size(image: Image.Image) -> Image.Image:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width}x{height} pixels; at most {MAX_PIXELS} are accepted")
    return image


def _convert(image: Image.Image) -> np.ndarray:
    _checked_size(image)
    if image.mode.startswith("I") or image.mode == "F":
        return np.repeat(_wide_grey(np.asarray(image))[..., None], 3, axis=2)
    return _check_array(_rgb_array(image))


def _rgb_array(image: Image.Image) -> np.ndarray:
    """``(H, W, 3)`` uint8; converted in bands, because Pillow makes several copies of what it converts."""
    width, height = image.size
    array = np.empty((height, width, 3), np.uint8)
    rows = max(_BAND // max(width, 1), 1)
    for top in range(0, height, rows):
        band = image if rows >= height else image.crop((0, top, width, min(top + rows, height)))
        array[top : top + rows] = np.asarray(band if band.mode == "RGB" else band.convert("RGB"))
    return array


def _wide_grey(values: np.ndarray) -> np.ndarray:
    """16-bit grey to its upper 8 bits; wider or float grey by its largest value."""
    if values.dtype.itemsize == 2 or (values.dtype.kind == "i" and values.max(initial=0) < 2**16):
        return (np.clip(values, 0, 2**16 - 1).astype(np.uint32) >> 8).astype(np.uint8)
    values = np.where(np.isfinite(values), values, 0)
    largest = float(values.max(initial=0))
    return np.clip(values * (255 / largest if largest > 0 else 0), 0, 255).astype(np.uint8)


def _check_array(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.uint8:
        raise ImageError(f"image array of dtype {array.dtype}; expected uint8, 0 to 255")
    if array.ndim != 3 or array.shape[2] != 3:
        raise ImageError(f"image array of shape {array.shape}; expected (height, width, 3), RGB")
    if array.size == 0:
        raise ImageError(f"image array of shape {array.shape} has no pixels")
    return array
