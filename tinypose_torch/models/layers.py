"""Layers shared by the network families."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor, nn

Kind = TypeVar("Kind", bound=nn.Module)


class ConvNormAct(nn.Module):
    """Convolution without bias, batch normalisation and an optional activation.

    The kernel is centred (padding ``kernel // 2``), so stride 1 keeps the size.

    Args:
        activation: Class of the activation, or ``None`` for a linear layer.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: type[nn.Module] | None = nn.ReLU,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.activation = activation() if activation is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(self.conv(x)))


def norm_parameters(network: nn.Module) -> list[str]:
    """Names of the parameters of batch norms."""
    norms = [name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    return [f"{name}.{kind}" for name in norms for kind in ("weight", "bias")]


def replace_modules(network: nn.Module, kind: type[Kind], build: Callable[[Kind], nn.Module]) -> nn.Module:
    """Put what ``build`` makes of it in the place of every module of a kind."""
    for name, module in list(network.named_modules()):
        if isinstance(module, kind):
            network.set_submodule(name, build(module))
    return network


def channel_shuffle(x: Tensor, groups: int = 2) -> Tensor:
    """Interleave the channels of ``groups`` equal parts (Zhang et al., "ShuffleNet", CVPR 2018).

    Args:
        x: ``(N, C, H, W)``; C must be divisible by ``groups``.
    """
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


def round_channels(width: float, divisor: int = 8) -> int:
    """Nearest multiple of ``divisor`` (halves up) that keeps at least 90 % of ``width``."""
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


def half_channels(x: Tensor) -> tuple[Tensor, Tensor]:
    """Split ``(N, C, H, W)`` into its first and second C/2 channels."""
    half = x.shape[1] // 2
    return x[:, :half], x[:, half:]
