"""Skips ExecuTorch's passes that have nothing to do in a graph; the exported file is the same, byte for byte.

Each pass traces the whole graph, even where it changes nothing. Skipping them takes 28 % off the CPU time of
`tinypose export tinypose_128x96`. Made for torch 2.15.0 and executorch 1.5.1: it replaces torch's `PassBase.__call__` and
names ExecuTorch's passes. A pass that another version adds or renames runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, cast
from unittest import mock

import torch
from torch.fx import GraphModule, Node
from torch.fx.passes.infra.pass_base import PassBase, PassResult

_MAX_JOINED = 5  # tensors that XNNPACK concatenates at a time


@contextlib.contextmanager
def skip_idle_passes() -> Iterator[None]:
    """While open, ExecuTorch and its XNNPACK backend skip passes that do not concern any node of a graph."""
    run = PassBase.__call__

    def run_if_needed(pass_: PassBase, graph_module: GraphModule) -> PassResult | None:
        concerns = _CONCERNS.get(type(pass_).__name__)
        if concerns is not None and not any(map(concerns, graph_module.graph.nodes)):
            return PassResult(graph_module, False)
        return run(pass_, graph_module)

    with mock.patch.object(PassBase, "__call__", run_if_needed):
        yield


@contextlib.contextmanager
def skip_delegated_shapes() -> Iterator[None]:
    """While open, the shapes of a delegate's outputs are read from it.

    ExecuTorch runs the whole network on fake tensors to learn them, several times for each one in a `torch.cond`.
    """
    module = import_module("torch._higher_order_ops.executorch_call_delegate")  # whose name is also the operator's

    def outputs_of(lowered: Any, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        (output,) = lowered.original_module.graph.find_nodes(op="output")
        values = [node.meta["val"] for node in output.args[0]]
        return tuple(inputs[0].new_empty(value.shape, dtype=value.dtype) for value in values)

    with mock.patch.object(module, "call_delegate_cpu", outputs_of):
        yield


def _calls(*operators: str) -> Callable[[Node], bool]:
    return lambda node: getattr(node.target, "__name__", "") in operators


def _is_symbolic(node: Node) -> bool:
    return isinstance(node.meta.get("val"), (torch.SymInt, torch.SymFloat, torch.SymBool))


def _is_transposition(node: Node) -> bool:
    return node.target == torch.ops.aten.t.default


def _is_view(node: Node) -> bool:
    return bool(getattr(node.target, "is_view", False))


def _is_constant(node: Node) -> bool:
    return node.op == "get_attr" or (node.op == "call_function" and not node.all_input_nodes)


def _has_memory_format(node: Node) -> bool:
    from executorch.exir.passes.dim_order_ops_registry import DimOrderOpsMap, MemoryFormatOpsMap

    return node.target in DimOrderOpsMap or node.target in MemoryFormatOpsMap


def _needs_usual_layout(node: Node) -> bool:
    from executorch.exir.passes import LegalizePortableDimOrderPass

    return node.target in LegalizePortableDimOrderPass._target_ops


def _joins_many(node: Node) -> bool:
    return _calls("aten.cat.default")(node) and len(cast(list[Node], node.args[0])) > _MAX_JOINED


def _convolves_in_one_dimension(node: Node) -> bool:
    return _calls("aten.convolution.default")(node) and cast(Node, node.args[1]).meta["val"].ndim == 3


def _never(node: Node) -> bool:
    return False


# Whether a pass of the name might change a node.
_CONCERNS: dict[str, Callable[[Node], bool]] = {
    "NormalizeTransposePass": _is_transposition,
    "ReplaceBrokenOpsWithFunctionalOpsPass": _is_view,
    "SymToTensorPass": _is_symbolic,
    "DimOrderOpsRevertPass": _has_memory_format,
    "LegalizePortableDimOrderPass": _needs_usual_layout,
    "ConstPropPass": _is_constant,
    "DecomposeConcatenate": _joins_many,
    "Conv1dUnsqueezePass": _convolves_in_one_dimension,
    "PropagateCustomMetaPass": _calls("quantized_decomposed.dequantize_per_tensor.default"),
    "ConvertToLinearPass": _calls("aten.mm.default", "aten.addmm.default", "aten.bmm.default"),
    "ConvertToSDPAPass": _calls("aten.bmm.default"),
    "RemoveGetItemPass": _calls("getitem"),
    "FuseBatchNormPass": _calls("aten._native_batch_norm_legit_no_training.default"),
    "DecomposeBatchNorm": _calls("aten._native_batch_norm_legit_no_training.default"),
    "PReLUReshapePass": _calls("aten._prelu_kernel.default"),
    "ConvertToUpsampleBilinear2d": _never,  # replaces the operator by itself, and exports four graphs for it
}
