"""Attacks on protobuf: every field of a message replaced, doubled and removed, and numbers and lengths that lie.

A message is a list of (number, value); a value is an integer, bytes, or a list: a message itself.
"""

import functools
from collections.abc import Iterator
from typing import Any

from .attack import READABLE, part
from .texts import TEXTS

Message = list[tuple[int, Any]]


def varint(number: int) -> bytes:
    number %= 1 << 64
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


class Raw(bytes):
    """Bytes that stand for a whole field, with its key."""


def encoded(message: Message) -> bytes:
    out = bytearray()
    for number, value in message:
        if isinstance(value, Raw):
            out += value
        elif isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            raw = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
            raw = raw if isinstance(raw, bytes) else encoded(raw)
            out += varint(number << 3 | 2) + varint(len(raw)) + raw
    return bytes(out)


def lies(number: int, value: Any) -> dict[str, bytes]:
    """A field in ways that the encoding does not allow, or that no program writes."""
    key, content = varint(number << 3 | 2), encoded([(1, value)])[1:]
    return {
        "a length of 2^32": key + varint(1 << 32) + b"x",
        "a length of 2^63": key + varint(1 << 63) + b"x",
        "a length of 2^64 - 1": key + b"\xff" * 9 + b"\x01",
        "a length of eleven bytes": key + b"\xff" * 10 + b"\x01",
        "a number of eleven bytes": varint(number << 3) + b"\xff" * 10 + b"\x01",
        "a number with zeros behind it": varint(number << 3) + b"\x80" * 8 + b"\x00",
        "a key of 2^64 - 1": b"\xff" * 9 + b"\x01" + content,
        "eight bytes": varint(number << 3 | 1) + b"\xff" * 8,
        "four bytes": varint(number << 3 | 5) + b"\xff" * 4,
        "the start of a group": varint(number << 3 | 3) + content,
        "the end of a group": varint(number << 3 | 4),
        "wire type 6": varint(number << 3 | 6) + content,
        "wire type 7": varint(number << 3 | 7) + content,
        "field 0": b"\x02" + content,
        "a key cut short": b"\x80",
    }


@functools.cache
def _others() -> dict[str, Any]:
    numbers = {"zero": 0, "one": 1, "minus one": -1, "2^31": 1 << 31, "2^63": 1 << 63, "2^40": 1 << 40, "255": 255}
    return {**numbers, "no bytes": b"", "a byte": b"\xff", "not UTF-8": b"\xff\xfe\xfd", "ten bytes": b"x" * 10}


@functools.cache
def _large() -> dict[str, bytes]:
    deep = b""
    for _ in range(300):
        deep = encoded([(1, deep)])
    return {
        "100,000 bytes": b"x" * 100_000,
        "300 messages inside each other": deep,
        "100,000 fields": encoded([(9, 0)] * 100_000),
        "10,000 messages": encoded([(1, b"")] * 10_000),
    }


def _paths(message: Message, path: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    for index, (_, value) in enumerate(message):
        yield (*path, index)
        if isinstance(value, list):
            yield from _paths(value, (*path, index))


def _with(message: Message, path: tuple[int, ...], fields: Message) -> Message:
    """A message with other fields in place of one."""
    index, *rest = path
    if rest:
        number, inner = message[index]
        fields = [(number, _with(inner, tuple(rest), fields))]
    return [*message[:index], *fields, *message[index + 1 :]]


def _at(message: Message, path: tuple[int, ...]) -> tuple[int, Any]:
    *outer, last = path
    for index in outer:
        message = message[index][1]
    return message[last]


@part
def attacks(message: Message, texts: int = 4):
    """Altered messages: intent, bytes, and that they may be read as something else.

    Args:
        texts: In how many places of text those go that control a terminal.
    """
    for count, path in enumerate(_paths(message)):
        number, value = _at(message, path)
        where = f"{'.'.join(map(str, path))} (field {number})"
        variants: dict[str, Message] = {
            "left out": [],
            "twice": [(number, value)] * 2,
            "of another number": [(number + 1, value)],
        }
        others = {**_others(), **(_large() if count % 10 == 0 else {})}
        variants |= {intent: [(number, other)] for intent, other in others.items()}
        variants |= {intent: [(0, Raw(raw))] for intent, raw in lies(number, value).items()}
        if isinstance(value, str) and texts:
            texts -= 1
            variants |= {intent: [(number, text)] for intent, text in TEXTS.items()}
        for intent, fields in variants.items():
            yield f"{where}: {intent}", encoded(_with(message, path, fields)), READABLE
    data = encoded(message)
    for cut in range(0, len(data), max(1, len(data) // 60)):
        yield f"cut after {cut} bytes", data[:cut], READABLE
    yield "a field behind it", data + b"\x08\x01", READABLE
    yield "a byte behind it", data + b"\x0a", READABLE
