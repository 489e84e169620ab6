"""Deployed Paddle programs, in both of their formats: which parameters there are, and what is computed with them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tinypose_torch.checkpoints.errors import CheckpointError, plain, shown
from tinypose_torch.checkpoints.limits import MAX_DIMENSIONS, MAX_PROGRAM_BYTES
from tinypose_torch.checkpoints.protobuf import as_message, read_fields, read_varint

_DENSE_TENSOR = 7  # VarType.LOD_TENSOR


@dataclass
class Operation:
    """One operation of a program: type, inputs by role, first output, and its place among all operations."""

    kind: str
    inputs: dict[str, str]
    output: str
    index: int


@dataclass
class Program:
    """What is read of a program.

    Attributes:
        shapes: Parameter name to shape.
        operations: In order of execution.
    """

    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)


def read_program(data: bytes) -> Program:
    """Read a ``.pdmodel`` (protobuf) or ``.json`` program.

    Raises:
        CheckpointError: It is damaged, or not a program.
    """
    if len(data) > MAX_PROGRAM_BYTES:
        raise CheckpointError(f"program of {len(data)} bytes; at most {MAX_PROGRAM_BYTES} are accepted")
    try:
        program = _read_json(data) if data[:1] == b"{" else _read_protobuf(data)
    except CheckpointError:
        raise
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise CheckpointError(f"damaged program: {type(error).__name__}: {plain(error)}") from None
    if not program.shapes:
        raise CheckpointError("the program has no parameters")
    return program


def read_dimensions(description: memoryview) -> list[int]:
    """Field 2 of a TensorDesc: repeated varints, packed or not."""
    dimensions: list[int] = []
    for number, value in read_fields(description):
        if number == 2 and isinstance(value, int):
            dimensions.append(value)
        elif number == 2:
            position = 0
            while position < len(as_message(value)):
                dimension, position = read_varint(as_message(value), position)
                dimensions.append(dimension)
    return dimensions


def checked_shape(dimensions: Any) -> tuple[int, ...]:
    """A shape as the file declares it, if it can be one."""
    shape = tuple(dimensions[: MAX_DIMENSIONS + 1])
    if len(shape) > MAX_DIMENSIONS or not all(type(n) is int and 0 < n < 2**40 for n in shape):
        raise CheckpointError(f"tensor of shape {shown(shape)}")
    return shape


# --- the newer program format: JSON ---------------------------------------------------------------------------------

_JSON_ROLES = {
    "conv2d": ("x", "filter"),
    "depthwise_conv2d": ("x", "filter"),
    "batch_norm": ("x", "running_mean", "running_var", "weight", "bias"),
    "add": ("x", "y"),
    "reshape": ("x",),
}


def _read_json(data: bytes) -> Program:
    program = Program()
    names: dict[int, str] = {}  # value number to parameter name
    operations = json.loads(data)["program"]["regions"][0]["blocks"][0]["ops"]
    for index, op in enumerate(operations):
        if op["#"] == "p":
            name = op["A"][3]
            if not isinstance(name, str):
                raise CheckpointError("damaged program: parameter without a name")
            names[_value_number(op["O"])] = name
            program.shapes[name] = checked_shape(op["O"]["TT"]["D"][1])
            continue
        kind = op["#"].split(".", 1)[-1].rstrip("_")
        if kind not in _JSON_ROLES:
            continue
        inputs = {}
        for role, value in zip(_JSON_ROLES[kind], op["I"], strict=False):
            number = _value_number(value)
            inputs[role] = names.get(number, f"%{number}")
        program.operations.append(Operation(kind, inputs, f"%{_value_number(op['O'][0])}", index))
    return program


def _value_number(value: Any) -> int:
    number = value["%"]
    if type(number) is not int or not -(2**31) <= number < 2**31:
        raise CheckpointError(f"damaged program: value number {shown(number)}")
    return number


# --- the older program format: protobuf (framework.proto) -----------------------------------------------------------

_LEGACY_KINDS = {"elementwise_add": "add", "reshape2": "reshape"}
_LEGACY_ROLES = {
    "Input": "x",
    "X": "x",
    "Y": "y",
    "Filter": "filter",
    "Scale": "weight",
    "Bias": "bias",
    "Mean": "running_mean",
    "Variance": "running_var",
}
_LEGACY_OUTPUTS = ("Output", "Y", "Out")


def _read_protobuf(data: bytes) -> Program:
    program = Program()
    block = next((value for number, value in read_fields(memoryview(data)) if number == 1), None)
    if block is None:
        raise CheckpointError("not a Paddle program")
    index = 0
    for number, value in read_fields(as_message(block)):
        if number == 3:
            _read_variable(as_message(value), program)
        elif number == 4:
            _read_operation(as_message(value), program, index)
            index += 1
    return program


def _read_variable(data: memoryview, program: Program) -> None:
    name, kind, persistable = "", None, False
    shape: tuple[int, ...] = ()
    for number, value in read_fields(data):
        if number == 1:
            name = str(as_message(value), "utf-8")
        elif number == 3:
            persistable = bool(value)
        elif number == 2:
            for type_number, type_value in read_fields(as_message(value)):
                if type_number == 1:
                    kind = type_value
                elif type_number == 3:
                    tensor = next((v for n, v in read_fields(as_message(type_value)) if n == 1), 0)
                    shape = tuple(read_dimensions(as_message(tensor)))
    if persistable and kind == _DENSE_TENSOR:
        program.shapes[name] = checked_shape(shape)


def _read_operation(data: memoryview, program: Program, index: int) -> None:
    kind, inputs, output = "", {}, ""
    for number, value in read_fields(data):
        if number == 3:
            kind = str(as_message(value), "utf-8")
        elif number in (1, 2):
            texts: dict[int, str] = {}  # 1: the slot's name; 2: the first of its arguments
            for field_number, text in read_fields(as_message(value)):
                if field_number not in texts:
                    texts[field_number] = str(as_message(text), "utf-8")
            slot, argument = texts.get(1, ""), texts.get(2)
            if number == 1 and slot in _LEGACY_ROLES and argument is not None:
                inputs[_LEGACY_ROLES[slot]] = argument
            elif number == 2 and slot in _LEGACY_OUTPUTS and argument is not None:
                output = argument
    kind = _LEGACY_KINDS.get(kind, kind)
    if kind in _JSON_ROLES:
        program.operations.append(Operation(kind, inputs, output, index))
