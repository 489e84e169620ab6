"""Transforms that a recipe names: ``augmentation.transforms``."""

from __future__ import annotations

import difflib
import importlib
import inspect
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import albumentations as A
import numpy as np
from pydantic import ValidationError

from tinypose_torch.data.images import read_image
from tinypose_torch.data.keypoints import KeepKeypoints
from tinypose_torch.geometry.skeletons import Skeleton
from tinypose_torch.utils.messages import one_line
from train.config import ConfigError

_KEY = "augmentation.transforms"
_TRIES = 16  # draws of a transform that may mirror

Array = np.ndarray
Transform: TypeAlias = A.BasicTransform | A.BaseCompose


def build_transforms(items: Sequence[dict[str, Any]], crop: str) -> tuple[list[Transform], list[Transform]]:
    """Build the named transforms.

    Args:
        items: Arguments of every transform, and its ``name``: of albumentations, or ``module.Class``.
        crop: Name that stands for the network's own crop in the list.

    Returns:
        Transforms before and after the crop; all are after it where it is not in the list.

    Raises:
        ConfigError: No such transform, or arguments that it does not take.
    """
    names = [item.get("name") for item in items]
    if names.count(crop) > 1 or any(item.keys() != {"name"} for item in items if item.get("name") == crop):
        raise ConfigError(f"{_KEY}: {{name: {crop}}} marks the place of the crop: write it once, without arguments")
    place = names.index(crop) if crop in names else 0
    built = [_build(item) for item in items if item.get("name") != crop]
    return built[:place], built[place:]


def keep_keypoints(transforms: Sequence[Transform], skeleton: Skeleton) -> list[Transform]:
    """The transforms, with care for the keypoints where they are not of pixels only."""
    if image_only(transforms):
        return list(transforms)
    return [KeepKeypoints(transforms, skeleton.flip_pairs, len(skeleton))]


def image_only(transforms: Sequence[Transform]) -> bool:
    """Whether the transforms change pixels only, and move none."""
    return all(
        image_only(transform.transforms)
        if isinstance(transform, A.BaseCompose)
        else isinstance(transform, A.ImageOnlyTransform)
        for transform in transforms
    )


def check_transforms(
    items: Sequence[dict[str, Any]],
    crop: str,
    file: Path,
    crop_size: tuple[int, int] | None = None,
    *,
    may_mirror: bool = True,
    boxes: bool = False,
) -> None:
    """Apply every transform to an image, so that errors occur before the training.

    Args:
        items, crop: See `build_transforms`.
        file: An image of the training.
        crop_size: (height, width) of the crop; ``None`` if the crop's size does not matter.
        may_mirror: Whether the transforms may mirror the image.
        boxes: Whether the training gives them boxes.

    Raises:
        ConfigError: A transform fails, returns another kind of image, or does what it may not.
    """
    before, after = build_transforms(items, crop)
    image = read_image(file) if items else None
    if image is None:
        image = np.zeros((480, 640, 3), np.uint8)
    small = image if crop_size is None else np.zeros((*crop_size, 3), np.uint8)
    for transform in (*before, *after):
        name, transform.p = type(transform).__name__, 1.0
        kept = transform in after and crop_size is not None
        try:
            for _ in range(1 if may_mirror or image_only([transform]) else _TRIES):
                _try(transform, small if kept else image, kept, may_mirror, boxes)
        except ConfigError as error:
            raise ConfigError(f"{_KEY}: {name} {error}") from None
        except Exception as error:  # of any kind: transforms may be the user's
            raise ConfigError(f"{_KEY}: {name} cannot be applied: {_reason(error)}") from None


def _try(transform: Transform, image: Array, keep_size: bool, may_mirror: bool, boxes: bool) -> None:
    moves = not image_only([transform])
    apply = A.Compose(
        [transform],
        A.BboxParams("pascal_voc") if boxes and moves else None,
        A.KeypointParams("xy", remove_invisible=False) if moves else None,
    )
    height, width = image.shape[:2]
    x, y = width // 2, height // 2
    data = {"bboxes": np.array([[x / 2, y / 2, x, y]], np.float32)} if boxes else {}
    corner = np.array([[x, y], [x + 1, y], [x, y + 1]], np.float32)
    changed = apply(image=image.copy(), keypoints=corner, **data)
    pixels, found = changed["image"], changed["keypoints"]
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ConfigError(f"returns {pixels.dtype} of shape {pixels.shape}; expected uint8 images of 3 channels")
    if keep_size and pixels.shape != image.shape:
        size = "x".join(map(str, pixels.shape[:2]))
        raise ConfigError(f"changes the crop from {height}x{width} to {size}; write it before the crop")
    if not may_mirror and len(found) == 3 and np.linalg.det(found[1:, :2] - found[0, :2]) < 0:
        raise ConfigError(
            "mirrors the image, and it is not known which keypoints swap: name all pairs with "
            "data.flip_pairs='[[LEFT, RIGHT], ...]' ([] if none swaps)"
        )


def _build(item: dict[str, Any]) -> Transform:
    arguments = dict(item)
    name = arguments.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(
            f"{_KEY}: {reprlib.repr(item)} has no name; expected, for example, {{name: Rotate, limit: 20}}"
        )
    kind = _find(name)
    if issubclass(kind, A.BaseCompose) and isinstance(arguments.get("transforms"), list):
        arguments["transforms"] = [_build(part) for part in arguments["transforms"]]
    parameters = inspect.signature(kind).parameters
    if not any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters.values()):
        for argument in arguments.keys() - parameters.keys():
            near = difflib.get_close_matches(argument, parameters, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(parameters)}"
            raise ConfigError(f"{_KEY}: {name} has no argument {argument!r}; {hint}")
    if "InitSchema" in vars(kind):
        arguments["strict"] = True  # or albumentations only warns of some wrong values
    try:
        return kind(**arguments)
    except Exception as error:  # of any kind: transforms may be the user's
        raise ConfigError(f"{_KEY}: {name}: {_reason(error)}") from None


def _find(name: str) -> Any:
    """The class of a transform.

    Raises:
        ConfigError: It does not exist, or is no transform.
    """
    module_name, _, own = name.rpartition(".")
    try:
        module = importlib.import_module(module_name) if module_name else A
    except ImportError as error:
        raise ConfigError(f"{_KEY}: {name}: {one_line(error)}") from None
    kinds = {key: kind for key, kind in vars(module).items() if _is_transform(kind)}
    if own in kinds:
        return kinds[own]
    near = difflib.get_close_matches(own, kinds, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "name your own class with its module: my_module.Own"
    raise ConfigError(f"{_KEY}: no transform {own!r} in {module.__name__}; {hint}")


def _is_transform(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, A.BasicTransform | A.BaseCompose)


def _reason(error: Exception) -> str:
    """One line that says what is wrong."""
    cause = error.__cause__
    if isinstance(cause, ValidationError):
        problems = cause.errors()
        return "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg'].lower()}, got {reprlib.repr(problem['input'])}"
            for problem in problems
        )
    return one_line(error) or type(error).__name__
