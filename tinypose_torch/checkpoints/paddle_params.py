"""Reader of PaddlePaddle's ``.pdparams`` files, without PaddlePaddle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tinypose_torch.checkpoints.errors import CheckpointError, plain, shown
from tinypose_torch.checkpoints.pickle_reader import Constructor, PickleReader, Symbol
from tinypose_torch.checkpoints.pickled_arrays import Array, DType

NAME_TABLE = "StructuredToParameterName@@"
CHUNK_TABLE = "UnpackBigParamInfor@@"  # spelled so in the files
# What an entry of a copied tuple or dict costs.
_TUPLE_ENTRY_BYTES, _DICT_ENTRY_BYTES = 8, 100


def _reconstruct(reader: PickleReader, arguments: tuple[Any, ...]) -> Array:
    kind, shape, _ = arguments
    if not isinstance(kind, Symbol) or kind.name != "numpy.ndarray" or shape != (0,):
        raise CheckpointError("array built in an unknown way")
    return Array(reader)


def _dtype(reader: PickleReader, arguments: tuple[Any, ...]) -> DType:
    if not isinstance(arguments[0], str):
        raise CheckpointError("array dtype that is not a name")
    return DType(arguments[0])


def _scalar(reader: PickleReader, arguments: tuple[Any, ...]) -> Any:
    dtype, raw = arguments
    if not isinstance(dtype, DType) or not isinstance(raw, memoryview):
        raise CheckpointError("damaged numpy scalar")
    return reader.make_array(raw, dtype.resolve(), ()).item()


def _encode(reader: PickleReader, arguments: tuple[Any, ...]) -> memoryview:
    """Protocol 2 has no bytes: numpy stores them as latin-1 text."""
    text, encoding = arguments
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise CheckpointError("bytes stored in an unknown encoding")
    reader.spend("text", len(text))
    return memoryview(text.encode("latin-1"))


def _ordered_dict(reader: PickleReader, arguments: tuple[Any, ...]) -> dict[Any, Any]:
    if len(arguments) > 1:
        raise CheckpointError("damaged ordered dict")
    pairs = arguments[0] if arguments else []
    reader.spend("copies", _DICT_ENTRY_BYTES * len(pairs))
    if any(type(key) is not str for key, _ in pairs):
        raise CheckpointError("ordered dict whose keys are not text")
    return dict(pairs)


def _tuple(reader: PickleReader, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    (items,) = arguments
    if type(items) not in (tuple, list):
        raise CheckpointError("damaged tuple")
    reader.spend("copies", _TUPLE_ENTRY_BYTES * len(items))
    return tuple(items)


def _not_callable(reader: PickleReader, arguments: tuple[Any, ...]) -> Any:
    raise CheckpointError("array built in an unknown way")


NUMPY_CONSTRUCTORS: dict[str, Constructor] = {
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy.ndarray": _not_callable,
    "numpy.dtype": _dtype,
    "_codecs.encode": _encode,
    "collections.OrderedDict": _ordered_dict,
    "builtins.tuple": _tuple,
    "__builtin__.tuple": _tuple,
}


def read_paddle_params(data: bytes) -> dict[str, np.ndarray]:
    """Read a pickled state dict.

    Args:
        data: The file's contents: a state dict, plain or chunked, or a dict that holds one.

    Returns:
        PaddleDetection's parameter names to arrays, bfloat16 widened to float32.

    Raises:
        CheckpointError: The file is damaged, hostile, or holds something else.
    """
    value = PickleReader(data, NUMPY_CONSTRUCTORS).read()
    if type(value) is not dict:
        raise CheckpointError(f"holds no state dict, but a value of type {type(value).__name__}")
    tensors = _join_chunks(_find_state_dict(value))
    widened = {id(array): _widen(array) for array in tensors.values()}  # an array may have many names
    return {name: widened[id(array)] for name, array in tensors.items()}


def _find_state_dict(value: dict[Any, Any]) -> dict[str, Any]:
    """The dict of tensors: the value itself, or one of its entries."""
    if "LR_Scheduler" in value:
        raise CheckpointError("is an optimizer's state (.pdopt); the weights are in the .pdparams")
    if any(_as_array(item) is not None for item in value.values()):
        return value
    dicts = {id(item): item for item in value.values() if type(item) is dict}
    with_array = {identity for identity, item in dicts.items() if _has_array(item)}
    nested = [key for key, item in value.items() if id(item) in with_array]
    if len(nested) == 1 or "model" in nested:
        return value["model" if "model" in nested else nested[0]]
    raise CheckpointError(
        f"holds no state dict; its entries are {_listed(value) or 'none'}"
        if not nested
        else f"holds several state dicts, {_listed(nested)}; save the one you want on its own"
    )


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(shown(name) for name in sorted(names, key=str)[:10])


def _has_array(value: dict[Any, Any]) -> bool:
    return any(_as_array(item) is not None for item in value.values())


def _as_array(item: Any) -> np.ndarray | None:
    """A tensor's array; tensors in mixed containers are saved as (internal name, array)."""
    if type(item) is tuple and len(item) == 2 and isinstance(item[0], str):
        item = item[1]
    return item if isinstance(item, np.ndarray) else None


def _join_chunks(value: Mapping[Any, Any]) -> dict[str, np.ndarray]:
    """Arrays by name, those that were cut into pieces put together again."""
    tensors: dict[str, np.ndarray] = {}
    for name, item in value.items():
        if name in (NAME_TABLE, CHUNK_TABLE):
            continue
        array = _as_array(item)
        if array is None or not isinstance(name, str):
            raise CheckpointError(f"entry {shown(name)} is not a tensor (type {type(item).__name__})")
        tensors[name] = array
    chunks = value.get(CHUNK_TABLE, {})
    if type(chunks) is not dict or any(not isinstance(name, str) for name in chunks):
        raise CheckpointError("damaged table of tensor pieces")
    for name, description in chunks.items():
        try:
            shape, pieces = description["OriginShape"], description["slices"]
            arrays = [tensors.pop(key) for key in pieces]
            joined = np.concatenate(arrays, dtype=arrays[0].dtype, casting="no")
            tensors[name] = joined.reshape(_checked_shape(shape))
        except (LookupError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {plain(error)}"
            raise CheckpointError(f"the pieces of tensor {shown(name)} do not fit ({reason})") from None
    return tensors


def _checked_shape(shape: Any) -> tuple[int, ...]:
    if type(shape) not in (tuple, list) or any(type(size) is not int or size < 0 for size in shape):
        raise TypeError(f"shape {shown(shape)}")
    return tuple(shape)


def _widen(array: np.ndarray) -> np.ndarray:
    """bfloat16, which numpy lacks, is stored as the upper half of a float32."""
    if array.dtype != np.uint16:
        return array
    return (array.astype(np.uint32) << 16).view(np.float32)
