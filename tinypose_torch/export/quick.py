"""Exporters without the work that leads to nothing; what they write is the same, byte for byte.

Made for torch 2.15.0, executorch 1.5.1 and onnxscript 0.7: it replaces functions of theirs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, cast
from unittest import mock

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import ExportGraphSignature
from torch.fx import GraphModule, Node
from torch.fx.passes.infra.pass_base import PassBase, PassResult

_MAX_JOINED = 5  # tensors that XNNPACK concatenates at a time
_WRITTEN = ("_code", "_lineno_map", "_prologue_start")  # of a graph module: its Python code, and what belongs to it


@contextlib.contextmanager
def quick_lowering() -> Iterator[None]:
    """While open, ExecuTorch and XNNPACK's backend leave out passes that would find nothing to do in a graph."""
    run = PassBase.__call__

    def run_if_needed(pass_: PassBase, graph_module: GraphModule) -> PassResult | None:
        concerns = _CONCERNS.get(type(pass_).__name__)
        if concerns is not None and not any(map(concerns, graph_module.graph.nodes)):
            return PassResult(graph_module, False)
        return run(pass_, graph_module)

    with mock.patch.object(PassBase, "__call__", run_if_needed):
        yield


def _calls(*operators: str) -> Callable[[Node], bool]:
    return lambda node: getattr(node.target, "__name__", "") in operators


def _is_symbolic(node: Node) -> bool:
    return isinstance(node.meta.get("val"), (torch.SymInt, torch.SymFloat, torch.SymBool))


def _is_transposition(node: Node) -> bool:
    return node.target == torch.ops.aten.t.default


def _is_view(node: Node) -> bool:
    return bool(getattr(node.target, "is_view", False))


def _mixes_numbers_and_tensors(node: Node) -> bool:
    """Whether a number stands where the operator takes a tensor."""
    schema = getattr(node.target, "_schema", None)
    given = zip(schema.arguments, node.args, strict=False) if schema else ()
    return any(isinstance(value, (bool, int, float)) and "Tensor" in str(each.type) for each, value in given)


def _mixes_types(node: Node) -> bool:
    """Whether it is of arithmetic, with operands other than float32 or float16 tensors all alike."""
    if getattr(node.target, "_opname", None) not in {"add", "mul", "sub", "div", "minimum"}:
        return False
    types = {value.meta["val"].dtype if isinstance(value, Node) else None for value in node.args}
    return len(types) > 1 or not types <= {torch.float32, torch.float16}


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


# Whether a pass of the name might change a node. Each traces the whole graph anew, whether it found any or not.
_CONCERNS: dict[str, Callable[[Node], bool]] = {
    "NormalizeTransposePass": _is_transposition,
    "ReplaceBrokenOpsWithFunctionalOpsPass": _is_view,
    "ScalarToTensorPass": _mixes_numbers_and_tensors,
    "SymToTensorPass": _is_symbolic,
    "RemoveMixedTypeOperators": _mixes_types,
    "MemoryFormatOpsPass": _has_memory_format,
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
    "InsertPadQDQPass": _calls("aten.constant_pad_nd.default"),
    "PReLUReshapePass": _calls("aten._prelu_kernel.default"),
    "ConvertToUpsampleBilinear2d": _never,  # it puts the operator in its own place, for which it exports four graphs
}


@contextlib.contextmanager
def quick_graphs() -> Iterator[None]:
    """While open, graphs are written as Python code and compiled when that is first needed, not after every change.

    Exporters make several hundred graphs, of which they run two or three.
    """
    write_code = GraphModule.recompile
    find_attribute = GraphModule.__getattr__

    def forward(graph: GraphModule, *arguments: Any, **options: Any) -> Any:
        write_code(graph)
        return graph(*arguments, **options)

    def write_later(graph: GraphModule) -> None:
        codegen = graph.graph._codegen
        if hasattr(codegen, "pytree_info"):
            graph._in_spec, graph._out_spec = codegen.pytree_info.in_spec, codegen.pytree_info.out_spec
        for name in _WRITTEN:
            graph.__dict__.pop(name, None)
        type(graph).forward = forward

    def find_or_write(graph: GraphModule, name: str) -> Any:
        if name not in _WRITTEN:
            return find_attribute(graph, name)
        write_code(graph)
        return graph.__dict__[name]

    with (
        mock.patch.object(GraphModule, "recompile", write_later),
        mock.patch.object(GraphModule, "__getattr__", find_or_write),
    ):
        yield


@contextlib.contextmanager
def quick_signatures() -> Iterator[None]:
    """While open, which of a program's inputs are parameters is found out when the inputs change, not with every question.

    There are some ten thousand of them.
    """
    asked: Any = ExportGraphSignature.inputs_to_parameters
    find = asked.fget
    found: dict[int, tuple[Any, list[Any], Any]] = {}  # signatures by their addresses, and so kept alive

    def find_once(signature: ExportGraphSignature) -> Any:
        inputs = [(spec.kind, spec.arg.name, spec.target) for spec in signature.input_specs]
        known = found.get(id(signature))
        if known is None or known[1] != inputs:
            known = found[id(signature)] = signature, inputs, find(signature)
        return known[2]

    with mock.patch.object(ExportGraphSignature, "inputs_to_parameters", property(find_once)):
        yield


@contextlib.contextmanager
def quick_delegates() -> Iterator[None]:
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


@contextlib.contextmanager
def quick_decompositions() -> Iterator[None]:
    """While open, a program that was decomposed once is so again only if it has operators to decompose.

    ExecuTorch does it three times. The first time takes mutations out, too, and is always done.
    """
    decompose = ExportedProgram.run_decompositions
    done: list[ExportedProgram] = []

    def decompose_if_needed(program: ExportedProgram, table: Any = None, **options: Any) -> ExportedProgram:
        operators = {node.target for node in program.graph.nodes if node.op == "call_function"}
        if table is not None and operators.isdisjoint(table) and any(program is known for known in done):
            return program
        done.append(decompose(program, table, **options))
        return done[-1]

    with mock.patch.object(ExportedProgram, "run_decompositions", decompose_if_needed):
        yield


@contextlib.contextmanager
def quick_rewriting() -> Iterator[None]:
    """While open, the rules by which ONNX graphs are simplified look only at nodes that can begin what they replace.

    There are dozens of rules, and one of several outputs lists the whole graph for every node first.
    """
    from onnxscript.rewriter import RewriteRule

    rewrite = RewriteRule.try_rewrite

    def rewrite_if_it_begins_here(rule: Any, model: Any, graph: Any, node: Any, **options: Any) -> Any:
        outputs = rule._target_pattern.output_nodes
        if outputs and outputs[0].op_identifier() not in (None, node.op_identifier()):
            return None
        return rewrite(rule, model, graph, node, **options)

    with mock.patch.object(RewriteRule, "try_rewrite", rewrite_if_it_begins_here):
        yield
