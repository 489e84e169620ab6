"""Arrays that a pickle describes step by step: created first, their dtype, shape and bytes set later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from tinypose_torch.checkpoints.errors import CheckpointError, shown
from tinypose_torch.checkpoints.limits import MAX_NESTING

ARRAY_DTYPES = frozenset(("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"))


class ArrayMaker(Protocol):
    """The part of `PickleReader` that arrays need."""

    def make_array(self, raw: memoryview, dtype: np.dtype[Any], shape: Any, fortran: bool = False) -> np.ndarray:
        """A read-only array of the bytes."""


class DType:
    """A numpy dtype under construction."""

    def __init__(self, code: str) -> None:
        if len(code) > 3 or code.lstrip("<>|=") not in ARRAY_DTYPES:
            raise CheckpointError(f"arrays of dtype {shown(code)} are not allowed")
        self.code = code

    def set_state(self, state: Sequence[Any]) -> None:
        """Take over the byte order."""
        order = state[1]
        if not isinstance(order, str) or order not in ("<", ">", "|", "="):
            raise CheckpointError(f"array dtype with byte order {shown(order)}")
        self.code = ("<" if order == "=" else order) + self.code.lstrip("<>|=")

    def resolve(self) -> np.dtype[Any]:
        """The finished dtype."""
        return np.dtype(self.code)


class Array:
    """A numpy array under construction; `value` is a read-only view of the file's bytes."""

    def __init__(self, reader: ArrayMaker) -> None:
        self.reader = reader
        self.value: np.ndarray | None = None

    def set_state(self, state: Sequence[Any]) -> None:
        """Take over shape, dtype and bytes."""
        if self.value is not None or len(state) != 5:
            raise CheckpointError("array with an unexpected state")
        _, shape, dtype, fortran, raw = state
        if not isinstance(dtype, DType):
            raise CheckpointError("array without a dtype")
        if not isinstance(raw, memoryview):
            raise CheckpointError("array whose data are not bytes")
        self.value = self.reader.make_array(raw, dtype.resolve(), shape, bool(fortran))


def resolve_arrays(value: Any, resolved: dict[int, Any], depth: int = 0) -> Any:
    """Replace arrays under construction by numpy arrays; shared values stay shared."""
    if depth > MAX_NESTING:
        raise CheckpointError(f"containers nested more than {MAX_NESTING} deep")
    if isinstance(value, Array):
        if value.value is None:
            raise CheckpointError("array without data")
        return value.value
    if type(value) not in (dict, list, tuple, memoryview):
        return value
    if id(value) not in resolved:
        if type(value) is dict:
            items = [(key, resolve_arrays(item, resolved, depth + 1)) for key, item in value.items()]
            resolved[id(value)] = dict(items)
        elif isinstance(value, memoryview):
            resolved[id(value)] = bytes(value)
        else:
            resolved[id(value)] = type(value)(resolve_arrays(v, resolved, depth + 1) for v in value)
    return resolved[id(value)]
