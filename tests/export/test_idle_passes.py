"""Skipped passes of ExecuTorch: the file stays the same."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx.passes.infra.pass_base import PassBase

pytest.importorskip("executorch")

from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

from tinypose_torch.export.idle_passes import skip_idle_passes
from tinypose_torch.export.xnnpack import make_partitioner


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
@pytest.mark.parametrize("module", [ManyKinds, ShuffleChannelsLast, MuchToDo])
def test_skipping_idle_passes_gives_the_same_file(module):
    torch.manual_seed(0)
    module = module().eval()

    def lower(partitioner, **config):
        program = torch.export.export(module, (torch.randn(1, 3, 4, 6),))
        config = EdgeCompileConfig(**config)
        lowered = to_edge_transform_and_lower(program, partitioner=[partitioner], compile_config=config)
        return lowered.to_executorch().buffer

    plain, run = lower(XnnpackPartitioner()), PassBase.__call__
    with skip_idle_passes():
        assert lower(make_partitioner(), _check_ir_validity=False) == plain
    assert PassBase.__call__ is run


def test_operators_are_kept_for_nodes_that_xnnpack_takes():
    """XNNPACK takes upsampling by 2, and not to any size; then ExecuTorch asks about each node."""

    class Upsampling(nn.Module):
        def __init__(self, *factors):
            super().__init__()
            self.factors = factors

        def forward(self, x: Tensor) -> list[Tensor]:
            return [F.interpolate(x, scale_factor=factor, mode="bilinear") for factor in self.factors]

    program = torch.export.export(Upsampling(2.0), (torch.randn(1, 3, 4, 6),))
    kept, is_supported = make_partitioner().ops_to_not_decompose(program)
    assert is_supported is None
    assert torch.ops.aten.upsample_bilinear2d.vec in kept
    size = torch.export.Dim("size", min=2, max=64)
    dynamic = torch.export.export(Upsampling(2.0), (torch.randn(1, 3, 4, 6),), dynamic_shapes=[{2: size}])
    assert make_partitioner().ops_to_not_decompose(dynamic)[1] is not None
