"""A reader of pickled state dicts that cannot be made to do anything else.

Python's own unpickler calls what the file names and allocates what the file declares. This one interprets the few
opcodes that state dicts consist of, and builds only numbers, text, lists, tuples, dicts and arrays:

* a callable is looked up in a fixed table of `Constructor` functions, never imported;
* an array's size must equal the bytes the file holds for it, and all arrays together cannot exceed the file;
* copies that the file asks for (`PickleReader.spend`) cannot exceed it either;
* integer keys are small, because Python's dicts are slow with keys that are chosen to collide;
* the number of opcodes is limited, because every opcode costs memory.

The format is described in CPython's ``pickletools``.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinypose_torch.checkpoints.errors import CheckpointError, plain, shown
from tinypose_torch.checkpoints.limits import MAX_DIMENSIONS, MAX_INTEGER_KEY, MAX_OPCODES
from tinypose_torch.checkpoints.pickled_arrays import Array, DType, resolve_arrays

_MARK = object()
_OPCODES = {ord(op.code): op.name for op in pickletools.opcodes}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
_NUMBERS = {"BININT": "<i", "BININT1": "<B", "BININT2": "<H", "BINFLOAT": ">d"}
_LENGTHS = {
    "SHORT_BINUNICODE": "<B",
    "BINUNICODE": "<I",
    "BINUNICODE8": "<Q",
    "SHORT_BINBYTES": "<B",
    "BINBYTES": "<I",
    "BINBYTES8": "<Q",
    "SHORT_BINSTRING": "<B",
    "BINSTRING": "<i",
    "LONG1": "<B",
    "LONG4": "<i",
}
_MEMO_WRITES = {"BINPUT": "<B", "LONG_BINPUT": "<I"}
_MEMO_READS = {"BINGET": "<B", "LONG_BINGET": "<I"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}

Constructor = Callable[["PickleReader", tuple[Any, ...]], Any]


class Symbol:
    """A name that the file mentions. It is compared, never imported."""

    def __init__(self, name: str) -> None:
        self.name = name


class PickleReader:
    """Interprets one pickle.

    Args:
        data: The file's bytes.
        constructors: What the file may call, by full name.
        persistent: Resolves persistent ids; without it they are refused.
        budget: Bytes that all arrays together may have; the pickle's own size unless given.
    """

    def __init__(
        self,
        data: bytes | memoryview,
        constructors: Mapping[str, Constructor],
        persistent: Callable[[Any], Any] | None = None,
        budget: int | None = None,
    ) -> None:
        self._data = memoryview(data)
        self._position = 0
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._constructors = constructors
        self._persistent = persistent
        self._spent: dict[str, int] = {}
        self._budget = len(self._data) if budget is None else budget

    def read(self) -> Any:
        """The pickled value.

        Raises:
            CheckpointError: The pickle is damaged, or asks for something that a state dict does not need.
        """
        try:
            return resolve_arrays(self._run(), {})
        except CheckpointError as error:
            raise CheckpointError(f"{error} (at byte {self._position})") from None
        except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError, struct.error) as error:
            reason = f"{type(error).__name__}: {plain(error)}"
            raise CheckpointError(f"damaged pickle at byte {self._position}: {reason}") from None

    def spend(self, purpose: str, size: int) -> None:
        """Account for ``size`` bytes that the caller builds out of the file."""
        self._spent[purpose] = self._spent.get(purpose, 0) + size
        if self._spent[purpose] > self._budget:
            raise CheckpointError("the file asks for more memory than its own size")

    def make_array(self, raw: memoryview, dtype: np.dtype[Any], shape: Any, fortran: bool = False) -> np.ndarray:
        """View bytes of the file as an array of exactly their size."""
        if not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS:
            raise CheckpointError(f"array of shape {shown(shape)}")
        if not all(type(size) is int and size >= 0 for size in shape):
            raise CheckpointError(f"array of shape {shown(shape)}")
        declared = dtype.itemsize
        for size in shape:
            declared *= size
        if declared != len(raw):
            raise CheckpointError(
                f"array of shape {shape} and dtype {dtype} needs {declared} bytes, the file has {len(raw)}"
            )
        self.spend("arrays", len(raw))
        return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")

    def _take(self, size: int) -> memoryview:
        end = self._position + size
        if size < 0:
            raise CheckpointError(f"damaged pickle: a length of {size}")
        if end > len(self._data):
            raise CheckpointError(f"truncated: {size} bytes declared beyond the end of the file")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def _number(self, layout: str) -> Any:
        return struct.unpack(layout, self._take(struct.calcsize(layout)))[0]

    def _line(self) -> str:
        start = self._position
        while self._take(1) != b"\n":
            if self._position - start > 1000:
                raise CheckpointError("text line without an end")
        return str(self._data[start : self._position - 1], "utf-8")

    def _pop_mark(self) -> list[Any]:
        for index in range(len(self._stack) - 1, -1, -1):
            if self._stack[index] is _MARK:
                items = self._stack[index + 1 :]
                del self._stack[index:]
                return items
        raise CheckpointError("damaged pickle: no mark on the stack")

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise CheckpointError("damaged pickle: mark where a value belongs")
        return value

    def _run(self) -> Any:
        for _ in range(MAX_OPCODES):
            code = self._take(1)[0]
            name = _OPCODES.get(code, f"0x{code:02x}")
            if name == "STOP":
                return self._pop()
            self._step(name)
        raise CheckpointError(f"more than {MAX_OPCODES} opcodes; no state dict needs that many")

    def _step(self, name: str) -> None:
        push = self._stack.append
        if name in _CONSTANTS:
            push(_CONSTANTS[name]())
        elif name in _NUMBERS:
            push(self._number(_NUMBERS[name]))
        elif name in _LENGTHS:
            push(self._sized_value(name))
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._stack[-1]
        elif name in _MEMO_WRITES:
            self._memoise(self._number(_MEMO_WRITES[name]))
        elif name in _MEMO_READS:
            push(self._memo[self._number(_MEMO_READS[name])])
        elif name == "MARK":
            push(_MARK)
        elif name in _TUPLES:
            items = [self._pop() for _ in range(_TUPLES[name])]
            push(tuple(reversed(items)))
        elif name == "TUPLE":
            push(tuple(self._pop_mark()))
        elif name in ("APPEND", "APPENDS"):
            items = self._pop_mark() if name == "APPENDS" else [self._pop()]
            self._container(list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._pop_mark() if name == "SETITEMS" else [self._pop(), self._pop()][::-1]
            self._set_items(items)
        elif name in ("PROTO", "FRAME"):
            self._header(name)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            push(self._symbol(name))
        elif name == "REDUCE":
            arguments = self._pop()
            push(self._call(self._pop(), arguments))
        elif name == "BUILD":
            self._build(self._pop())
        elif name == "BINPERSID" and self._persistent is not None:
            push(self._persistent(self._pop()))
        else:
            raise CheckpointError(f"pickle opcode {name} does not belong in a state dict")

    def _memoise(self, index: int) -> None:
        if index >= MAX_OPCODES:
            raise CheckpointError(f"damaged pickle: memo index {index}")
        self._memo[index] = self._stack[-1]

    def _header(self, name: str) -> None:
        if name == "FRAME":
            self._number("<Q")  # Frames only help readers of streams.
            return
        protocol = self._number("<B")
        if not 2 <= protocol <= 5:
            raise CheckpointError(f"pickle protocol {protocol}; expected 2 to 5")

    def _sized_value(self, name: str) -> Any:
        raw = self._take(self._number(_LENGTHS[name]))
        if "UNICODE" in name:
            return str(raw, "utf-8", "surrogatepass")
        if "LONG" in name:
            if len(raw) > 16:
                raise CheckpointError(f"integer of {len(raw)} bytes")
            return int.from_bytes(raw, "little", signed=True)
        return str(raw, "latin-1") if "STRING" in name else raw

    def _container(self, kind: type) -> Any:
        container = self._stack[-1]
        if type(container) is not kind:
            raise CheckpointError(f"damaged pickle: {kind.__name__} expected on the stack")
        return container

    def _set_items(self, items: list[Any]) -> None:
        target = self._container(dict)
        if len(items) % 2:
            raise CheckpointError("damaged pickle: key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int):
                raise CheckpointError(f"dict key of type {type(key).__name__}")
            if type(key) is int and not 0 <= key < MAX_INTEGER_KEY:
                raise CheckpointError(f"dict key {shown(key)}; integers from 0 to {MAX_INTEGER_KEY - 1} are accepted")
            target[key] = value

    def _symbol(self, name: str) -> Symbol:
        if name == "GLOBAL":
            return self._allowed(self._line(), self._line())
        attribute, module = self._pop(), self._pop()
        return self._allowed(module, attribute)

    def _allowed(self, module: Any, attribute: Any) -> Symbol:
        if not (isinstance(module, str) and isinstance(attribute, str)):
            raise CheckpointError("damaged pickle: name that is not text")
        full = f"{module}.{attribute}"
        if full not in self._constructors:
            raise CheckpointError(
                f"the file asks for {shown(full)}, which no state dict needs; refused without running it"
            )
        return Symbol(full)

    def _call(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, Symbol) or type(arguments) is not tuple:
            raise CheckpointError("damaged pickle: call of something that is not a function")
        return self._constructors[function.name](self, arguments)

    def _build(self, state: Any) -> None:
        target = self._stack[-1]
        if type(target) is dict and type(state) is dict:
            return  # Attributes of an ordered dict, such as torch's module versions.
        if not isinstance(target, (Array, DType)) or type(state) is not tuple:
            raise CheckpointError("the file sets the state of something that is not an array")
        target.set_state(state)
