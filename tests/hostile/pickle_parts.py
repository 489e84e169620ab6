"""Opcodes of pickles, put together by hand."""

import pickle
import pickletools
import struct
from collections.abc import Iterator

Values = Iterator[tuple[str, bytes, str] | tuple[str, bytes]]

ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
DTYPE_STATE = b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


def value(content: object) -> bytes:
    """Opcodes that build a value."""
    return pickletools.optimize(pickle.dumps(content, 2))[2:-1]


def name_of(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode("utf-8", "surrogatepass")


def array(
    shape: object, code: object = "f4", raw: bytes = bytes(16), order: str = "<", fortran: bytes = b"\x89"
) -> bytes:
    """An array that declares any shape and dtype for its bytes; ``shape`` may be opcodes."""
    shape = shape if isinstance(shape, bytes) else value(shape)
    data = b"B" + struct.pack("<I", len(raw)) + raw
    return ARRAY + b"(K\x01" + shape + dtype(code, order) + fortran + data + b"tb"


def dtype(code: object, order: object = "<") -> bytes:
    state = DTYPE_STATE.replace(b"U\x01<", value(order))
    return name_of("numpy", "dtype") + b"(" + value(code) + b"K\x00K\x01tR" + state


def extended(genuine: bytes, key: object, opcodes: bytes) -> bytes:
    """A pickled dict with one more entry."""
    assert genuine.endswith(b"u.")
    return genuine[:-2] + value(key) + opcodes + b"u."
