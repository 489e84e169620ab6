"""The frame program as an ExecuTorch file: networks in XNNPACK, the pose network only for people who are there.

XNNPACK's partitioner does not look into the bodies of `torch.cond` and `map`. So the parts that XNNPACK takes are lowered
first, the program is exported with a custom operator in the place of each, and the operators are replaced by calls of the
lowered parts. Made for torch 2.15.0 and executorch 1.5.1.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from executorch.exir import EdgeCompileConfig, EdgeProgramManager, to_edge, to_edge_transform_and_lower
from executorch.exir.delegate import executorch_call_delegate
from executorch.exir.graph_module import get_control_flow_submodules
from executorch.exir.program._program import collect_named_data_store_from_exported_program
from torch import Tensor, nn
from torch._higher_order_ops.map import map as map_over
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import GraphModule

from tinypose_torch.export.app.detection import ToFrame
from tinypose_torch.export.app.people import crop_pixels
from tinypose_torch.export.app.program import FrameProgram
from tinypose_torch.export.formats import as_method, delegation
from tinypose_torch.export.graphs import ToFloat
from tinypose_torch.export.idle_passes import skip_delegated_shapes, skip_idle_passes
from tinypose_torch.export.progress import ASSEMBLE, LOWER, TRACE, WRITE, Progress
from tinypose_torch.export.warning_filters import ignore_exporter_warnings
from tinypose_torch.export.xnnpack import FromUint8, make_partitioner, uint8_inputs
from tinypose_torch.models.layers import replace_modules
from tinypose_torch.runtime.checksums import seal
from tinypose_torch.runtime.loading import EXECUTORCH_METHOD

PARTS = ("column_blend", "detector", "pose_network")  # of a program, for XNNPACK
_OPERATOR = "lowered_part"
_library = torch.library.Library("tinypose", "DEF")
_library.define(f"{_OPERATOR}(str name, Tensor[] inputs) -> Tensor[]")
_shapes: dict[str, list[torch.Size]] = {}  # of the outputs of each part of the program that is being exported


@torch.library.register_fake(f"tinypose::{_OPERATOR}")
def _fake_part(name: str, inputs: list[Tensor]) -> list[Tensor]:
    return [torch.empty(shape) for shape in _shapes[name]]


class LoweredPart(nn.Module):
    """Stands for a part that was lowered to XNNPACK, while the program around it is exported.

    Args:
        name: Of the part.
        lowered: The exported program of the part, which is one call of XNNPACK.

    Raises:
        ValueError: XNNPACK does not take all of the part.
    """

    def __init__(self, name: str, lowered: ExportedProgram) -> None:
        super().__init__()
        self.name = name
        graph = lowered.graph_module
        calls = [node for node in graph.graph.nodes if node.op == "call_function"]
        delegates = [node for node in calls if node.target is executorch_call_delegate]
        if len(delegates) != 1 or any(node.target is not operator.getitem for node in calls if node not in delegates):
            raise ValueError(
                f"XNNPACK does not take all of the {name.replace('_', ' ')}; export it as torchscript or onnx"
            )
        (call,) = delegates
        self.delegate = getattr(graph, call.args[0].target)
        _shapes[name] = [value.shape for value in call.meta["val"]]
        results = next(iter(graph.graph.find_nodes(op="output"))).args[0]
        self.order = [result.args[1] for result in results]
        self.inputs = [node.name for node in call.args[1:]]
        self._keep_constants(lowered)

    def _keep_constants(self, lowered: ExportedProgram) -> None:
        """Hold the constants among the inputs of the call: XNNPACK takes weights of layers alone into itself."""
        specs = {spec.arg.name: spec for spec in lowered.graph_signature.input_specs}
        self.given = [name for name, spec in specs.items() if spec.kind == InputKind.USER_INPUT]
        for name in self.inputs:
            if name not in self.given:
                target = specs[name].target
                values = lowered.state_dict if target in lowered.state_dict else lowered.constants
                self.register_buffer(name, values[target].detach())

    def forward(self, *inputs: Tensor) -> Any:
        given = dict(zip(self.given, inputs, strict=True))
        arguments = [given[name] if name in given else self.get_buffer(name) for name in self.inputs]
        results = torch.ops.tinypose.lowered_part(self.name, arguments)
        outputs = tuple(results[index] for index in self.order)
        return outputs if len(outputs) > 1 else outputs[0]


def lower_parts(program: FrameProgram, frame: Tensor, progress: Progress) -> None:
    """Lower what XNNPACK takes of a program, and put a `LoweredPart` in the place of each.

    Raises:
        ValueError: XNNPACK does not take all of a network.
    """
    progress(TRACE, 0)
    inputs = _inputs_of_parts(program, frame)
    if frame.dtype == torch.uint8:
        replace_modules(program, ToFloat, lambda module: FromUint8())
    parts = {name: _exported(program.get_submodule(name), given) for name, given in inputs.items()}
    progress(LOWER, 0)
    with uint8_inputs():
        lowered = to_edge_transform_and_lower(
            parts,
            partitioner={name: [make_partitioner()] for name in parts},
            compile_config=EdgeCompileConfig(_check_ir_validity=False),
        )
    for name in parts:
        setattr(program, name, LoweredPart(name, lowered.exported_program(name)))


@torch.no_grad()
def _inputs_of_parts(program: FrameProgram, frame: Tensor) -> dict[str, tuple[Tensor, ...]]:
    """Example inputs of the parts for XNNPACK, by their names in the program."""
    read = {}
    if isinstance(program, ReactNativeProgram):
        read, frame = {"to_frame": (frame,)}, program.to_frame(frame)
    columns = program.columns(frame)
    rows = program.rows(program.column_blend(*columns))
    boxes, _ = program.selection(*program.detector(*rows))
    pixels = crop_pixels(frame, program.crop_rule(boxes).taps[0], program.crop_size, program.reader)
    person = tuple(part.unsqueeze(0) for part in pixels)
    return read | dict(zip(PARTS, (columns, rows, person), strict=True))


def call_delegates(graph: GraphModule, parts: Mapping[str, nn.Module]) -> None:
    """Replace the custom operators of a graph, and of the graphs inside, by calls of the lowered parts."""
    for node in list(graph.graph.nodes):
        if getattr(node.target, "__name__", "").startswith(f"tinypose.{_OPERATOR}"):
            name, inputs = node.args
            setattr(graph, f"lowered_{name}", parts[name].delegate)
            with graph.graph.inserting_before(node):
                delegate = graph.graph.get_attr(f"lowered_{name}")
                delegate.meta["val"] = parts[name].delegate
                call = graph.graph.call_function(executorch_call_delegate, (delegate, *inputs))
            call.meta = node.meta
            node.replace_all_uses_with(call)
            graph.graph.erase_node(node)
    for _, inner, _ in get_control_flow_submodules(graph):
        call_delegates(inner, parts)
    graph.recompile()


class PresentPeople(FrameProgram):
    """The program of which the pose network runs for people who are there alone."""

    def estimate(self, frame: Tensor, taps: Tensor, present: Tensor) -> Tensor:
        packed = torch.cat([present.to(torch.int64).unsqueeze(1), taps], dim=1)  # map takes one tensor apart

        def estimate_one(packed: Tensor, frame: Tensor) -> Tensor:
            return torch.cond(packed[0] > 0, self._estimate_person, self._skip_person, (packed, frame))

        keypoints: Tensor = map_over(estimate_one, packed, frame)  # type: ignore[arg-type]  # its own types are wrong
        return keypoints

    def advance(self, frame: Tensor, state: Tensor) -> Tensor:
        branches = self.advance_by_detection, self.advance_by_poses
        rows: Tensor = torch.cond(self.is_due(state), *branches, (frame, state))
        return rows

    def _estimate_person(self, packed: Tensor, frame: Tensor) -> Tensor:
        parts = [part.unsqueeze(0) for part in crop_pixels(frame, packed[1:], self.crop_size, self.reader)]
        keypoints: Tensor = self.keypoints(*self.pose_network(*parts)).squeeze(0)
        return keypoints

    def _skip_person(self, packed: Tensor, frame: Tensor) -> Tensor:
        return torch.zeros(self.num_keypoints, 3)


class ReactNativeProgram(PresentPeople):
    """The program with the signature that react-native-executorch 0.10.2 expects of a keypoint model.

    Its image is ``(1, 3, H, W)`` float32 RGB: grey levels times 1/255, the package's default normalisation. The package loads
    all methods of a file, so that there is ``forward`` alone.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.to_frame = ToFrame()

    def examples(self, frame: Tensor) -> dict[str, tuple[Tensor, ...]]:
        return {"forward": (frame.permute(2, 0, 1).unsqueeze(0).contiguous() * (1 / 255),)}

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return super().forward(self.to_frame(image))


def write(program: FrameProgram, frame: Tensor, description: str, path: Path, progress: Progress) -> dict[str, Any]:
    """Write a program, an instance of `PresentPeople`, as an ExecuTorch file with its methods.

    Returns:
        What XNNPACK takes, for the receipt.
    """
    with ignore_exporter_warnings(), skip_idle_passes(), skip_delegated_shapes():
        inputs = program.examples(frame)
        lower_parts(program, inputs["forward"][0], progress)
        progress(ASSEMBLE, 0)
        edge = _assembled(program, inputs, description)
        facts = delegation(edge)
        progress(WRITE, 0)
        path.write_bytes(seal(edge.to_executorch().buffer))
    return facts


def _assembled(program: FrameProgram, inputs: dict[str, tuple[Tensor, ...]], description: str) -> EdgeProgramManager:
    """The edge program of all methods, with the lowered parts in their places."""
    parts = {name: part for name, part in program.named_children() if isinstance(part, LoweredPart)}
    methods = {name: _exported(Entry(program, name), given) for name, given in inputs.items()}
    edge = to_edge(
        methods,
        constant_methods={EXECUTORCH_METHOD: as_method(description)},
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )
    for name in methods:
        exported = edge.exported_program(name)
        call_delegates(exported.graph_module, parts)
        collect_named_data_store_from_exported_program(exported, edge._named_data_store)  # or the weights are missing
    return edge


@torch.no_grad()
def _exported(module: nn.Module, inputs: tuple[Tensor, ...]) -> ExportedProgram:
    return torch.export.export(module, inputs, strict=False)


class Entry(nn.Module):
    """One method of a program as a module."""

    def __init__(self, program: FrameProgram, method: str) -> None:
        super().__init__()
        self.program, self.method = program, method

    def forward(self, *inputs: Tensor) -> Any:
        return getattr(self.program, self.method)(*inputs)
