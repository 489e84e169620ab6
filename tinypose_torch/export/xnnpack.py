"""What ExecuTorch gives to XNNPACK, improved before it is serialised: fewer moves of data, weights in float16.

ExecuTorch keeps tensors channels first wherever a reshape or a permutation looks at them, so that code which is written
for channels last, `permute, reshape, permute`, is surrounded by transpositions that undo each other. In the graph that
the backend serialises, shapes are those of memory, and the superfluous ones can be seen and left out.

Made for executorch 1.5.1: it works on the serialiser's own structures.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

_INPUTS = ("input_id", "input1_id", "input2_id", "input3_id", "input4_id", "input5_id")
_NONE = 0xFFFFFFFF
_EXTERNAL_OUTPUT = 2


@contextlib.contextmanager
def fewer_moves() -> Iterator[None]:
    """While open, graphs are reduced before XNNPACK's backend serialises them."""
    from executorch.backends.xnnpack import xnnpack_preprocess

    serialise = xnnpack_preprocess.serialize_xnnpack_binary

    def reduce_and_serialise(graph: Any, constants: Any) -> bytes:
        MovesReducer(graph).run()
        return serialise(graph, constants)

    xnnpack_preprocess.serialize_xnnpack_binary = reduce_and_serialise
    try:
        yield
    finally:
        xnnpack_preprocess.serialize_xnnpack_binary = serialise


@contextlib.contextmanager
def half_weights() -> Iterator[None]:
    """While open, float16 convolutions keep their weights in float16, where ExecuTorch would widen them to float32."""
    from executorch.backends.xnnpack.operators.node_visitor import NodeVisitor

    define = NodeVisitor.define_tensor

    def define_as_it_is(self: Any, *arguments: Any, **options: Any) -> None:
        options.pop("force_fp32", None)
        define(self, *arguments, **options)

    NodeVisitor.define_tensor = define_as_it_is
    try:
        yield
    finally:
        NodeVisitor.define_tensor = define


@contextlib.contextmanager
def uint8_inputs() -> Iterator[None]:
    """While open, XNNPACK takes `FromUint8`: it converts uint8 inputs itself, six times as fast as ExecuTorch does."""
    from executorch.backends.xnnpack.operators.node_visitor import NodeVisitor
    from executorch.backends.xnnpack.partition.config.xnnpack_config import XNNPartitionerConfig
    from executorch.backends.xnnpack.serialization.xnnpack_graph_schema import XNNDatatype

    check, serialised = XNNPartitionerConfig._check_node_has_valid_dtype, NodeVisitor.get_serialized_dtype

    def accept_uint8(self: Any, node: Any) -> bool:
        is_conversion = getattr(node.target, "__name__", "").endswith("dequantize_per_tensor.default")
        return (is_conversion and node.args[0].meta["val"].dtype == torch.uint8) or check(self, node)

    def serialise_uint8(self: Any, quant_params: Any, *arguments: Any, **options: Any) -> Any:
        if quant_params is not None and quant_params.dtype == torch.uint8:
            return XNNDatatype.xnn_datatype_quint8
        return serialised(self, quant_params, *arguments, **options)

    with (
        mock.patch.object(XNNPartitionerConfig, "_check_node_has_valid_dtype", accept_uint8),
        mock.patch.object(NodeVisitor, "get_serialized_dtype", serialise_uint8),
    ):
        yield


class FromUint8(nn.Module):
    """uint8 to float32, in the operator that XNNPACK takes."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.quantized_decomposed.dequantize_per_tensor(x, 1.0, 0, 0, 255, torch.uint8)


class MovesReducer:
    """Composes transpositions and reshapes of an XNNGraph, and pushes them past slices and elementwise operations."""

    def __init__(self, graph: Any) -> None:
        from executorch.backends.xnnpack.serialization import xnnpack_graph_schema as schema

        self.schema = schema
        self.graph = graph
        self.values = {_tensor(value).id_out: value for value in graph.xvalues}
        self.kept = {number for number, value in self.values.items() if _tensor(value).flags & _EXTERNAL_OUTPUT}

    def run(self) -> None:
        """Change the graph until nothing can be left out any more."""
        while self._compose() or self._push_down():
            pass

    def _compose(self) -> bool:
        """One pass: every transposition or reshape takes its producer's input where that is one too."""
        schema, changed = self.schema, False
        producers = self._producers()
        replaced: dict[int, int] = {}
        for node in self.graph.xnodes:
            operation = node.xnode_union
            for name, number in _inputs(operation):
                setattr(operation, name, replaced.get(number, number))
            if not isinstance(operation, (schema.XNNStaticTranspose, schema.XNNStaticReshape)):
                continue
            before = producers.get(operation.input_id)
            if before is not None and type(before) is type(operation):
                if isinstance(operation, schema.XNNStaticTranspose):
                    operation.perm = [before.perm[axis] for axis in operation.perm]
                operation.input_id, changed = before.input_id, True
            if isinstance(operation, schema.XNNStaticTranspose) and self._moves_nothing(operation):
                node.xnode_union = operation = self._reshape(operation.input_id, operation.output_id)
                producers[operation.output_id] = operation
                changed = True
            same = isinstance(operation, schema.XNNStaticReshape) and self._shape(operation.input_id) == list(
                operation.new_shape
            )
            if same and operation.output_id not in self.kept:
                replaced[operation.output_id] = operation.input_id
                changed = True
        self._remove_unused()
        return changed

    def _push_down(self) -> bool:
        """One pass: operations that take transposed inputs work on the inputs themselves and transpose what they give."""
        changed = False
        producers = self._producers()
        nodes = []
        for node in self.graph.xnodes:
            operation = node.xnode_union
            permutation = self._common_permutation(operation, producers)
            if permutation is None or operation.output_id in self.kept:
                nodes.append(node)
                continue
            changed = True
            for name, number in _inputs(operation):
                before = producers.get(number)
                if isinstance(before, self.schema.XNNStaticTranspose):
                    setattr(operation, name, before.input_id)
                else:
                    vector = self._new_value(number, _undone(self._shape(number), permutation))
                    reshape = self._reshape(number, vector)
                    nodes.append(self.schema.XNode(xnode_union=reshape, debug_handle=node.debug_handle))
                    setattr(operation, name, vector)
            nodes.append(node)
            if isinstance(operation, self.schema.XNNStaticSlice):
                operation.offsets = _undone(operation.offsets, permutation)
                operation.sizes = _undone(operation.sizes, permutation)
            output = operation.output_id
            operation.output_id = self._new_value(output, _undone(self._shape(output), permutation))
            transpose = self.schema.XNNStaticTranspose(
                num_dims=len(permutation), perm=permutation, input_id=operation.output_id, output_id=output, flags=0
            )
            nodes.append(self.schema.XNode(xnode_union=transpose, debug_handle=node.debug_handle))
        self.graph.xnodes = nodes
        return changed

    def _common_permutation(self, operation: Any, producers: dict[int, Any]) -> list[int] | None:
        """The permutation that all inputs of a slice, a clamp or an elementwise operation went through.

        Inputs with a single dimension above 1 go along with any: they lie in memory in one way only.
        """
        schema = self.schema
        if not isinstance(
            operation,
            (schema.XNNStaticSlice, schema.XNNClamp, schema.XNNHardswish, schema.XNNAdd, schema.XNNMultiply),
        ):
            return None
        common: list[int] | None = None
        for _, number in _inputs(operation):
            before = producers.get(number)
            if isinstance(before, schema.XNNStaticTranspose):
                if common not in (None, list(before.perm)):
                    return None
                common = list(before.perm)
        if common is None:
            return None
        for _, number in _inputs(operation):
            transposed = isinstance(producers.get(number), schema.XNNStaticTranspose)
            if not transposed and not self._is_vector(number, len(common)):
                return None
        return common

    def _is_vector(self, number: int, rank: int) -> bool:
        """Whether a value has at most one dimension above 1, written with so many."""
        shape = self._shape(number)
        return len(shape) == rank and max(shape) == math.prod(shape)

    def _moves_nothing(self, transpose: Any) -> bool:
        """Whether a transposition leaves memory as it is: it moves dimensions of size 1 only."""
        shape = self._shape(transpose.input_id)
        moved = [axis for axis in transpose.perm if shape[axis] != 1]
        return moved == sorted(moved)

    def _reshape(self, source: int, target: int) -> Any:
        shape = tuple(self._shape(target))
        return self.schema.XNNStaticReshape(
            num_dims=len(shape), new_shape=shape, input_id=source, output_id=target, flags=0
        )

    def _new_value(self, like: int, shape: list[int]) -> int:
        """An intermediate value of the same type as another."""
        value = copy.deepcopy(self.values[like])
        number = max(self.values) + 1
        tensor = _tensor(value)
        tensor.id_out, tensor.dims, tensor.num_dims = number, shape, len(shape)
        tensor.constant_buffer_idx, tensor.external_id, tensor.flags = 0, _NONE, 0
        self.graph.xvalues.append(value)
        self.values[number] = value
        return number

    def _remove_unused(self) -> None:
        used = {number for node in self.graph.xnodes for _, number in _inputs(node.xnode_union)} | self.kept
        self.graph.xnodes = [node for node in self.graph.xnodes if node.xnode_union.output_id in used]

    def _producers(self) -> dict[int, Any]:
        return {node.xnode_union.output_id: node.xnode_union for node in self.graph.xnodes}

    def _shape(self, number: int) -> list[int]:
        return list(_tensor(self.values[number]).dims)


def _tensor(value: Any) -> Any:
    """The tensor of a value, which holds it directly or beside its quantisation."""
    union = value.xvalue_union
    return getattr(union, "tensor_value", union)


def _inputs(operation: Any) -> list[tuple[str, int]]:
    """Names and numbers of an operation's tensor inputs, weights aside."""
    found = [(name, getattr(operation, name)) for name in _INPUTS if hasattr(operation, name)]
    return [(name, number) for name, number in found if number != _NONE]


def _undone(values: list[int], permutation: list[int]) -> list[int]:
    """Values per dimension as they were before a transposition."""
    before = [0] * len(values)
    for value, axis in zip(values, permutation, strict=True):
        before[axis] = value
    return before
