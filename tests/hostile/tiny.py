"""A network of three layers in the catalogue, so that hundreds of its weight files can be opened in a second.

Its class has the name of one of PaddleDetection's, whose tensors are named alike here and there.
"""

import dataclasses

import torch
from torch import nn

from tinypose_torch.models import registry
from tinypose_torch.models.base import TopDownNetwork
from tinypose_torch.models.registry import get_config

NAME = "tiny_32x32"
_STRIDE = 4  # of heatmaps


class LiteHRNet(TopDownNetwork):
    """A convolution with batch norm, and a head."""

    paddle_names = "LiteHRNet"

    def __init__(self, num_keypoints: int) -> None:
        super().__init__()
        stem = nn.ModuleDict({"conv1": nn.ModuleDict({"conv": nn.Conv2d(3, 2, 3, _STRIDE, 1, bias=False)})})
        stem["conv1"]["norm"] = nn.BatchNorm2d(2)
        self.backbone = nn.ModuleDict({"stem": stem})
        self.final_conv = nn.Conv2d(2, num_keypoints, 1)

    def head_prefixes(self) -> tuple[str, ...]:
        return ("final_conv",)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layer = self.backbone["stem"]["conv1"]
        return self.final_conv(torch.relu(layer["norm"](layer["conv"](x))))


def register(monkeypatch) -> None:
    """Put the network into the catalogue for one test."""
    entry = dataclasses.replace(
        get_config("tinypose_128x96"), name=NAME, network=LiteHRNet, arguments={}, input_size=(32, 32), weights={}
    )
    monkeypatch.setitem(registry._CONFIGS, NAME, entry)


def state_dict() -> dict[str, torch.Tensor]:
    """Weights under this project's names, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    state = LiteHRNet(len(get_config("tinypose_128x96").skeleton)).state_dict()
    for name, tensor in state.items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator))
        else:
            state[name] = torch.tensor(1)
    return state


def paddle_state() -> dict:
    """The same under PaddleDetection's names, as arrays; it has no counters of batches."""
    renamed = {"running_mean": "_mean", "running_var": "_variance"}
    return {
        ".".join(renamed.get(part, part) for part in name.split(".")): tensor.numpy()
        for name, tensor in state_dict().items()
        if tensor.is_floating_point()
    }
