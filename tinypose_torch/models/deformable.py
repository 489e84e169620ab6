"""Modulated deformable convolution (Zhu et al., "Deformable ConvNets v2", CVPR 2019)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# For `Network.mobile_limitation`.
NOT_ON_PHONES = "XNNPACK has no deformable convolutions, and their accuracy in half precision was not measured"


class DeformableConv(nn.Module):
    """A 3x3 convolution with predicted offsets and weights of its nine sampling points.

    Reading the points is one bilinear sampling of the whole image and weighting them one matrix product, in operations
    that every export format has; on a CPU that is also 1.4 to 2 times faster than torchvision's operator
    (``python -m benchmarks.deformable``).

    Args:
        bias: Of the convolution; the one that finds the points always has one.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, bias: bool = False) -> None:
        super().__init__()
        self.stride = stride
        self.offset = nn.Conv2d(in_channels, 27, 3, stride, 1)
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=bias)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        moved = self.offset(x)
        n, _, rows, columns = moved.shape
        return F.conv2d(
            self._points(x, moved).reshape(n, -1, rows, columns),
            self.conv.weight.reshape(self.conv.out_channels, -1, 1, 1),
            self.conv.bias,
        )

    def _points(self, x: Tensor, moved: Tensor) -> Tensor:
        """Weighted samples of the input at the nine points of every output cell: ``(N, C, 9, h, w)``."""
        n, channels, height, width = x.shape
        rows, columns = moved.shape[2:]
        dy, dx = moved[:, :18].reshape(n, 9, 2, rows, columns).unbind(dim=2)
        point = torch.arange(9, device=x.device)
        row = torch.arange(rows, device=x.device) * self.stride
        column = torch.arange(columns, device=x.device) * self.stride
        at_y = dy + (row.view(-1, 1) + (point // 3 - 1).view(-1, 1, 1)).to(x.dtype)
        at_x = dx + (column + (point % 3 - 1).view(-1, 1, 1)).to(x.dtype)
        grid = torch.stack([(2 * at_x + 1) / width - 1, (2 * at_y + 1) / height - 1], dim=-1)
        sampled = F.grid_sample(x, grid.reshape(n, 9 * rows, columns, 2), align_corners=False)
        return sampled.reshape(n, channels, 9, rows, columns) * moved[:, None, 18:].sigmoid()
