"""Reader of deployed Paddle models: a program (``.pdmodel`` or ``.json``) and its tensors (``.pdiparams``).

The tensors' file is a plain concatenation, sorted by parameter name, without names. The program gives names and
shapes. What a parameter is called in the state dict stands in ``.pdiparams.info`` where the exporter wrote one.
Where not, convolutions are identified by the running number in their name, which counts the layers in the order of
their creation, and biases and batch norms by following the data flow.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinypose_torch.checkpoints.errors import CheckpointError, shown
from tinypose_torch.checkpoints.limits import MAX_TENSORS
from tinypose_torch.checkpoints.paddle_program import Operation, Program, checked_shape, read_dimensions, read_program
from tinypose_torch.checkpoints.pickle_reader import PickleReader
from tinypose_torch.checkpoints.protobuf import read_fields

CONFIG_NAME = "infer_cfg.yml"

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
_CONV_OPS = ("conv2d", "depthwise_conv2d")
_NORM_ROLES = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class DeployedFiles:
    """Contents of a deployed model's files.

    Attributes:
        program: The ``.pdmodel`` or ``.json``.
        params: The ``.pdiparams``.
        info: The ``.pdiparams.info``, if there is one.
        config: The ``infer_cfg.yml``, if there is one.
        names: What the folder, and the archive around it, are called. The exporter names the folder after the model.
    """

    program: bytes
    params: bytes
    info: bytes | None
    config: bytes | None
    names: tuple[str, ...]


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
            raise CheckpointError(f"the .info file does not name parameter {shown(missing[0])}")
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
    parsed = read_program(program)
    names = sorted(parsed.shapes, key=lambda name: name.encode("utf-8", "surrogatepass"))
    arrays = read_tensor_stream(params)
    if len(arrays) != len(names):
        raise CheckpointError(f"the program has {len(names)} parameters, the .pdiparams file {len(arrays)} tensors")
    tensors = dict(zip(names, arrays, strict=True))
    for name, array in tensors.items():
        if array.shape != parsed.shapes[name]:
            raise CheckpointError(
                f"parameter {shown(name)} is {parsed.shapes[name]} in the program, {array.shape} in the .pdiparams file"
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
        if len(arrays) == MAX_TENSORS:
            raise CheckpointError(f"more than {MAX_TENSORS} tensors")
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
    """The convolutions in the order of their creation, with the biases and batch norms that follow them.

    Raises:
        CheckpointError: The program's operations lack inputs, or its convolutions running numbers.
    """
    try:
        return _link_convolutions(program)
    except KeyError as error:
        raise CheckpointError(f"damaged program: an operation lacks {error}") from None


def _link_convolutions(program: Program) -> list[Convolution]:
    consumers: dict[str, list[Operation]] = {}
    for operation in program.operations:
        for value in operation.inputs.values():
            consumers.setdefault(value, []).append(operation)
    source = {op.output: op.inputs["x"] for op in program.operations if op.kind == "reshape"}
    numbered: dict[int, Convolution] = {}
    for operation in program.operations:
        if operation.kind not in _CONV_OPS:
            continue
        convolution = Convolution(_parameter(operation, "filter", program), operation)
        match = re.match(r"conv2d_(\d{1,9})\.w_0", convolution.weight)
        if match is None or int(match[1]) in numbered:
            raise CheckpointError(
                f"cannot tell which layer {shown(convolution.weight)} is; export with a .pdiparams.info, "
                "or convert the .pdparams"
            )
        numbered[int(match[1])] = convolution
        for consumer in consumers.pop(operation.output, []):
            if consumer.kind == "batch_norm":
                convolution.norm = {role: _parameter(consumer, role, program) for role in _NORM_ROLES}
                convolution.last = consumer
            elif consumer.kind == "add":
                for value in consumer.inputs.values():
                    if source.get(value, value) in program.shapes:
                        convolution.bias = source.get(value, value)
                        convolution.last = consumer
    return [numbered[number] for number in sorted(numbered)]


def _parameter(operation: Operation, role: str, program: Program) -> str:
    name = operation.inputs[role]
    if name not in program.shapes:
        raise CheckpointError(f"damaged program: the {role} {shown(name)} of a {operation.kind} is no parameter")
    return name


def _read_info(info: bytes) -> dict[str, str]:
    """Parameter name to state-dict name. Temporaries are listed too, without one."""
    table = PickleReader(info, {}).read()
    try:
        rows = {name: row for name, row in table.items() if type(row) is dict}
        names = {name: row["structured_name"] for name, row in rows.items() if "structured_name" in row}
    except (AttributeError, KeyError, TypeError):
        raise CheckpointError("damaged .pdiparams.info") from None
    if not all(isinstance(text, str) for pair in names.items() for text in pair):
        raise CheckpointError("damaged .pdiparams.info")
    return names


def _tensor_description(data: memoryview) -> tuple[np.dtype[Any], tuple[int, ...]]:
    codes = [value for number, value in read_fields(data) if number == 1]
    if len(codes) != 1 or codes[0] not in _DTYPES:
        raise CheckpointError(f"tensor of unknown data type {shown(codes)}")
    return np.dtype(_DTYPES[int(codes[0])]), checked_shape(read_dimensions(data))
