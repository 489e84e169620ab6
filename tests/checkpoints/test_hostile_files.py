"""Hostile and damaged weight files: refused with a clear error, nothing run, no memory beyond the file's size."""

import io
import os
import pickle
import pickletools
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from tinypose_torch import CheckpointError, create_model
from tinypose_torch.checkpoints.files import read_checkpoint, save_safetensors
from tinypose_torch.checkpoints.limits import MAX_OPCODES
from tinypose_torch.checkpoints.paddle_params import CHUNK_TABLE
from tinypose_torch.checkpoints.torch_files import read_torch_file
from tinypose_torch.runtime import load_runner

MODEL = "tinypose_128x96"
GOOD = {"final_conv.weight": np.zeros((17, 40, 1, 1), np.float32), "final_conv.bias": np.zeros(17, np.float32)}
MARKER = "TINYPOSE_HOSTILE_FILE_RAN"


class Runs:
    """Pickles to a call of something that leaves a trace."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Stateful:
    def __reduce__(self):
        return object, (), {"x": 1}


def dumps(value, protocol=4):
    return pickle.dumps(value, protocol=protocol)


def array_pickle(shape, dtype="f4", raw=b"\0" * 16, extra=b""):
    """A hand-written pickle of {"w": array} that declares any shape and dtype for its bytes."""
    dimensions = b"(" + b"".join(b"\x8a" + long1(n) for n in shape) + b"t"
    return b"".join(
        [
            b"\x80\x02}U\x01wcnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR(K\x01",
            dimensions,
            b"cnumpy\ndtype\n(U"
            + bytes([len(dtype)])
            + dtype.encode()
            + b"K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
            b"\x89B" + struct.pack("<I", len(raw)) + raw + b"tb" + extra + b"s.",
        ]
    )


def long1(number):
    raw = number.to_bytes(9, "little", signed=True)
    return bytes([len(raw)]) + raw


def repeated_text_encoding(times=2000, size=20_000):
    """_codecs.encode of one memoised text, again and again: an allocation of times * size out of a small file."""
    text = b"X" + struct.pack("<I", size) + b"a" * size + b"q\x01"
    call = b"h\x00h\x01X\x06\x00\x00\x00latin1\x86R"
    return b"\x80\x02](c_codecs\nencode\nq\x00" + text + call * times + b"e."


def repeated_arrays(times=3000, size=20_000):
    """Many arrays over one memoised block of bytes."""
    dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbq\x01"
    block = b"B" + struct.pack("<I", size) + b"a" * size + b"q\x00"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
        b"(K\x01(M" + struct.pack("<H", size) + b"th\x01\x89h\x00tb"
    )
    return b"\x80\x02](" + dtype + block + array * times + b"e."


def laughs(levels=60):
    """Each list holds the one before twice: 2^60 items if anyone unfolds it."""
    return b"\x80\x02]q\x00" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(levels)) + b"."


def laughs_inside(wrap, levels=60):
    """The same, handed to something that might want to write it into a message."""
    lists = b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(levels))
    return b"\x80\x02](]q\x00" + lists + wrap(b"h%c" % levels) + b"e."


def copies(constructor, items, times=5000):
    """Calls that each copy one memoised list."""
    return b"\x80\x02](" + constructor + b"q\x00](" + items + b"eq\x01" + b"h\x00h\x01\x85R" * times + b"e."


def long_dtypes(times=2000, size=1_000_000):
    """Dtypes whose one memoised name has a megabyte, each with a byte order put before it."""
    name = b"X" + struct.pack("<I", size) + b"<" * (size - 2) + b"f4q\x01"
    state = b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return b"\x80\x02](cnumpy\ndtype\nq\x00" + name + (b"h\x00h\x01K\x00K\x01\x87R" + state) * times + b"e."


def many_names(times=2000):
    """One array that would be widened for each of its names."""
    shared = np.zeros(100_000, np.uint16)
    return dumps({f"n{index}": shared for index in range(times)})


def endless_directory():
    """An archive whose directory claims a gigabyte."""
    data = bytearray(torch_archive(dumps({}, 2)))
    struct.pack_into("<I", data, len(data) - 10, 1 << 30)
    return bytes(data)


SHARED = dict.fromkeys(map(str, range(20_000)))
ESCAPES = "\x1b]0;owned\x07\nsecond line"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
DTYPE = b"cnumpy\ndtype\n(U\x02f4K\x00K\x01tR"


def deep_tuple_key(depth=100_000):
    return b"\x80\x02})" + b"\x85" * depth + b"K\x01s."


def torch_archive(pickled, compression=zipfile.ZIP_STORED, storage=b"\0" * 16, name="data/0"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr(f"archive/{name}", storage)
    return buffer.getvalue()


def torch_tensor_pickle(numel, size, stride, key=b"0"):
    """A hand-written data.pkl of {"w": tensor} with any size and stride over storage "0"."""
    numbers = lambda values: b"(" + b"".join(b"\x8a" + long1(n) for n in values) + b"t"  # noqa: E731
    return b"".join(
        [
            b"\x80\x02}U\x01wctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU"
            + bytes([len(key)])
            + key
            + b"U\x03cpu\x8a",
            long1(numel),
            b"tQK\x00",
            numbers(size),
            numbers(stride),
            b"\x89ccollections\nOrderedDict\n)RtRs.",
        ]
    )


def safetensors_header(text):
    return struct.pack("<Q", len(text)) + text.encode()


def truncated_safetensors(tmp_path):
    save_file(GOOD, tmp_path / "whole.safetensors")
    return (tmp_path / "whole.safetensors").read_bytes()[:-100]


def half_a_torch_file():
    buffer = io.BytesIO()
    torch.save({name: torch.from_numpy(array) for name, array in GOOD.items()}, buffer)
    return buffer.getvalue()[: len(buffer.getvalue()) // 2]


HOSTILE = {
    # pickles that would run code
    "os.system": (lambda _: dumps(Runs(os.system, f"touch {MARKER}")), "refused without running"),
    "eval": (lambda _: dumps({"w": Runs(eval, f"open('{MARKER}', 'w')")}), "refused without running"),
    "exec, protocol 2": (lambda _: dumps(Runs(exec, f"open('{MARKER}', 'w')"), 2), "refused without running"),
    "getattr chain": (
        lambda _: dumps(Runs(getattr, os, "system")) if False else b"\x80\x02cbuiltins\ngetattr\n.",
        "refused",
    ),
    "open": (lambda _: dumps(Runs(open, MARKER, "w")), "refused without running"),
    "subprocess by hand": (lambda _: b"\x80\x02csubprocess\ncheck_call\n(](X\x04\x00\x00\x00trueetR.", "refused"),
    "after a good dict": (lambda _: dumps({**GOOD, "x": Runs(os.system, f"touch {MARKER}")}), "refused"),
    "stack global": (lambda _: b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.", "posix.system"),
    "inst opcode": (lambda _: b"\x80\x02(ios\nsystem\n.", "does not belong"),
    "obj opcode": (lambda _: b"\x80\x02(cos\nsystem\no.", "refused|does not belong"),
    "newobj": (lambda _: b"\x80\x02cnumpy\nndarray\n)\x81.", "does not belong"),
    "extension registry": (lambda _: b"\x80\x02\x82\x01.", "does not belong"),
    "persistent id": (lambda _: b"\x80\x02X\x01\x00\x00\x00aQ.", "does not belong"),
    "state of an object": (lambda _: dumps(Stateful()), "refused"),
    "numpy loader": (lambda _: b"\x80\x02cnumpy\nload\nX\x01\x00\x00\x00a\x85R.", "refused"),
    "call of ndarray": (lambda _: b"\x80\x02cnumpy\nndarray\nJ\x00\x00\x00\x7f\x85\x85R.", "unknown way"),
    "torch in a pdparams": (lambda _: b"\x80\x02ctorch\nload\n.", "refused"),
    "protocol 0": (lambda _: pickle.dumps({"a": 1}, 0), "neither"),
    # absurd declared sizes
    "bytes of 2^62": (lambda _: b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"abc.", "truncated"),
    "text of 4 GiB": (lambda _: b"\x80\x02X" + struct.pack("<I", 0xFFFFFFFF) + b"abc.", "truncated"),
    "array of 2^40 floats": (lambda _: array_pickle((1 << 40,)), "needs 4398046511104 bytes"),
    "negative shape": (lambda _: array_pickle((-4,)), "shape"),
    "overflowing shape": (lambda _: array_pickle((1 << 62, 1 << 62)), "needs"),
    "too many dimensions": (lambda _: array_pickle((1,) * 40 + (4,)), "shape"),
    "memo index of 2^31": (lambda _: b"\x80\x02}r\xff\xff\xff\x7f.", "memo index"),
    "repeated text encoding": (lambda _: repeated_text_encoding(), "more memory than its own size"),
    "repeated arrays": (lambda _: repeated_arrays(), "more memory than its own size"),
    "shared lists, 60 levels": (lambda _: laughs(), "nested|of type list"),
    "shared lists as a shape": (
        lambda _: laughs_inside(lambda lists: ARRAY + b"(K\x01" + lists + b"\x85" + DTYPE + b"\x89C\x01atb"),
        "array of shape",
    ),
    "shared lists as a name": (lambda _: laughs_inside(lambda lists: lists + lists + b"\x93"), "name that is not text"),
    "shared lists as a byte order": (
        lambda _: laughs_inside(lambda lists: DTYPE + b"(K\x03" + lists + b"tb"),
        "byte order",
    ),
    "deep tuple as key": (lambda _: deep_tuple_key(), "dict key of type tuple"),
    "endless opcodes": (lambda _: b"\x80\x02](" + b"]" * MAX_OPCODES + b"e.", "more than"),
    "integer of a megabyte": (
        lambda _: b"\x80\x02\x8b" + struct.pack("<i", 1 << 20) + b"\1" * (1 << 20) + b".",
        "integer",
    ),
    "copied tuples": (lambda _: copies(b"cbuiltins\ntuple\n", b"K\x01" * 2000), "more memory than its own size"),
    "copied dicts": (
        lambda _: copies(b"ccollections\nOrderedDict\n", b"".join(b"U\x02%02xK\x01\x86" % n for n in range(200))),
        "more memory than its own size",
    ),
    "colliding keys": (
        lambda _: (
            b"\x80\x02}("
            + b"".join(b"\x8a\x0c" + (n * (2**61 - 1)).to_bytes(12, "little") + b"N" for n in range(1, 9999))
            + b"u."
        ),
        "dict key 2305843009213693951; integers from 0 to 65535",
    ),
    "negative key": (lambda _: dumps({-1: 1, **GOOD}), "dict key -1"),
    "dtype of a megabyte": (lambda _: long_dtypes(), "arrays of dtype .* are not allowed"),
    "one bfloat16 array by many names": (lambda _: many_names(), "does not fit the network"),
    "pieces of two types": (
        lambda _: dumps(
            {
                "a": np.zeros(9000, np.uint8),
                "b": np.zeros(1),
                CHUNK_TABLE: {"x": {"OriginShape": (9001,), "slices": ["a", "b"]}},
            }
        ),
        "pieces of tensor 'x' do not fit",
    ),
    "no pieces": (
        lambda _: dumps({**GOOD, CHUNK_TABLE: {"x": {"OriginShape": (1,), "slices": []}}}),
        "pieces of tensor 'x' do not fit",
    ),
    "many dicts in one": (lambda _: dumps({str(n): SHARED for n in range(20_000)}), "holds no state dict"),
    # names that a terminal would obey, or that would fill it
    "escapes in a name": (lambda _: dumps({**GOOD, ESCAPES: np.zeros(1)}), r"x1b\]0;owned"),
    "escapes in an entry": (lambda _: dumps({**GOOD, ESCAPES: 3}), r"x1b\]0;owned.* is not a tensor"),
    "escapes in a callable": (lambda _: b"\x80\x02c\x1b[31mos\nsystem\n.", r"x1b\[31mos\.system"),
    "name of 20 MB": (lambda _: dumps({**GOOD, "x" * 20_000_000: np.zeros(1)}), "name has 20000000 characters: 'xxx"),
    "names of nested dicts": (lambda _: dumps({ESCAPES: {"w": np.zeros(1)}, "b": {"w": np.zeros(1)}}), "several state"),
    "escapes in a storage": (
        lambda _: torch_archive(torch_tensor_pickle(4, (4,), (1,), b"\x1b[2J"), name="data/7"),
        "damaged PyTorch archive",
    ),
    "number as a name": (lambda _: torch_archive(dumps({1: np.zeros(1)}, 2)), "entry 1 is not a tensor"),
    # arrays that are not numbers
    "object array": (lambda _: dumps({"w": np.array([None, 1], object)}), "dtype 'O8'|not bytes|not allowed"),
    "text array": (lambda _: dumps({"w": np.array(["a"])}), "not allowed"),
    "record array": (lambda _: dumps({"w": np.zeros(2, [("a", "f4")])}), "not allowed|byte order|unexpected"),
    "complex array": (lambda _: dumps({"w": np.zeros(2, complex)}), "not allowed"),
    # damage
    "empty": (lambda _: b"", "is empty"),
    "truncated": (lambda _: dumps(GOOD)[:-400], "truncated|damaged"),
    "first byte only": (lambda _: b"\x80", "truncated"),
    "noise": (lambda _: np.random.default_rng(0).bytes(5000), "neither"),
    "text file": (lambda _: b"404 not found, sorry\n", "neither"),
    "other pickle": (lambda _: dumps([1, 2, 3]), "of type list"),
    "wrong model": (lambda _: dumps(GOOD), "does not fit the network"),
    "wrong shapes": (lambda _: dumps({"final_conv.bias": np.zeros(3, np.float32)}), "does not fit"),
    # PyTorch archives
    "torch: code": (lambda _: torch_archive(dumps(Runs(os.system, f"touch {MARKER}"), 2)), "refused without running"),
    "torch: zip bomb": (
        lambda _: torch_archive(dumps({}, 2), zipfile.ZIP_DEFLATED, b"\0" * 50_000_000),
        "compressed archive",
    ),
    "torch: expanded tensor": (lambda _: torch_archive(torch_tensor_pickle(4, (1 << 40,), (0,))), "storage of 4"),
    "torch: beyond the storage": (lambda _: torch_archive(torch_tensor_pickle(4, (2, 4), (4, 1))), "storage of 4"),
    "torch: no storage": (lambda _: torch_archive(torch_tensor_pickle(4, (4,), (1,)), name="data/7"), "damaged"),
    "torch: half a file": (lambda _: half_a_torch_file(), "damaged PyTorch archive"),
    "torch: many dimensions": (
        lambda _: torch_archive(torch_tensor_pickle(4, (2**60,) * 30_000, (0,) * 30_000)),
        "tensor of size",
    ),
    "torch: endless directory": (lambda _: endless_directory(), "directory is too large"),
    "torch: another zip": (lambda _: torch_archive(b"").replace(b"data.pkl", b"data.txt"), "without a deployed model"),
    # safetensors
    "safetensors: cut short": (truncated_safetensors, "damaged .safetensors"),
    "safetensors: huge header": (lambda _: struct.pack("<Q", 1 << 60) + b"{}", "damaged .safetensors"),
    "safetensors: huge tensor": (
        lambda _: safetensors_header('{"w":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'),
        "damaged .safetensors",
    ),
    "safetensors: a header of 9 MB": (lambda _: safetensors_header("{" + " " * (9 << 20)), "a header of 9437185 bytes"),
    "safetensors: escapes": (lambda _: safetensors_header('{"\x1b[2J":3}'), "damaged .safetensors"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_refused_without_running_or_allocating(case, tmp_path, monkeypatch):
    make, message = HOSTILE[case]
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hostile.pdparams"
    path.write_bytes(make(tmp_path))
    network = create_model(MODEL)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    from tinypose_torch import load_weights

    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=message) as caught:
            load_weights(network, path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert str(path) in message
    assert message.isprintable()
    assert len(message) < 10_000
    assert not (tmp_path / MARKER).exists()
    # The file and one copy of it, one small object per opcode, and the interpreter's own caches.
    size = path.stat().st_size
    assert peak < 4_000_000 + 3 * size + 80 * min(size, MAX_OPCODES)
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), "a refused file changed the network"


@pytest.mark.parametrize("suffix", [".pdparams", ".safetensors", ".pt", ".torchscript", ".onnx", ".pte", ".json"])
@pytest.mark.parametrize("kind", ["device", "pipe", "sparse"])
def test_only_regular_files_of_a_reasonable_size_are_opened(kind, suffix, tmp_path):
    """What never ends, never begins, or has 40 GB of nothing."""
    path = tmp_path / f"x{suffix}"
    if kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        with path.open("wb") as file:
            file.truncate(40 << 30)
    (tmp_path / "x.pdiparams").write_bytes(b"")
    with pytest.raises(
        CheckpointError, match=r"is not a regular file|has 42949672960 bytes|needs its (program|tensors)"
    ):
        load_runner(MODEL, path)


def test_every_flipped_bit_of_a_safetensors_file_is_noticed(tmp_path):
    """Of those that this project writes: by the checksum, or because the header cannot be read any more."""
    save_safetensors(torch.nn.Linear(40, 40), tmp_path / "x.safetensors", {"model": MODEL})
    data = bytearray((tmp_path / "x.safetensors").read_bytes())
    whole = {name: tensor.clone() for name, tensor in read_checkpoint(tmp_path / "x.safetensors").tensors.items()}
    generator, unnoticed = np.random.default_rng(0), 0
    for position in [*range(420), *generator.integers(0, len(data), 120)]:
        bit = 1 << int(generator.integers(8))
        data[position] ^= bit
        (tmp_path / "y.safetensors").write_bytes(data)
        data[position] ^= bit
        try:
            checkpoint = read_checkpoint(tmp_path / "y.safetensors")
        except CheckpointError:
            continue
        # The flip was in the name of the checksum itself, so that there is none; everything else is whole.
        unnoticed += 1
        assert all(torch.equal(checkpoint.tensors[name], tensor) for name, tensor in whole.items())
    assert unnoticed < 20


def test_every_truncation_of_a_good_file_is_refused():
    from tinypose_torch.checkpoints.paddle_params import read_paddle_params

    data = dumps(GOOD)
    for end in range(0, len(data) - 1, 7):
        with pytest.raises(CheckpointError):
            read_paddle_params(data[:end])


def outcomes_of_altered(data, read, seed, times, fewest, most):
    """What reading does with from ``fewest`` to ``most`` bytes of a good file changed; anything but a CheckpointError escapes."""
    generator = np.random.default_rng(seed)
    outcomes = set()
    for _ in range(times):
        altered = bytearray(data)
        count = fewest if fewest == most else generator.integers(fewest, most + 1)
        for position in generator.integers(0, len(data), count):
            altered[position] = generator.integers(0, 256)
        try:
            read(bytes(altered))
            outcomes.add("read")
        except CheckpointError:
            outcomes.add("refused")
    return outcomes


def test_altered_bytes_never_escape():
    """Flipping bytes gives the same arrays, other numbers, or a CheckpointError; never another exception."""
    from tinypose_torch.checkpoints.paddle_params import read_paddle_params

    data = dumps({name: array[:2] for name, array in GOOD.items()})
    assert outcomes_of_altered(data, read_paddle_params, 1, 4000, 2, 2) == {"read", "refused"}


def test_altered_archives_never_escape():
    """The same for PyTorch's archives, whose directory can break in many ways."""
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(3, 4), "b": torch.nn.Parameter(torch.ones(2))}, buffer)
    assert outcomes_of_altered(buffer.getvalue(), read_torch_file, 0, 3000, 1, 5) == {"read", "refused"}


def test_reader_knows_every_opcode_that_paddle_writes():
    used = {opcode.name for opcode, _, _ in pickletools.genops(dumps(GOOD))}
    assert {"REDUCE", "BUILD", "STACK_GLOBAL", "FRAME"} <= used
