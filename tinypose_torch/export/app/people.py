"""People's boxes to keypoints, in tensors: crop rule, warp, pose network, and the way back.

Crops are axis-aligned, so that the warp of `tinypose_torch.geometry.portable.warp_affine` is separable: two rows and two
columns of the frame for every row and column of the crop.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tinypose_torch.export.app.pixels import PixelReader
from tinypose_torch.export.graphs import BLUR, Normalise, keypoint_decoding
from tinypose_torch.geometry.crops import DEPLOY_ASPECT, DEPLOY_MARGIN
from tinypose_torch.geometry.portable import FRACTIONS, POSITION_SCALE
from tinypose_torch.models.config import TopDownConfig

Size = tuple[int, int]


class Crop(NamedTuple):
    """The crops of K people.

    Attributes:
        taps: ``(K, 4 * (h + w))`` int64: two rows of the frame for each row of the crop, their weights in 32nds, and
            the same for columns.
        scale, offset: ``(K, 1, 1)`` and ``(K, 1, 2)`` float32: frame pixel = scale * heatmap cell + offset.
    """

    taps: Tensor
    scale: Tensor
    offset: Tensor


class CropRule(nn.Module):
    """Boxes ``(K, 4)`` in pixels of the frame to their crops, by the deploy rule of `tinypose_torch.geometry.crops`.

    Computed in float64, as there. Numbers that float32 does not hold are buffers: ExecuTorch writes Python's numbers as
    float32.
    """

    constants: Tensor
    rows: Tensor
    columns: Tensor

    def __init__(self, frame_size: Size, config: TopDownConfig) -> None:
        super().__init__()
        self.frame_size, self.heatmap_size = frame_size, config.heatmap_size
        height, width = config.input_size
        self.register_buffer("constants", torch.tensor([DEPLOY_MARGIN, DEPLOY_ASPECT], dtype=torch.float64))
        self.register_buffer("rows", torch.arange(height, dtype=torch.float64))
        self.register_buffer("columns", torch.arange(width, dtype=torch.float64))

    def forward(self, boxes: Tensor) -> Crop:
        left, top, right, bottom = self._regions(boxes.to(torch.float64))
        width, height = right - left, bottom - top
        factor = (len(self.columns) * 0.5) / (width * 0.5)  # network pixels per frame pixel, along both axes
        inverse = factor * (1 / (factor * factor))
        taps = torch.cat(
            [_axis(self.rows, top, height, factor, inverse), _axis(self.columns, left, width, factor, inverse)], dim=1
        )
        cells_high, cells_wide = self.heatmap_size
        scale = width / cells_wide
        x = left + torch.round(width / 2) - scale * (cells_wide * 0.5)
        y = top + torch.round(height / 2) - scale * (cells_high * 0.5)
        offset = torch.cat([x, y], dim=1).to(torch.float32)
        return Crop(taps, scale.to(torch.float32).unsqueeze(2), offset.unsqueeze(1))

    def _regions(self, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Left, top, right and bottom ``(K, 1)`` of the crops, whole numbers; see `deploy_regions`."""
        height, width = self.frame_size
        margin, aspect = self.constants[0:1], self.constants[1:2]
        x1, y1, x2, y2 = torch.trunc(boxes).split(1, dim=1)
        half_height, half_width = (y2 - y1) * margin / 2, (x2 - x1) * margin / 2
        half_width = torch.where(half_height > half_width * aspect, half_height / aspect, half_width)
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        left = torch.trunc(x - half_width).clamp(0, width - 1)
        top = torch.trunc(y - half_height).clamp(0, height - 1)
        right = torch.maximum(torch.trunc(x + half_width).clamp(max=width - 1), left + 1)
        bottom = torch.maximum(torch.trunc(y + half_height).clamp(max=height - 1), top + 1)
        return left, top, right, bottom


def _axis(pixels: Tensor, start: Tensor, length: Tensor, factor: Tensor, inverse: Tensor) -> Tensor:
    """Indices in the frame and weights, ``(K, 4 * pixels)`` int64, with which a warp reads one axis.

    Args:
        pixels: ``(n,)`` 0 to n - 1, the crop's pixels.
        start, length: ``(K, 1)``, of the region in the frame.
        factor, inverse: ``(K, 1)``, of the warp from region to crop, and back.
    """
    shift = len(pixels) * 0.5 - factor * (length / 2)
    step = POSITION_SCALE // FRACTIONS
    first = torch.round(-(inverse * shift) * POSITION_SCALE)
    position = torch.floor((first + torch.round(inverse * pixels * POSITION_SCALE) + step // 2) / step)  # 32nds
    whole = torch.floor(position / FRACTIONS)
    fraction = position - whole * FRACTIONS
    parts = []
    for index, weight in ((whole, FRACTIONS - fraction), (whole + 1, fraction)):
        inside = (index >= 0) & (index < length)  # black outside of the region
        parts.append((start + torch.minimum(index.clamp(min=0), length - 1), weight * inside))
    (one, one_weight), (two, two_weight) = parts
    return torch.cat([one, two, one_weight, two_weight], dim=1).to(torch.int64)


def crop_pixels(frame: Tensor, taps: Tensor, size: Size, reader: PixelReader) -> tuple[Tensor, ...]:
    """What the warp of one person reads.

    Args:
        frame: As the reader takes it.
        taps: ``(4 * (h + w),)``; see `Crop`.
        size: (height, width) of the crop.

    Returns:
        Planes of the upper left, upper right, lower left and lower right pixels, ``(h, w, ...)`` uint8; weights of upper
        and lower rows ``(h, 1, 1)``, and of left and right columns ``(1, w, C)``, float32.
    """
    height, width = size
    upper, lower, *row_weights = taps[: 4 * height].split(height)
    left, right, *column_weights = taps[4 * height :].split(width)
    planes = reader.planes(frame)
    pixels: list[Tensor] = []
    for rows in (upper, lower):
        strips = reader.gather(planes, 0, rows)
        for columns in (left, right):
            pixels += reader.gather(strips, 1, columns)
    channels = reader.channels
    across = [weights.to(torch.float32).reshape(1, width, 1).repeat(1, 1, channels) for weights in column_weights]
    down = [weights.to(torch.float32).reshape(height, 1, 1) for weights in row_weights]
    return (*pixels, *down, *across)


class PosePart(nn.Module):
    """What the warp of N people reads, stacked (see `crop_pixels`), to heatmaps ``(N, J, h, w)``, and the same blurred.

    Args:
        graph: The pose network, normalised float32 in, heatmaps out.
        reader: Of the frame.
    """

    kernel: Tensor

    def __init__(self, graph: nn.Module, config: TopDownConfig, reader: PixelReader) -> None:
        super().__init__()
        self.normalise = Normalise(config)
        self.reader = reader
        self.network = graph
        self.register_buffer("kernel", BLUR.repeat(len(config.skeleton), 1, 1, 1))

    def forward(self, *parts: Tensor) -> tuple[Tensor, Tensor]:
        heatmaps = self.network(self.normalise(self.blend(*parts)))
        return heatmaps, torch.conv2d(heatmaps, self.kernel, padding=1, groups=len(self.kernel))

    def blend(self, *parts: Tensor) -> Tensor:
        """The crops ``(N, h, w, 3)`` float32: whole numbers, rounded up from the middle."""
        planes = len(self.reader.steps)
        upper_left, upper_right, lower_left, lower_right = (
            self.reader.values(*parts[start : start + planes]) for start in range(0, 4 * planes, planes)
        )
        above, below, left, right = parts[4 * planes :]
        upper, lower = upper_left * left + upper_right * right, lower_left * left + lower_right * right
        blended = torch.floor((upper * above + lower * below) * (1 / FRACTIONS**2) + 0.5)
        return self.reader.to_rgb(blended)


class Keypoints(nn.Module):
    """Heatmaps ``(N, J, h, w)`` and the same blurred to keypoints ``(N, J, 3)``: x, y in heatmap cells, and the score."""

    cells: Tensor

    def __init__(self, config: TopDownConfig) -> None:
        super().__init__()
        self.decoding = keypoint_decoding(config)
        self.register_buffer("cells", torch.tensor([1 / config.heatmap_stride, 1 / config.heatmap_stride, 1.0]))

    def forward(self, heatmaps: Tensor, blurred: Tensor) -> Tensor:
        return self.decoding.decode(heatmaps, blurred) * self.cells
