"""The few parts of the protobuf wire format that Paddle's files need (protobuf.dev/programming-guides/encoding)."""

from __future__ import annotations

from collections.abc import Iterator

from tinypose_torch.checkpoints.errors import CheckpointError
from tinypose_torch.checkpoints.limits import MAX_FIELDS


def as_message(value: int | memoryview) -> memoryview:
    """A field's value, which must be bytes."""
    if isinstance(value, int):
        raise CheckpointError("damaged protobuf: number where a message belongs")
    return value


def read_varint(data: memoryview, position: int) -> tuple[int, int]:
    """A variable-length integer and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise CheckpointError("truncated protobuf")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise CheckpointError("damaged protobuf: endless number")


def read_fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Fields of a message: number, and an integer or the bytes."""
    position = count = 0
    while position < len(data):
        count += 1
        if count > MAX_FIELDS:
            raise CheckpointError(f"protobuf message with more than {MAX_FIELDS} fields")
        key, position = read_varint(data, position)
        wire_type = key & 7
        if wire_type == 0:
            value, position = read_varint(data, position)
            yield key >> 3, value
            continue
        if wire_type == 2:
            size, position = read_varint(data, position)
        elif wire_type in (1, 5):
            size = 8 if wire_type == 1 else 4
        else:
            raise CheckpointError("not a protobuf file")
        if position + size > len(data):
            raise CheckpointError("truncated protobuf")
        yield key >> 3, data[position : position + size]
        position += size
