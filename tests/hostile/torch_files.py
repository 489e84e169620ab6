"""Attacks on PyTorch's ``.pt``: on the archive, on its pickle, and on the tensors that it builds."""

import functools
import io
import pickle
import zipfile

import torch

from . import pickle_parts, pickles, tiny, zips
from .attack import HARMLESS, READABLE, flipped, part
from .values import impossible_values

PICKLE = "archive/data.pkl"
STORAGE = "archive/data/0"
EPOCH = "epoch"


@functools.cache
def genuine() -> bytes:
    return saved({"state_dict": tiny.state_dict(), EPOCH: 1})


def saved(value) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@functools.cache
def members() -> dict[str, bytes]:
    return members_of(genuine())


def members_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def with_pickle(content: bytes) -> bytes:
    return zips.packed({**members(), PICKLE: content})


def torch_files():
    """Attacks on ``.pt``."""
    data = members()[PICKLE]
    for intent, content, *outcome in pickles.attacks(data, EPOCH, calls=4):
        yield intent, with_pickle(content), *outcome
    for intent, content, *outcome in _tensors():
        yield intent, with_pickle(pickle_parts.extended(data, EPOCH, content)), *outcome
    for intent, state in impossible_values({name: tensor.numpy() for name, tensor in tiny.state_dict().items()}):
        if "num_batches" not in intent:
            yield intent, saved({"state_dict": {name: torch.from_numpy(array) for name, array in state.items()}})
    yield from zips.attacks(members(), PICKLE)
    yield from _members()
    for position, altered in flipped(genuine(), 400):
        yield f"a flipped bit at {position}", altered, HARMLESS


@part
def _members():
    state = tiny.state_dict()
    yield "a program among the members", zips.packed({**members(), "archive/constants.pkl": b"\x80\x02)."})
    yield "two pickles", zips.packed({**members(), "other/data.pkl": members()[PICKLE]})
    yield "no pickle", zips.packed({name: data for name, data in members().items() if name != PICKLE})
    yield "no storages", zips.packed({name: data for name, data in members().items() if "/data/" not in name})
    for order in (b"big", b"", b"little\n", b"LITTLE", b"\xff"):
        yield f"a byte order {order!r}", zips.packed({**members(), "archive/byteorder": order})
    for size in (0, 1, 3, 1000):
        yield (
            f"a storage of {size} bytes",
            zips.packed({**members(), STORAGE: bytes(size)}),
            *([READABLE] if size == 1000 else []),
        )
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield f"members compressed by method {method}", zips.packed(members(), method)
    first = next(iter(state))
    others = {
        "complex numbers": state[first].to(torch.complex64),
        "a sparse tensor": state[first].to_sparse(),
        "a tensor without numbers": torch.empty(0),
        "8-bit floats": state[first].to(torch.float8_e4m3fn),
        "a number": 1.0,
        "text": "x",
        "nothing": None,
        "a tensor without storage": torch.empty(2, device="meta"),
        "a list of tensors": [state[first]],
        "a whole network": torch.nn.Linear(2, 2),
        "a device": torch.device("cpu"),
        "a dtype": torch.float32,
        "a size": torch.Size([1]),
    }
    for intent, other in others.items():
        yield f"{intent} in place of a tensor", saved({"state_dict": {**state, first: other}, EPOCH: 1})
    for intent, other in {
        "a tensor": state[first],
        "a list": [1],
        "nothing": None,
        "an empty dict": {},
        "text": "x",
    }.items():
        yield f"{intent} in place of a state dict", saved(other)
        yield f"{intent} as the state dict", saved({"state_dict": other})
    yield "an expanded tensor", saved({**state, first: torch.zeros(1).expand(state[first].shape)})
    yield "the older format", _older_format(state)
    yield "the older format, with a function", pickle.dumps([print, 1], 2)


def _older_format(state) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


@part
def _tensors():
    """Tensors that reach beyond their storage, or are more than it."""
    huge = [1 << 31, 1 << 40, (1 << 63) - 1, 1 << 64]
    rebuild = pickle_parts.name_of("torch._utils", "_rebuild_tensor_v2")

    def tensor(offset=0, size=(2,), stride=(1,), key="0", kind="FloatStorage", identity=None, arguments=None):
        storage = pickle_parts.name_of("torch", kind) if kind else b"N"
        given = (
            b"("
            + pickle_parts.value("storage")
            + storage
            + pickle_parts.value(key)
            + pickle_parts.value("cpu")
            + b"K\x02t"
        )
        values = b"".join(map(pickle_parts.value, (offset, size, stride)))
        return rebuild + (arguments or b"(" + (identity or given) + b"Q" + values + b"\x89Nt") + b"R"

    for number in (*huge, -1, 1000, None, 1.0, "0", True, (0,), []):
        yield f"a tensor at {number}", tensor(offset=number)
        yield f"a tensor of size {number}", tensor(size=(number,), stride=(1,))
        yield f"a tensor of two sizes {number}", tensor(size=(number, number), stride=(1, 1))
        yield f"a tensor of stride {number}", tensor(size=(2,), stride=(number,))
        yield f"a tensor of size {number} and stride 0", tensor(size=(number,), stride=(0,))
        yield f"a tensor whose size is {number}", tensor(size=number)
        yield f"a tensor whose stride is {number}", tensor(stride=number), *([HARMLESS] if number == (0,) else [])
    for size, stride in (
        ((2,), ()),
        ((), (1,)),
        ((2, 2), (1,)),
        ((1,) * 9, (1,) * 9),
        ((0,), (1,)),
        ((2**60,) * 9000, (0,) * 9000),
    ):
        yield f"a tensor of {len(size)} sizes and {len(stride)} strides", tensor(size=size, stride=stride)
    for key in ("99", "../data.pkl", "", "0" * 300, "0\0", "/etc/passwd", 0, None, ("0",), "\x1b[2J"):
        yield f"a tensor of the storage {key!r:.30}", tensor(key=key)
    for kind in ("ComplexFloatStorage", "QInt8Storage", "UntypedStorage", "", "_utils", "Float8_e4m3fnStorage"):
        yield f"a tensor of a {kind or 'missing storage'}", tensor(kind=kind)
    for intent, identity in {
        "text": b"U\x01a",
        "a number": b"K\x01",
        "an empty tuple": b")",
        "None": b"N",
        "a dict": b"}",
    }.items():
        yield f"a storage that is {intent}", tensor(identity=identity)
        yield f"a tensor whose arguments are {intent}", tensor(arguments=identity)
    for function in ("_rebuild_parameter", "_rebuild_tensor_v2"):
        for intent, given in {
            "nothing": b")",
            "a number": b"K\x01\x85",
            "text": pickle_parts.value(("x",)),
            "three": b"NNN\x87",
        }.items():
            yield f"{function} of {intent}", pickle_parts.name_of("torch._utils", function) + given + b"R"
    for kind in ("FloatStorage", "HalfStorage", "ByteStorage"):
        yield f"a call of {kind}", pickle_parts.name_of("torch", kind) + b"\x8a\x06" + b"\xff" * 5 + b"\x7f\x85R"
    shared = tensor(size=(8,), identity=None) + b"q\xf0"
    yield "a tensor ten thousand times", b"](" + shared + b"h\xf0" * 10_000 + b"e", HARMLESS
    views = tensor(size=(2,))
    yield "five thousand tensors over one storage", b"](" + views * 5_000 + b"e", HARMLESS
