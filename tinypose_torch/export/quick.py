"""Exporters without the work that leads to nothing; what they write is the same, byte for byte.

Made for torch 2.15.0, executorch 1.5.1 and onnxscript 0.7: it replaces functions of theirs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from torch.export.graph_signature import ExportGraphSignature
from torch.fx import GraphModule

# What the passes of XNNPACK's backend look for. Each traces the whole graph anew, whether it found any or not.
_QUANTISED = "quantized_decomposed.dequantize_per_tensor.default"
_NORM = "aten._native_batch_norm_legit_no_training.default"
_CONVOLUTION = "aten.convolution.default"
_CONVOLUTION_1D = "aten.convolution.default, 1-D"
_SOUGHT: dict[str, set[str]] = {
    "PropagateCustomMetaPass": {_QUANTISED},
    "ConvertToLinearPass": {"aten.mm.default", "aten.addmm.default", "aten.bmm.default"},
    "ConvertToSDPAPass": {"aten.bmm.default"},
    "RemoveGetItemPass": {"getitem"},
    "FuseBatchNormPass": {_NORM},
    "DecomposeBatchNorm": {_NORM},
    "InsertPadQDQPass": {"aten.constant_pad_nd.default"},
    "Conv1dUnsqueezePass": {_CONVOLUTION_1D},
    "PReLUReshapePass": {"aten._prelu_kernel.default"},
}
_IDENTITY = "ConvertToUpsampleBilinear2d"  # exports four graphs of one operator and puts that in its own place
_WRITTEN = ("_code", "_lineno_map", "_prologue_start")  # of a graph module: its Python code, and what belongs to it


@contextlib.contextmanager
def quick_lowering() -> Iterator[None]:
    """While open, XNNPACK's backend leaves out passes that look for operators which a graph does not have."""
    from executorch.backends.xnnpack import xnnpack_preprocess

    build: Any = xnnpack_preprocess.XNNPACKPassManager

    def build_with_needed_ones(exported_program: Any, passes: list[Any] | None = None) -> Any:
        manager, found = build(exported_program, passes), _operators(exported_program.graph)
        manager.passes = [
            each
            for each in manager.passes
            if each.__name__ != _IDENTITY and (each.__name__ not in _SOUGHT or _SOUGHT[each.__name__] & found)
        ]
        return manager

    with mock.patch.object(xnnpack_preprocess, "XNNPACKPassManager", build_with_needed_ones):
        yield


def _operators(graph: Any) -> set[str]:
    """Names of a graph's operators; convolutions in one dimension are told apart."""
    calls = [node for node in graph.nodes if node.op == "call_function"]
    in_one_dimension = any(
        node.target.__name__ == _CONVOLUTION and node.args[1].meta["val"].ndim == 3 for node in calls
    )
    return {node.target.__name__ for node in calls} | ({_CONVOLUTION_1D} if in_one_dimension else set())


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
def quick_rewriting() -> Iterator[None]:
    """While open, the rules by which ONNX graphs are simplified look only at nodes that can begin what they replace.

    There are hundreds of rules, and one of several outputs lists the whole graph for every node first.
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
