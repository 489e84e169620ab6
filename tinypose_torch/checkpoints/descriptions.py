"""Checks of the descriptions that weight files and exported files carry.

Whoever made a file wrote its description, so every size, count and text in it is checked before anything is built.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from tinypose_torch.checkpoints.errors import CheckpointError, plain, shown
from tinypose_torch.checkpoints.limits import (
    INPUT_SIZES,
    MAX_CLASSES,
    MAX_COUNT,
    MAX_DESCRIPTION_LENGTH,
    MAX_KEYPOINTS,
    MAX_TEXT_LENGTH,
)
from tinypose_torch.codecs.calibration import LEVELS, KeypointCalibration
from tinypose_torch.geometry.skeletons import Skeleton
from tinypose_torch.models.config import ModelConfig

INPUT_DIVISOR = 32
MAX_CALIBRATION_BINS = 1000
_Settings = TypeVar("_Settings")


def parse_description(text: str) -> dict[str, Any]:
    """The JSON object in a description.

    Raises:
        CheckpointError: It is too long, or not a JSON object of finite numbers.
    """
    if len(text) > MAX_DESCRIPTION_LENGTH:
        raise CheckpointError(f"a description of {len(text)} characters; at most {MAX_DESCRIPTION_LENGTH} are accepted")
    try:
        facts = json.loads(text, parse_constant=_refuse_constant)
    except CheckpointError:
        raise
    except (RecursionError, ValueError) as error:
        raise CheckpointError(f"{type(error).__name__}: {plain(error)}") from None
    return check_mapping(facts, "description")


def check_mapping(value: Any, name: str) -> dict[str, Any]:
    """A JSON object."""
    if type(value) is not dict:
        _refuse(name, value, "a JSON object")
    return value


def required(facts: Mapping[str, Any], name: str) -> Any:
    """An entry of a description that must be there."""
    if name not in facts:
        raise CheckpointError(f"{name!r} is missing")
    return facts[name]


def check_number(value: Any, name: str, low: float = -1e9, high: float = 1e9) -> float:
    """A finite number from ``low`` to ``high``."""
    if type(value) not in (int, float) or not low <= value <= high or not math.isfinite(value):
        _refuse(name, value, f"a number from {low:g} to {high:g}")
    return value


def check_count(value: Any, name: str, low: int = 0, high: int = MAX_COUNT) -> int:
    """An integer from ``low`` to ``high``."""
    if type(value) is not int or not low <= value <= high:
        _refuse(name, value, f"an integer from {low} to {high}")
    return value


def check_flag(value: Any, name: str) -> bool:
    """``True`` or ``False``."""
    if type(value) is not bool:
        _refuse(name, value, "true or false")
    return value


def check_text(value: Any, name: str) -> str:
    """Text without control characters."""
    if type(value) is not str or len(value) > MAX_TEXT_LENGTH or any(ord(c) < 32 or 127 <= ord(c) < 160 for c in value):
        _refuse(name, value, f"at most {MAX_TEXT_LENGTH} characters without control characters")
    return value


def check_list(value: Any, name: str, most: int) -> list[Any]:
    """A list of at most ``most`` entries."""
    if type(value) is not list or len(value) > most:
        _refuse(name, value, f"a list of at most {most} entries")
    return value


def check_input_size(value: Any) -> tuple[int, int]:
    """(height, width) of a network's input, pixels."""
    low, high = INPUT_SIZES
    sizes = check_list(value, "input size", 2)
    if len(sizes) != 2 or any(type(n) is not int or not low <= n <= high or n % INPUT_DIVISOR for n in sizes):
        _refuse("input size", value, f"height and width from {low} to {high}, multiples of {INPUT_DIVISOR}")
    return sizes[0], sizes[1]


def check_triple(value: Any, name: str, low: float) -> tuple[float, float, float]:
    """Three numbers, one per colour channel."""
    numbers = [check_number(number, name, low, 1e6) for number in check_list(value, name, 3)]
    if len(numbers) != 3:
        _refuse(name, value, "three numbers")
    return numbers[0], numbers[1], numbers[2]


def check_class_names(value: Any) -> tuple[str, ...]:
    """Names of a detector's classes."""
    names = tuple(check_text(name, "class name") for name in check_list(value, "class names", MAX_CLASSES))
    if not names:
        _refuse("class names", value, "at least one")
    return names


def check_skeleton(value: Any) -> Skeleton:
    """A skeleton, whose pairs and constants fit its keypoints."""
    parts = check_mapping(value, "skeleton")
    listed = check_list(required(parts, "keypoint_names"), "keypoint names", MAX_KEYPOINTS)
    names = [check_text(name, "keypoint name") for name in listed]
    for kind in ("flip_pairs", "links"):
        for pair in check_list(parts.get(kind, []), kind, 10 * MAX_KEYPOINTS):
            for index in check_list(pair, kind, 2):
                check_count(index, f"index in {kind}", 0, len(names) - 1)
    for sigma in check_list(parts.get("sigmas", []), "sigmas", MAX_KEYPOINTS):
        check_number(sigma, "sigma", 0, 1e6)
    check_text(required(parts, "name"), "name of the skeleton")
    if not names:
        _refuse("keypoint names", names, "at least one")
    try:
        return Skeleton.from_json(parts)
    except (TypeError, ValueError) as error:
        raise CheckpointError(plain(error)) from None


def check_calibration(value: Any, skeleton: Skeleton | None) -> KeypointCalibration:
    """A calibration whose lists fit each other, and the skeleton that the description has beside it."""
    parts = check_mapping(value, "calibration")
    scores = _check_numbers(required(parts, "scores"), "calibration scores", MAX_CALIBRATION_BINS, -1e6)
    scales = _check_numbers(required(parts, "scales"), "calibration scales", len(scores), 1e-9)
    factors = _check_numbers(required(parts, "factors"), "calibration factors", MAX_KEYPOINTS, 1e-9)
    rows = check_list(required(parts, "radii"), "calibration radii", len(scores))
    radii = tuple(_check_numbers(row, "calibration radii", len(LEVELS), 0) for row in rows)
    fits = skeleton is not None and len(factors) == len(skeleton) and len(scores) == len(scales) == len(radii) > 0
    increasing = all(list(row) == sorted(row) and len(row) == len(LEVELS) for row in (*radii,))
    if not fits or not increasing or list(scores) != sorted(scores):
        _refuse("calibration", value, "lists that fit each other and the keypoints, in ascending order")
    return KeypointCalibration(scores, radii, scales, factors)


def _check_numbers(value: Any, name: str, most: int, low: float) -> tuple[float, ...]:
    return tuple(check_number(number, name, low) for number in check_list(value, name, most))


def check_config(entry: ModelConfig) -> None:
    """Refuse networks whose files could not be read again.

    Raises:
        ValueError: The input, the number of keypoints or the number of classes is too large.
    """
    for name, value, most in (
        ("input_size", max(entry.input_size), INPUT_SIZES[1]),
        ("number of keypoints", len(getattr(entry, "skeleton", ())), MAX_KEYPOINTS),
        ("number of classes", len(getattr(entry, "class_names", ())), MAX_CLASSES),
    ):
        if value > most:
            raise ValueError(f"{name} {value}; at most {most} is supported")


def check_settings(kind: type[_Settings], value: Any, name: str) -> _Settings:
    """A dataclass of flags, counts and numbers; what its fields are annotated with says which."""
    facts = check_mapping(value, name)
    annotations = {field.name: str(field.type) for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key, setting in facts.items():
        if key not in annotations:
            raise CheckpointError(f"{name} has no setting {shown(key)}")
        where, (sort, *optional) = f"{name}.{key}", annotations[key].split(" | ")
        if setting is None and optional:
            continue
        if sort == "bool":
            check_flag(setting, where)
        elif sort == "int":
            check_count(setting, where)
        else:
            check_number(setting, where)
    return kind(**facts)


def _refuse(name: str, value: Any, expected: str) -> NoReturn:
    raise CheckpointError(f"{name} {shown(value)}; expected {expected}")


def _refuse_constant(text: str) -> NoReturn:
    raise CheckpointError(f"the number {text}; expected finite numbers")
