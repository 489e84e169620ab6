"""Reader of deployed Paddle models: a program (``.pdmodel`` or ``.json``) and its tensors (``.pdiparams``).

The tensors' file is a plain concatenation, sorted by parameter name, without names. The program gives names and
shapes. What a parameter is called in the state dict stands in ``.pdiparams.info`` where the exporter wrote one.
Where not, convolutions are identified by the running number in their name, which counts the layers in the order of
their creation, and biases and batch norms by following the data flow.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinypose_torch.checkpoints.errors import CheckpointError
from tinypose_torch.checkpoints.pickle_reader import PickleReader

_DTYPES = {
    0: "b1",
    1: "<i2",
    2: "<i4",
    3: "<i8",
    4: "<f2",
    5: "<f4",
    6: "<f8",
    20: "u1",
    21: "i1",
}
_DENSE_TENSOR = 7  # VarType.LOD_TENSOR
_CONV_OPS = ("conv2d", "depthwise_conv2d")
_NORM_ROLES = ("weight", "bias", "running_mean", "running_var")


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


@dataclass
class Convolution:
    """A convolution with what follows it: names of their parameters, and the last of the operations."""

    weight: str
    last: Operation
    bias: str | None = None
    norm: dict[str, str] = field(default_factory=dict)


@dataclass
class DeployedModel:
    """Tensors of a deployed model, under the exporter's parameter names.

    Attributes:
        tensors: Parameter name to array.
        structured_names: Parameter name to state-dict name; empty without a ``.pdiparams.info``.
        program: The program they came with.
    """

    tensors: dict[str, np.ndarray]
    structured_names: dict[str, str]
    program: Program

    def state_dict(self) -> dict[str, np.ndarray]:
        """The tensors under PaddleDetection's state-dict names; needs `structured_names`."""
        missing = [name for name in self.tensors if name not in self.structured_names]
        if missing:
            raise CheckpointError(f"the .info file does not name parameter {missing[0]!r}")
        return {self.structured_names[name]: array for name, array in self.tensors.items()}


def read_deployed(program: bytes, params: bytes, info: bytes | None = None) -> DeployedModel:
    """Read a deployed model.

    Args:
        program: Contents of the ``.pdmodel`` or ``.json``.
        params: Contents of the ``.pdiparams``.
        info: Contents of the ``.pdiparams.info``, if there is one.

    Raises:
        CheckpointError: One of them is damaged, or they do not belong together.
    """
    try:
        parsed = _read_json_program(program) if program[:1] == b"{" else _read_protobuf_program(program)
    except (ArithmeticError, LookupError, RecursionError, StopIteration, TypeError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"damaged program: {type(error).__name__}: {error}") from None
    if not parsed.shapes:
        raise CheckpointError("the program has no parameters")
    names = sorted(parsed.shapes, key=lambda name: name.encode())
    arrays = read_tensor_stream(params)
    if len(arrays) != len(names):
        raise CheckpointError(f"the program has {len(names)} parameters, the .pdiparams file {len(arrays)} tensors")
    tensors = dict(zip(names, arrays, strict=True))
    for name, array in tensors.items():
        if array.shape != parsed.shapes[name]:
            raise CheckpointError(
                f"parameter {name!r} is {parsed.shapes[name]} in the program, {array.shape} in the .pdiparams file"
            )
    return DeployedModel(tensors, _read_info(info) if info is not None else {}, parsed)


def read_tensor_stream(data: bytes) -> list[np.ndarray]:
    """All tensors of a ``.pdiparams`` file, in file order, as views of its bytes."""
    view = memoryview(data)
    position = 0
    arrays: list[np.ndarray] = []

    def take(size: int) -> memoryview:
        nonlocal position
        if size < 0 or position + size > len(view):
            raise CheckpointError(
                f"truncated .pdiparams: tensor {len(arrays)} declares {size} bytes at {position} of {len(view)}"
            )
        position += size
        return view[position - size : position]

    while position < len(view):
        version, lod_levels = struct.unpack("<IQ", take(12))
        if version != 0 or lod_levels > 16:
            raise CheckpointError(f"not a .pdiparams file: bad tensor header at byte {position - 12}")
        for _ in range(lod_levels):
            take(struct.unpack("<Q", take(8))[0])
        version, descriptor_size = struct.unpack("<Ii", take(8))
        if version != 0 or not 0 < descriptor_size < 1000:
            raise CheckpointError(f"not a .pdiparams file: bad tensor header at byte {position - 8}")
        dtype, shape = _tensor_description(take(descriptor_size))
        size = dtype.itemsize
        for n in shape:
            size *= n
        arrays.append(np.frombuffer(take(size), dtype).reshape(shape))
    return arrays


def link_convolutions(program: Program) -> list[Convolution]:
    """The convolutions in the order of their creation, with the biases and batch norms that follow them."""
    consumers: dict[str, list[Operation]] = {}
    for operation in program.operations:
        for value in operation.inputs.values():
            consumers.setdefault(value, []).append(operation)
    source = {op.output: op.inputs["x"] for op in program.operations if op.kind == "reshape"}
    numbered: dict[int, Convolution] = {}
    for operation in program.operations:
        if operation.kind not in _CONV_OPS:
            continue
        convolution = Convolution(operation.inputs["filter"], operation)
        match = re.match(r"conv2d_(\d+)\.w_0", convolution.weight)
        if match is None or int(match[1]) in numbered:
            raise CheckpointError(
                f"cannot tell which layer {convolution.weight!r} is; export with a .pdiparams.info, "
                "or convert the .pdparams"
            )
        numbered[int(match[1])] = convolution
        for consumer in consumers.get(operation.output, []):
            if consumer.kind == "batch_norm":
                convolution.norm = {role: consumer.inputs[role] for role in _NORM_ROLES}
                convolution.last = consumer
            elif consumer.kind == "add":
                for value in consumer.inputs.values():
                    if source.get(value, value) in program.shapes:
                        convolution.bias = source.get(value, value)
                        convolution.last = consumer
    return [numbered[number] for number in sorted(numbered)]


def _read_info(info: bytes) -> dict[str, str]:
    """Parameter name to state-dict name. Temporaries are listed too, without one."""
    table = PickleReader(info, {}).read()
    try:
        names = {name: row["structured_name"] for name, row in table.items() if "structured_name" in row}
    except (AttributeError, KeyError, TypeError):
        raise CheckpointError("damaged .pdiparams.info") from None
    if not all(isinstance(text, str) for pair in names.items() for text in pair):
        raise CheckpointError("damaged .pdiparams.info")
    return names


# --- the newer program format: JSON ---------------------------------------------------------------------------------

_JSON_ROLES = {
    "conv2d": ("x", "filter"),
    "depthwise_conv2d": ("x", "filter"),
    "batch_norm": ("x", "running_mean", "running_var", "weight", "bias"),
    "add": ("x", "y"),
    "reshape": ("x",),
}


def _read_json_program(data: bytes) -> Program:
    program = Program()
    names: dict[int, str] = {}  # value number to parameter name
    operations = json.loads(data)["program"]["regions"][0]["blocks"][0]["ops"]
    for index, op in enumerate(operations):
        if op["#"] == "p":
            name = op["A"][3]
            names[op["O"]["%"]] = name
            program.shapes[name] = _checked_shape(op["O"]["TT"]["D"][1])
            continue
        kind = op["#"].split(".", 1)[-1].rstrip("_")
        if kind not in _JSON_ROLES:
            continue
        values = [names.get(value["%"], f"%{value['%']}") for value in op["I"]]
        inputs = dict(zip(_JSON_ROLES[kind], values, strict=False))
        program.operations.append(Operation(kind, inputs, f"%{op['O'][0]['%']}", index))
    return program


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


def _read_protobuf_program(data: bytes) -> Program:
    program = Program()
    blocks = [value for number, value in _fields(memoryview(data)) if number == 1]
    if not blocks:
        raise CheckpointError("not a Paddle program")
    index = 0
    for number, value in _fields(_message(blocks[0])):
        if number == 3:
            _read_variable(_message(value), program)
        elif number == 4:
            _read_operation(_message(value), program, index)
            index += 1
    return program


def _read_variable(data: memoryview, program: Program) -> None:
    name, kind, persistable = "", None, False
    shape: tuple[int, ...] = ()
    for number, value in _fields(data):
        if number == 1:
            name = str(_message(value), "utf-8")
        elif number == 3:
            persistable = bool(value)
        elif number == 2:
            for type_number, type_value in _fields(_message(value)):
                if type_number == 1:
                    kind = type_value
                elif type_number == 3:
                    tensor = next(v for n, v in _fields(_message(type_value)) if n == 1)
                    shape = tuple(_dimensions(_message(tensor)))
    if persistable and kind == _DENSE_TENSOR:
        program.shapes[name] = _checked_shape(shape)


def _read_operation(data: memoryview, program: Program, index: int) -> None:
    kind, inputs, output = "", {}, ""
    for number, value in _fields(data):
        if number == 3:
            kind = str(_message(value), "utf-8")
        elif number in (1, 2):
            texts = [(n, str(_message(v), "utf-8")) for n, v in _fields(_message(value))]
            slot = next((text for n, text in texts if n == 1), "")
            arguments = [text for n, text in texts if n == 2]
            if number == 1 and slot in _LEGACY_ROLES and arguments:
                inputs[_LEGACY_ROLES[slot]] = arguments[0]
            elif number == 2 and slot in _LEGACY_OUTPUTS and arguments:
                output = arguments[0]
    kind = _LEGACY_KINDS.get(kind, kind)
    if kind in _JSON_ROLES:
        program.operations.append(Operation(kind, inputs, output, index))


def _tensor_description(data: memoryview) -> tuple[np.dtype[Any], tuple[int, ...]]:
    codes = [value for number, value in _fields(data) if number == 1]
    if len(codes) != 1 or codes[0] not in _DTYPES:
        raise CheckpointError(f"tensor of unknown data type {codes}")
    return np.dtype(_DTYPES[int(codes[0])]), _checked_shape(_dimensions(data))


def _dimensions(description: memoryview) -> list[int]:
    """Field 2 of a TensorDesc: repeated varints, packed or not."""
    dimensions: list[int] = []
    for number, value in _fields(description):
        if number == 2 and isinstance(value, int):
            dimensions.append(value)
        elif number == 2:
            position = 0
            while position < len(_message(value)):
                dimension, position = _varint(_message(value), position)
                dimensions.append(dimension)
    return dimensions


def _checked_shape(dimensions: Any) -> tuple[int, ...]:
    shape = tuple(dimensions)
    if len(shape) > 8 or not all(type(n) is int and 0 < n < 2**40 for n in shape):
        raise CheckpointError(f"tensor of shape {shape}")
    return shape


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise CheckpointError("damaged protobuf: number where a message belongs")
    return value


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise CheckpointError("damaged protobuf: endless number")


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Fields of a protobuf message: number, and an integer or the bytes (protobuf.dev/programming-guides/encoding)."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        wire_type = key & 7
        if wire_type == 0:
            value, position = _varint(data, position)
            yield key >> 3, value
            continue
        if wire_type == 2:
            size, position = _varint(data, position)
        elif wire_type in (1, 5):
            size = 8 if wire_type == 1 else 4
        else:
            raise CheckpointError("not a protobuf file")
        if position + size > len(data):
            raise CheckpointError("truncated protobuf")
        yield key >> 3, data[position : position + size]
        position += size
