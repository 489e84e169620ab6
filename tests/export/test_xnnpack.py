"""Fewer moves of data, and the same numbers; less work, and the same file."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import ExportGraphSignature
from torch.fx import GraphModule
from torch.fx.passes.infra.pass_base import PassBase

from tinypose_torch.export.rewrites import BroadcastUpsample
from tinypose_torch.models.lite_hrnet.network import ShuffleUnit

pytest.importorskip("executorch")

from executorch.backends.xnnpack import xnnpack_preprocess
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
from executorch.runtime import Runtime

from tinypose_torch.export.quick import quick_decompositions, quick_graphs, quick_lowering, quick_signatures
from tinypose_torch.export.xnnpack import fewer_moves


class ShuffleChannelsLast(nn.Module):
    """A channel shuffle between convolutions, as a permutation of channels-last memory."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(4, 5, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        n, c, h, w = x.shape
        shuffled = x.permute(0, 2, 3, 1).reshape(n * h * w, 2, c // 2).permute(0, 2, 1)
        x = shuffled.reshape(n, h, w, c).permute(0, 3, 1, 2).relu()
        return self.second(x[:, 2:6])


class MaskedSum(nn.Module):
    """Elementwise operations with a constant, after a reshape."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 1)
        self.register_buffer("mask", torch.rand(1, 6, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        n, c, h, w = x.shape
        y = (x.permute(0, 2, 3, 1).reshape(n, h // 2, 2, w, c) + 1.0).reshape(n, h, w, c).permute(0, 3, 1, 2)
        return self.second(y * self.mask + y.relu())


class TransposedOutput(nn.Module):
    """Permutations of inputs and outputs stay."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = x.permute(0, 2, 3, 1)
        return y + y, (x * x).permute(0, 3, 2, 1)


MODULES = {
    "shuffle": (ShuffleChannelsLast, 3),
    "masked sum": (MaskedSum, 2),
    "outputs": (TransposedOutput, None),
    "upsampling": (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), BroadcastUpsample(2), nn.Conv2d(4, 2, 1)), 2),
    "shuffle unit": (lambda: nn.Sequential(nn.Conv2d(3, 16, 1), ShuffleUnit(16), nn.Conv2d(16, 4, 1)), None),
}


def lowered(module, x, monkeypatch):
    """The outputs of the file, and how many transpositions it makes."""
    counted = []
    serialise = xnnpack_preprocess.serialize_xnnpack_binary

    def count(graph, constants):
        counted.append(sum("Transpose" in type(node.xnode_union).__name__ for node in graph.xnodes))
        return serialise(graph, constants)

    with monkeypatch.context() as patch:
        patch.setattr(xnnpack_preprocess, "serialize_xnnpack_binary", count)
        with fewer_moves():
            program = to_edge_transform_and_lower(
                torch.export.export(module, (x,)), partitioner=[XnnpackPartitioner()]
            ).to_executorch()
    content = program.buffer
    loaded = Runtime.get().load_program(content)
    return [output.clone() for output in loaded.load_method("forward").execute([x])], sum(counted)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_fewer_moves_give_the_same_numbers(name, monkeypatch):
    torch.manual_seed(0)
    build, most = MODULES[name]
    module = build().eval()
    x = torch.randn(1, 3, 4, 6)
    outputs, transpositions = lowered(module, x, monkeypatch)
    with torch.inference_mode():
        expected = module(x)
    for found, wanted in zip(outputs, expected if isinstance(expected, tuple) else (expected,), strict=True):
        assert torch.allclose(found, wanted, atol=1e-6)
    if most is not None:
        assert transpositions <= most  # one in, one out, and those that are meant


def test_the_serialiser_is_put_back():
    before = xnnpack_preprocess.serialize_xnnpack_binary
    with pytest.raises(KeyError), fewer_moves():
        raise KeyError
    assert xnnpack_preprocess.serialize_xnnpack_binary is before


class ManyKinds(nn.Module):
    """Convolutions in one and two dimensions, one normalised, one padded, a linear layer, and what goes with them."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6)
        self.act, self.second, self.third = nn.PReLU(), nn.Conv1d(6, 4, 3), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(self.norm(self.first(F.pad(x, (1, 1, 2, 2)))).relu(), scale_factor=2.0, mode="bilinear")
        return self.third(self.second(self.act(F.max_pool2d(x, 2)).mean(dim=2)))


class MuchToDo(nn.Module):
    """What the passes that are left out elsewhere look for: numbers, types, views, transpositions, constants, six tensors."""

    def __init__(self):
        super().__init__()
        self.first, self.weight = nn.Conv2d(3, 6, 1), nn.Parameter(torch.rand(4, 6))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.first(x) * 2 + 1
        counted = (x > 0).sum(dim=1) / 3 + torch.arange(6) * torch.ones(6, dtype=torch.float64)
        joined = torch.cat([x, x, x + 1, -x, x.relu(), x.sigmoid()], dim=1)
        pooled = F.adaptive_avg_pool2d(joined.to(memory_format=torch.channels_last), 2).mean(dim=1)
        return counted, pooled.expand(3, -1, -1), x.permute(0, 2, 3, 1).reshape(-1, 6) @ self.weight.t()


@pytest.mark.slow
@pytest.mark.parametrize(
    "module", [ManyKinds, *(pytest.param(kind, marks=pytest.mark.slow) for kind in (ShuffleChannelsLast, MuchToDo))]
)
def test_quick_lowering_gives_the_same_file(module):
    torch.manual_seed(0)
    module = module().eval()

    def lower(**config):
        program = torch.export.export(module, (torch.randn(1, 3, 4, 6),))
        config = EdgeCompileConfig(**config)
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()], compile_config=config)
        return lowered.to_executorch().buffer

    plain, written = lower(), GraphModule.recompile
    parameters, decompose, run = (
        ExportGraphSignature.inputs_to_parameters,
        ExportedProgram.run_decompositions,
        PassBase.__call__,
    )
    with quick_graphs(), quick_decompositions(), quick_lowering(), quick_signatures():
        assert lower(_check_ir_validity=False) == plain
    assert GraphModule.recompile is written
    assert ExportGraphSignature.inputs_to_parameters is parameters
    assert ExportedProgram.run_decompositions is decompose
    assert PassBase.__call__ is run
    assert "__getattr__" not in vars(GraphModule)
