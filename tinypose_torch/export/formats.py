"""Writers of the three formats. Whatever leans on an exporter's internals is here; made for torch 2.15.0 and executorch 1.5.1."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule

from tinypose_torch.export.idle_passes import skip_idle_passes
from tinypose_torch.export.progress import LOWER, TRACE, WRITE, Progress, no_progress
from tinypose_torch.export.warning_filters import ignore_exporter_warnings
from tinypose_torch.export.xnnpack import half_weights, make_partitioner, uint8_inputs
from tinypose_torch.runtime.checksums import seal, seal_onnx, seal_torchscript
from tinypose_torch.runtime.formats import Method
from tinypose_torch.runtime.loading import EXECUTORCH_METHOD, ONNX_KEY, TORCHSCRIPT_EXTRA
from tinypose_torch.runtime.metadata import describe_methods


def write_torchscript(method: Method, path: Path, progress: Progress = no_progress) -> dict[str, Any]:
    """Traced and frozen."""
    with ignore_exporter_warnings(), torch.no_grad():
        progress(TRACE, 0)
        traced = torch.jit.freeze(torch.jit.trace(method.graph, method.example, check_trace=False))
        progress(WRITE, 0)
        save_torchscript(traced, method.metadata.to_json(), path)
    return {}


def save_torchscript(module: Any, description: str, path: Path) -> None:
    """Write a TorchScript module with its description and checksum."""
    archive = io.BytesIO()
    torch.jit.save(module, archive, _extra_files={TORCHSCRIPT_EXTRA: description})
    path.write_bytes(seal_torchscript(archive.getvalue()))


def write_onnx(method: Method, path: Path, progress: Progress = no_progress) -> dict[str, Any]:
    """Opset of torch's exporter; one file, weights inside."""
    metadata = method.metadata
    dynamic = ({0: torch.export.Dim("batch")},) if metadata.batch is None else None
    progress(TRACE, 0)
    with ignore_exporter_warnings():
        program = torch.onnx.export(
            method.graph, (method.example,), dynamo=True, dynamic_shapes=dynamic, input_names=["input"], verbose=False
        )
    assert program is not None
    progress(WRITE, 0)
    save_onnx(program.model_proto, metadata.to_json(), path)
    return {}


def save_onnx(model: Any, description: str, path: Path) -> None:
    """Write an ONNX model with its description and checksum."""
    import onnx

    graph = model.graph
    for part in (graph, *graph.input, *graph.output, *graph.node, *graph.initializer, *graph.value_info):
        part.ClearField("metadata_props")  # where in the code each came from: a third of the file
        part.ClearField("doc_string")
    onnx.helper.set_model_props(model, {ONNX_KEY: description})
    path.write_bytes(seal_onnx(model.SerializeToString()))


def write_executorch_methods(
    methods: dict[str, Method], path: Path, progress: Progress = no_progress
) -> dict[str, dict[str, Any]]:
    """Networks lowered to XNNPACK, a method each, with the description as another method, and sealed.

    Returns:
        What XNNPACK took of each, for the receipt.
    """
    program = lower(methods, progress)
    facts = {name: delegation(program, name) for name in methods}
    progress(WRITE, 0)
    path.write_bytes(seal(program.to_executorch().buffer))
    return facts


def lower(methods: dict[str, Method], progress: Progress = no_progress) -> Any:
    """The edge program, with everything that XNNPACK takes delegated to it."""
    progress(TRACE, 0)
    with ignore_exporter_warnings():
        from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

        programs = {
            name: torch.export.export(method.graph, (method.example,), strict=False) for name, method in methods.items()
        }
        progress(LOWER, 0)
        text = describe_methods({name: method.metadata for name, method in methods.items()})
        described = as_method(text)
        halves = any(method.metadata.precision == "fp16" for method in methods.values())
        with (
            skip_idle_passes(),
            uint8_inputs(),
            half_weights() if halves else contextlib.nullcontext(),
        ):
            return to_edge_transform_and_lower(
                programs,
                partitioner={name: [make_partitioner()] for name in methods},
                constant_methods={EXECUTORCH_METHOD: described},
                # ExecuTorch's check refuses the aten._to_copy of uint8 images
                compile_config=EdgeCompileConfig(_check_ir_validity=False),
            )


def as_method(description: str) -> Tensor:
    """A description as the constant that the method of that name returns."""
    return torch.from_numpy(np.frombuffer(description.encode(), np.uint8).copy())


def delegation(program: Any, method: str = "forward") -> dict[str, Any]:
    """What XNNPACK takes of a lowered program: partitions, the share of all operations, and the names of the others."""
    inside, partitions = 0, 0
    outside: dict[str, int] = {}
    lowered = program.exported_program(method).graph_module
    graphs = [module for module in lowered.modules() if isinstance(module, GraphModule)]  # and those of control flow
    for owner, node in ((graph, node) for graph in graphs for node in graph.graph.nodes):
        if node.op != "call_function":
            continue
        name = getattr(node.target, "__name__", str(node.target))
        if name == "executorch_call_delegate":
            partitions += 1
            delegate = getattr(owner, node.args[0].target).original_module.graph
            inside += sum(inner.op == "call_function" for inner in delegate.nodes)
        elif name != "getitem":
            outside[name] = outside.get(name, 0) + 1
    share = inside / max(1, inside + sum(outside.values()))
    return {"partitions": partitions, "delegated share": round(share, 4), "outside": outside}
