"""Attacks on ``.safetensors``: lengths, offsets, types and shapes of the header, and what it says of the model."""

import functools
import hashlib
import json
import struct

import safetensors.numpy
import safetensors.torch

from tinypose_torch.checkpoints.files import CHANGES_KEY, describe_changes
from tinypose_torch.checkpoints.safetensors_files import CHECKSUM_KEY, save_with_checksum
from tinypose_torch.models.registry import get_config

from . import jsons, tiny
from .attack import HARMLESS, READABLE, flipped, part
from .texts import TEXTS
from .values import impossible_values

META = "__metadata__"


def genuine() -> bytes:
    return save_with_checksum(tiny.state_dict(), describe_changes(get_config(tiny.NAME)))


@functools.cache
def parts() -> tuple[dict, bytes]:
    """Header and tensors of a file without a checksum, so that its contents can be altered."""
    data = safetensors.torch.save(tiny.state_dict())
    size = struct.unpack_from("<Q", data)[0]
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def packed(header, tensors: bytes | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + (parts()[1] if tensors is None else tensors)


def safetensors_files():
    """Attacks on ``.safetensors``."""
    yield from _lengths()
    yield from _headers()
    yield from _offsets()
    yield from _metadata()
    state = {name: tensor for name, tensor in tiny.state_dict().items() if "num_batches" not in name}
    for intent, values in impossible_values({name: tensor.numpy() for name, tensor in state.items()}):
        yield intent, safetensors.numpy.save(values)
    yield from _checksums()


@part
def _lengths():
    data, size = packed(parts()[0]), len(packed(parts()[0])) - len(parts()[1]) - 8
    numbers = [
        0,
        1,
        2,
        size - 1,
        size + 1,
        len(data),
        len(data) - 8,
        len(data) - 7,
        8 << 20,
        (8 << 20) + 1,
        100_000_000,
        1 << 31,
    ]
    for number in [*numbers, *(1 << bits for bits in range(32, 64)), (1 << 64) - 1, (1 << 63) - 1, 0x80, 0x280, 0x480]:
        yield f"a header of {number} bytes", struct.pack("<Q", number) + data[8:]
    for end in [*range(0, 24), *range(24, len(data), len(data) // 60)]:
        yield f"cut after {end} bytes", data[:end]
    for more in (1, 8, 1000):
        yield f"{more} bytes more", data + b"x" * more
    yield "a header of 9 MB of blanks", packed(b"{" + b" " * (9 << 20) + b"}")
    yield "a header of 8 MB of blanks", packed(json.dumps(parts()[0]).encode() + b" " * (8_000_000)), HARMLESS
    yield "no tensors", packed({})
    yield "no header", struct.pack("<Q", 2) + b"{}"


@part
def _headers():
    header = parts()[0]
    first = "final_conv.weight"
    for intent, text, *outcome in jsons.attacks({first: header[first]}, outcome=HARMLESS, long=False):
        rest = json.dumps({name: value for name, value in header.items() if name != first})
        inside = text.strip()
        whole = (
            f"{inside[:-1]},{rest[1:]}" if inside.startswith("{") and inside.endswith("}") and len(inside) > 2 else text
        )
        yield intent, packed(whole.encode("utf-8", "surrogatepass")), *outcome
    types = [
        "F64",
        "F16",
        "BF16",
        "I64",
        "I32",
        "I8",
        "U8",
        "BOOL",
        "F8_E4M3",
        "F8_E5M2",
        "C64",
        "U64",
        "F4",
        "F6_E2M3",
        "f32",
    ]
    for kind in [*types, "", "F32 ", "F32\0", "float32", "x" * 1000]:
        yield f"type {kind[:20]!r}", packed({**header, first: {**header[first], "dtype": kind}})
    shapes = [
        [],
        [34],
        [2, 17],
        [-1, 34],
        [1 << 62, 4],
        [(1 << 64) - 1],
        [1 << 64],
        [0],
        [34.0],
        ["34"],
        [True],
        [17, 2, 1, 2],
    ]
    for shape in [*shapes, [1] * 200 + [34]]:
        yield f"shape {shape[:4]}", packed({**header, first: {**header[first], "shape": shape}})
    for intent, text in TEXTS.items():
        renamed = {text if name == first else name: value for name, value in header.items()}
        yield f"a tensor whose name is {intent}", packed(renamed)
        more = {**header, text: {"dtype": "F32", "shape": [0], "data_offsets": [len(parts()[1])] * 2}}
        yield f"a tensor more whose name is {intent}", packed(more)
    double = json.dumps(header)[:-1] + "," + json.dumps({first: header[first]})[1:]
    yield "a tensor twice", packed(double.encode()), HARMLESS
    yield "another tensor of the same name", packed(double.replace("[17, 2, 1, 1]", "[34]", 1).encode()), HARMLESS
    many = {
        f"n{number}": {"dtype": "F32", "shape": [0], "data_offsets": [len(parts()[1])] * 2} for number in range(11_000)
    }
    yield "11,000 tensors", packed({**header, **many})
    yield "a header that is UTF-16", packed(json.dumps(header).encode("utf-16"))


@part
def _offsets():
    """Tensors over each other, with gaps between them, the wrong way round, and beyond the file."""
    header, tensors = parts()
    names = list(header)
    for name in names:
        start, end = header[name]["data_offsets"]
        for intent, offsets in {
            "reversed": [end, start],
            "a byte later": [start + 1, end + 1],
            "a byte earlier": [start - 1, end - 1],
            "from the beginning": [0, end - start],
            "beyond the file": [len(tensors), len(tensors) + end - start],
            "at 2^63": [1 << 63, (1 << 63) + end - start],
            "at 2^64 - 1": [(1 << 64) - 1, end - start - 1],
            "a byte too many": [start, end + 1],
            "a byte too few": [start, end - 1],
            "nothing": [start, start],
            "three numbers": [start, end, end],
            "one number": [start],
            "fractions": [start + 0.0, end + 0.0],
            "text": [str(start), str(end)],
            "negative": [-end, -start],
        }.items():
            altered = {**header, name: {**header[name], "data_offsets": offsets}}
            yield f"{name}: offsets {intent}", packed(altered), *([HARMLESS] if [*offsets] == [start, end] else [])
        other = header[names[0]]
        yield f"{name} over {names[0]}", packed({**header, name: other}), *([HARMLESS] if name == names[0] else [])
    last = header[names[-1]]
    moved = {**header, names[-1]: {**last, "data_offsets": [n + 100 for n in last["data_offsets"]]}}
    yield "a gap of 100 bytes", packed(moved, tensors + bytes(100))


@part
def _metadata():
    """What the file says of its model."""
    header = parts()[0]
    description = describe_changes(get_config(tiny.NAME))
    facts = json.loads(description[CHANGES_KEY])

    def described(text):
        return packed({META: {**description, CHANGES_KEY: text}, **header})

    for intent, text, *outcome in jsons.attacks(facts):
        yield f"description: {intent}", described(text), *outcome
    for intent, text in TEXTS.items():
        yield (
            f"a model whose name is {intent}",
            packed({META: {"model": text}, **header}),
            *([] if text else [READABLE]),
        )
        yield (
            f"a model called {tiny.NAME} and {intent}",
            packed({META: {"model": tiny.NAME + text}, **header}),
            *([] if text else [READABLE]),
        )
        yield f"a description that is {intent}", described(text)
        yield f"other metadata called {intent}", packed({META: {**description, text: text}, **header}), HARMLESS
    for intent, value in {
        "a list": [],
        "a number": 1,
        "text": "x",
        "null": None,
        "nested": {"model": {"x": 1}},
        "numbers": {"model": 1},
    }.items():
        yield f"metadata that are {intent}", packed({META: value, **header}), HARMLESS
    yield "another model", packed({META: {"model": "tinypose_128x96"}, **header})
    yield "a description of 5 MB", described(json.dumps({**facts, "x": "y" * 5_000_000}))


@part
def _checksums():
    data = genuine()
    for position, altered in flipped(data, 400):
        yield f"a flipped bit at {position}", altered, HARMLESS
    place = data.index(CHECKSUM_KEY.encode()) + len(CHECKSUM_KEY) + 3
    digest = data[place : place + 64]
    others = [
        b"0" * 64,
        digest.upper(),
        digest[::-1],
        b"f" * 64,
        hashlib.sha256(data).hexdigest().encode(),
        b"\xff" * 64,
    ]
    for other in others:
        yield f"the checksum {other[:8]!r}...", data.replace(digest, other)
    for length in (0, 1, 63):
        short = data[8:].replace(digest, digest[:length].ljust(64)[:64])
        yield f"a checksum of {length} digits", data[:8] + short
    altered = data[:-4] + b"\0\0\x80?"
    yield "another weight under the old checksum", altered
    empty = {META: {CHECKSUM_KEY: ""}, **parts()[0]}
    yield "an empty checksum", packed(json.dumps(empty, separators=(",", ":")).encode())
    yield (
        "a checksum as a tensor's name",
        packed({**parts()[0], CHECKSUM_KEY: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}),
    )
