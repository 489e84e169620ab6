"""Post-training quantisation to int8: which convolutions, with which ranges, and what each costs.

Ranges of activations are observed on the user's images. Every convolution is then quantised alone and its effect on the
network's outputs measured; those that save most work for their harm are taken, in that order, while their errors, as if
independent, stay within a budget. Weights have a scale per channel, activations one per tensor. Made for torchao 0.18.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tinypose_torch.export.graphs import FixedGraph, Graph
from tinypose_torch.export.progress import CALIBRATE, MEASURE, QUANTISE, Progress, no_progress
from tinypose_torch.export.warning_filters import ignore_exporter_warnings

# Root of the sum of squared relative errors of the outputs that quantisation may cause.
ERROR_BUDGET = {"pose": 0.04, "bottom-up pose": 0.04, "detection": 0.02}
MAX_IMAGES = 128
_MEASURED_IMAGES = 12
_BATCH = 16
_ANNOTATION = "quantization_annotation"
_LEAST, _GREATEST = -128, 127
_MIN_SCALE = 2.0**-24  # far below PyTorch's 2^-12, so that no scale is rounded up


@dataclass(frozen=True)
class Range:
    """An activation's int8 range: value = scale * (number - zero_point)."""

    scale: float
    zero_point: int

    def round_trip(self, x: Tensor) -> Tensor:
        """Values after quantisation to eight bits and back."""
        return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, _LEAST, _GREATEST)


@dataclass(frozen=True)
class Layer:
    """A convolution that could be quantised.

    Attributes:
        name: Of the module in the graph.
        input, output: Their ranges; the output's after the ReLU where one follows.
        work: Multiplications per image.
        error: Mean absolute change of the network's outputs if this layer alone is int8, relative to their mean size.
    """

    name: str
    input: Range
    output: Range
    work: int
    error: float


@dataclass(frozen=True)
class Plan:
    """What becomes int8, and what stays in floating point because it would hurt most; worst first."""

    quantised: list[Layer]
    left: list[Layer]
    images: int

    def to_json(self) -> dict[str, Any]:
        """For the receipt."""
        return {
            "calibration images": self.images,
            "int8 convolutions": len(self.quantised),
            "floating-point convolutions": len(self.left),
            "relative output error of the worst layers alone": {
                layer.name: {"error": round(layer.error, 5), "int8": layer in self.quantised}
                for layer in sorted([*self.quantised, *self.left], key=lambda layer: -layer.error)[:10]
            },
        }


def quantised(
    graph: Graph, example: Tensor, images: np.ndarray, budget: float, progress: Progress = no_progress
) -> tuple[nn.Module, Plan]:
    """The graph with as many convolutions in int8 as the budget allows, to be exported and lowered; and which.

    Args:
        graph: In evaluation mode, taking images or normalised input; batch norms folded.
        example: Its input, of the size that it will be exported for.
        images: What the graph takes, ``(N, ...)``; the first 128 are looked at.
        budget: See `ERROR_BUDGET`.
        progress: See `tinypose_torch.export.progress`.
    """
    program = exported_program(graph, example)
    looked_at = images[:MAX_IMAGES]
    layers = measure_layers(graph, program, looked_at, progress)
    plan = choose_layers(layers, budget, len(looked_at))
    progress(QUANTISE, 0)
    return _quantise(program, example, plan), plan


def exported_program(graph: nn.Module, example: Tensor) -> torch.fx.GraphModule:
    """The graph as PT2E takes it."""
    with ignore_exporter_warnings(), torch.no_grad():
        return torch.export.export(graph, (example,), strict=False).module()


def measure_layers(
    graph: Graph, program: torch.fx.GraphModule, images: np.ndarray, progress: Progress = no_progress
) -> list[Layer]:
    """Observe ranges on the images, and measure what each convolution alone does to the outputs.

    Args:
        program: The graph's `exported_program`.
        images: As for `quantised`; all are observed.
        progress: As for `quantised`.
    """
    inputs = [graph.input(batch) for batch in torch.from_numpy(images).split(_BATCH)]
    relus = {name: relu is not None for name, _, relu in _convolutions(program) if name.startswith("network.")}
    ranges, work = _observe(graph, inputs, relus, progress)
    measured = torch.cat(inputs)[:_MEASURED_IMAGES]
    layers = []
    with torch.inference_mode():
        expected = _flat(graph.network(measured))
        size = expected.abs().mean()
        for index, (name, (before, after)) in enumerate(ranges.items()):
            progress(MEASURE, index / len(ranges))
            with _as_int8(graph.get_submodule(name), before, after, relus[name]):
                error = (_flat(graph.network(measured)) - expected).abs().mean() / size
            layers.append(Layer(name, before, after, work[name], float(error)))
    return layers


def choose_layers(layers: list[Layer], budget: float, images: int) -> Plan:
    """Those that save most work for their harm, within the budget.

    Args:
        images: How many the layers were measured on, for the receipt.
    """
    layers = sorted(layers, key=lambda layer: layer.error**2 / layer.work)
    total = np.sqrt(np.cumsum([layer.error**2 for layer in layers]))
    count = int(np.searchsorted(total, budget))
    return Plan(layers[:count][::-1], layers[count:][::-1], images)


def _quantise(program: torch.fx.GraphModule, example: Tensor, plan: Plan) -> nn.Module:
    """The program with the planned convolutions in int8, as PT2E writes it."""
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    with ignore_exporter_warnings(), torch.no_grad():
        prepared = prepare_pt2e(program, _quantiser(plan))
        prepared(example)  # shows the weights to their observers
        return FixedGraph(convert_pt2e(prepared))


def _quantiser(plan: Plan) -> Any:
    """Annotates exactly the planned convolutions, with the ranges found."""
    from torchao.quantization.pt2e import PerChannelMinMaxObserver
    from torchao.quantization.pt2e.quantizer import (
        FixedQParamsQuantizationSpec,
        QuantizationAnnotation,
        QuantizationSpec,
        Quantizer,
    )

    layers = {layer.name: layer for layer in plan.quantised}
    weight = QuantizationSpec(
        dtype=torch.int8,
        quant_min=-_GREATEST,
        quant_max=_GREATEST,
        qscheme=torch.per_channel_symmetric,
        ch_axis=0,
        observer_or_fake_quant_ctr=PerChannelMinMaxObserver.with_args(eps=_MIN_SCALE),
    )

    def activation(observed: Range) -> Any:
        return FixedQParamsQuantizationSpec(
            dtype=torch.int8,
            scale=observed.scale,
            zero_point=observed.zero_point,
            quant_min=_LEAST,
            quant_max=_GREATEST,
            qscheme=torch.per_tensor_affine,
        )

    class PlannedQuantiser(Quantizer):
        def annotate(self, model: torch.fx.GraphModule) -> torch.fx.GraphModule:
            for name, node, relu in _convolutions(model):
                layer = layers.get(name)
                if layer is None:
                    continue
                into = {node.args[0]: activation(layer.input), node.args[1]: weight}
                out = activation(layer.output)
                if relu is None:
                    node.meta[_ANNOTATION] = QuantizationAnnotation(
                        input_qspec_map=into, output_qspec=out, _annotated=True
                    )
                else:
                    node.meta[_ANNOTATION] = QuantizationAnnotation(input_qspec_map=into, _annotated=True)
                    relu.meta[_ANNOTATION] = QuantizationAnnotation(output_qspec=out, _annotated=True)
            return model

        def validate(self, model: torch.fx.GraphModule) -> None:
            """Nothing beyond what the annotation itself ensures."""

    return PlannedQuantiser()


def _convolutions(program: torch.fx.GraphModule) -> Iterator[tuple[str, torch.fx.Node, torch.fx.Node | None]]:
    """Module name, node, and the ReLU that is the only user, of every convolution.

    Those whose result is sliced are left out: XNNPACK's delegate does not take slices of int8.
    """
    for node in program.graph.nodes:
        if node.op == "call_function" and node.target == torch.ops.aten.conv2d.default:
            users = list(node.users)
            relu = users[0] if len(users) == 1 and users[0].target == torch.ops.aten.relu.default else None
            if any(user.target == torch.ops.aten.slice.Tensor for user in (relu or node).users):
                continue
            yield str(node.args[1].target).removesuffix(".weight"), node, relu


def _observe(
    graph: Graph, inputs: list[Tensor], relus: dict[str, bool], progress: Progress
) -> tuple[dict[str, tuple[Range, Range]], dict[str, int]]:
    """Ranges of every convolution's input and output, and its multiplications per image."""
    from torchao.quantization.pt2e import HistogramObserver

    def observer() -> Any:
        return HistogramObserver(
            dtype=torch.int8,
            quant_min=_LEAST,
            quant_max=_GREATEST,
            qscheme=torch.per_tensor_affine,
            eps=_MIN_SCALE,
        )

    observers = {name: (observer(), observer()) for name in relus}
    work: dict[str, int] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor], Tensor], None]:
        def see(module: nn.Module, arguments: tuple[Tensor], output: Tensor) -> None:
            assert isinstance(module, nn.Conv2d)
            before, after = observers[name]
            work[name] = output[0].numel() * module.weight[0].numel()
            before(arguments[0].contiguous())
            after((output.relu() if relus[name] else output).contiguous())

        return see

    with ExitStack() as stack, torch.no_grad():
        for name in relus:
            stack.callback(graph.get_submodule(name).register_forward_hook(watch(name)).remove)
        for index, batch in enumerate(inputs):
            progress(CALIBRATE, index / len(inputs))
            graph.network(batch)
    return {name: (_range(before), _range(after)) for name, (before, after) in observers.items()}, work


def _range(observer: Any) -> Range:
    scale, zero_point = observer.calculate_qparams()
    return Range(float(scale), int(zero_point))


@contextmanager
def _as_int8(module: nn.Module, before: Range, after: Range, relu: bool) -> Iterator[None]:
    """While open, a convolution computes as if in int8."""
    assert isinstance(module, nn.Conv2d)
    weight = module.weight.data
    scale = (weight.abs().amax(dim=(1, 2, 3)) / _GREATEST).clamp(min=_MIN_SCALE)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    hooks = [
        module.register_forward_pre_hook(lambda _, arguments: (before.round_trip(arguments[0]),)),
        module.register_forward_hook(lambda _, __, output: after.round_trip(output.relu() if relu else output)),
    ]
    module.weight.data = torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -_GREATEST, _GREATEST)
    try:
        yield
    finally:
        module.weight.data = weight
        for hook in hooks:
            hook.remove()


def _flat(outputs: Any) -> Tensor:
    """All outputs of a network as ``(N, numbers)``."""
    if isinstance(outputs, Tensor):
        return outputs.flatten(1)
    return torch.cat([_flat(output) for output in outputs if output is not None], dim=1)
