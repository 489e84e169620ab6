"""YAML values of recipes and overrides, and messages about those that do not fit a config."""

from __future__ import annotations

import difflib
import json
import reprlib
from typing import Any

import yaml
from pydantic import BaseModel

_MAX_SHOWN = 200  # characters
_value = reprlib.Repr()
_value.maxstring = _value.maxother = _value.maxlong = _MAX_SHOWN


def read_yaml(text: str) -> Any:
    """The value of a YAML text, without references to itself.

    Raises:
        ValueError: Not YAML, nested too deeply, or a number or date that cannot be.
    """
    try:
        parsed = yaml.safe_load(text)
        repr(parsed)  # fails where it is nested too deeply to be shown
        json.dumps(parsed, default=str, skipkeys=True)  # refuses references to itself
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(reason[:_MAX_SHOWN] or type(error).__name__) from None
    return parsed


def shown(text: str) -> str:
    """A given text, short enough for a message."""
    return repr(text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}...")


def type_of(config: type[BaseModel], keys: list[str]) -> Any:
    """Type of a key of a config, given as its sections and its name; ``None`` for an unknown key."""
    kind: Any = config
    for key in keys:
        kind = getattr(getattr(kind, "model_fields", {}).get(key), "annotation", None)
    return kind


def describe_problem(config: type[BaseModel], problem: Any) -> str:
    """Message about one of pydantic's errors; names the key, and the nearest one if it is unknown."""
    place = [str(part) for part in problem["loc"]]
    key = ".".join(place)
    if problem["type"] != "extra_forbidden":
        given = "" if problem["type"] == "missing" else f", got {_value.repr(problem['input'])}"
        return f"{key}: {problem['msg'].lower()}{given}"
    kind = type_of(config, place[:-1])
    near = difflib.get_close_matches(place[-1], kind.model_fields, n=1, cutoff=0.4)
    hint = f"did you mean {'.'.join([*place[:-1], near[0]])!r}?" if near else f"keys: {', '.join(kind.model_fields)}"
    return f"unknown key {key!r}; {hint}"
