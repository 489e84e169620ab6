"""What ExecuTorch's XNNPACK backend is told: float16 weights, uint8 inputs, and which operators to keep.

Made for executorch 1.5.1: the context managers replace methods of the backend's serialiser.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib import import_module
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.fx import GraphModule


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

    def __init__(self) -> None:
        super().__init__()
        import_module("torch.ao.quantization.fx._decomposed")  # registers the operator

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.quantized_decomposed.dequantize_per_tensor(x, 1.0, 0, 0, 255, torch.uint8)


def make_partitioner() -> Any:
    """XNNPACK's partitioner, for which `to_edge_transform_and_lower` decomposes a program once instead of twice.

    ExecuTorch decomposes a second time if the partitioner keeps operators of some nodes only. This one reports that it
    keeps them everywhere, where XNNPACK takes all of the program's nodes with these operators.
    """
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    class Partitioner(XnnpackPartitioner):
        def ops_to_not_decompose(self, ep: Any) -> Any:
            kept, is_supported = super().ops_to_not_decompose(ep)
            graphs = [module.graph for module in ep.graph_module.modules() if isinstance(module, GraphModule)]
            nodes = [node for graph in graphs for node in graph.nodes if node.target in kept]
            everywhere = ep.dialect != "EDGE" and (is_supported is None or all(map(is_supported, nodes)))
            return kept, None if everywhere else is_supported

    return Partitioner()
