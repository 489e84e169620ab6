"""What an exported file computes: normalisation, network and decoding in one graph."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinypose_torch.codecs.heatmap import HEATMAP_STRIDE
from tinypose_torch.models.config import BottomUpConfig, DetectorConfig, Entry, ModelConfig, TopDownConfig
from tinypose_torch.models.fairmot import MAX_OBJECTS, FairMOT, decode_centres
from tinypose_torch.models.picodet import LevelOutput
from tinypose_torch.models.picodet.detector import STRIDES
from tinypose_torch.models.picodet.heads import BINS
from tinypose_torch.models.ppyolov2 import PPYOLOv2, decode_yolo

# Where DARK reads the logarithm around the peak, as (dy, dx), and what it makes of it: central differences.
_POINTS = (
    *((0, -2), (0, -1), (0, 0), (0, 1), (0, 2)),
    *((-2, 0), (-1, 0), (1, 0), (2, 0)),
    *((-1, -1), (-1, 1), (1, -1), (1, 1)),
)
_DIFFERENCES: dict[str, dict[tuple[int, int], float]] = {
    "dx": {(0, 1): 0.5, (0, -1): -0.5},
    "dy": {(1, 0): 0.5, (-1, 0): -0.5},
    "dxx": {(0, 2): 0.25, (0, 0): -0.5, (0, -2): 0.25},
    "dyy": {(2, 0): 0.25, (0, 0): -0.5, (-2, 0): 0.25},
    "dxy": {(1, 1): 0.25, (-1, 1): -0.25, (1, -1): -0.25, (-1, -1): 0.25},
}


class ImageInput(nn.Module):
    """RGB images ``(N, H, W, 3)`` uint8 to the network's input ``(N, 3, H, W)``."""

    factor: Tensor
    offset: Tensor

    def __init__(self, entry: ModelConfig) -> None:
        super().__init__()
        mean, std = torch.tensor(entry.mean).double(), torch.tensor(entry.std).double()
        self.register_buffer("factor", (1 / (255 * std)).float().view(1, 3, 1, 1))
        self.register_buffer("offset", (-mean / std).float().view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return images.permute(0, 3, 1, 2).to(torch.float32) * self.factor + self.offset


class DarkDecoding(nn.Module):
    """Heatmaps ``(N, K, h, w)`` to keypoints ``(N, K, 3)``: x, y in pixels of the network's input, and the score.

    The same as `tinypose_torch.codecs.heatmap.decode_heatmaps`, in operations that every format has. Shapes are
    fixed when the graph is made.
    """

    kernel: Tensor
    offsets: Tensor
    differences: Tensor

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        row = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("kernel", torch.outer(row, row).view(1, 1, 3, 3))
        self.register_buffer("offsets", torch.tensor([dy * size[1] + dx for dy, dx in _POINTS]))
        weights = [[terms.get(point, 0.0) for terms in _DIFFERENCES.values()] for point in _POINTS]
        self.register_buffer("differences", torch.tensor(weights))

    def forward(self, heatmaps: Tensor) -> Tensor:
        n, k = heatmaps.shape[:2]
        h, w = self.size
        flat = heatmaps.reshape(n * k, h * w)
        peak = flat.amax(dim=1)
        index = flat.argmax(dim=1) * (peak > 0)
        y = torch.div(index, w, rounding_mode="floor")
        x = index - y * w
        maps = heatmaps.reshape(n * k, 1, h, w)
        blurred = torch.conv2d(maps, self.kernel, padding=1).reshape(n * k, h * w)
        ratio = (peak / blurred.amax(dim=1)).unsqueeze(1)
        inside = (x > 1) & (x < w - 2) & (y > 1) & (y < h - 2)
        centre = y.clamp(2, h - 3) * w + x.clamp(2, w - 3)
        around = blurred.gather(1, centre.unsqueeze(1) + self.offsets.unsqueeze(0))
        dx, dy, dxx, dyy, dxy = ((around * ratio).clamp(min=1e-10).log() @ self.differences).unbind(dim=1)
        determinant = dxx * dyy - dxy * dxy
        regular = inside & (determinant != 0)
        divisor = torch.where(regular, determinant, torch.ones_like(determinant))
        zero = torch.zeros_like(determinant)
        step_x = torch.where(regular, (dxy * dy - dyy * dx) / divisor, zero)
        step_y = torch.where(regular, (dxy * dx - dxx * dy) / divisor, zero)
        keypoints = torch.stack([(x + step_x) * HEATMAP_STRIDE, (y + step_y) * HEATMAP_STRIDE, peak], dim=1)
        return keypoints.reshape(n, k, 3)


class BoxDecoding(nn.Module):
    """Raw predictions per level to scores ``(N, A, C)`` and boxes ``(N, A, 4)``.

    The same as `tinypose_torch.models.picodet.decode_levels` for a fixed input size, in the layout in which backends
    hold their values: channels last, so that nothing but the reshapes of a single partition is left.
    """

    bins: Tensor

    def __init__(self, input_size: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("bins", torch.arange(BINS, dtype=torch.float32).view(1, BINS))
        for stride in STRIDES:
            height, width = (-(-size // stride) for size in input_size)
            y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
            centres = torch.stack([x, y, x, y], dim=-1).reshape(1, height * width, 4) * stride
            self.register_buffer(f"centres{stride}", centres)
            self.register_buffer(f"signs{stride}", torch.tensor([-1.0, -1.0, 1.0, 1.0]) * stride)

    def forward(self, levels: list[LevelOutput]) -> tuple[Tensor, Tensor]:
        scores, boxes = [], []
        for level, stride in zip(levels, STRIDES, strict=True):
            n, _, h, w = level.cls_logit.shape
            score = torch.sigmoid(level.cls_logit)
            if level.align_logit is not None:
                score = torch.sqrt(score * torch.sigmoid(level.align_logit) + 1e-9)
            scores.append(score.permute(0, 2, 3, 1).reshape(n, h * w, -1))
            distribution = level.box_logit.permute(0, 2, 3, 1).reshape(n, h * w * 4, BINS).softmax(dim=-1)
            distances = F.linear(distribution, self.bins).reshape(n, h * w, 4)
            boxes.append(distances * self.get_buffer(f"signs{stride}") + self.get_buffer(f"centres{stride}"))
        return torch.cat(scores, dim=1), torch.cat(boxes, dim=1)


class HalfPrecision(nn.Module):
    """A network computed in float16, with float32 in and out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.half()

    def forward(self, x: Tensor) -> Any:
        return _in_single_precision(self.network(x.half()))


def _in_single_precision(output: Any) -> Any:
    """Tensors, and whatever holds some, in float32."""
    if isinstance(output, Tensor):
        return output.float()
    if isinstance(output, list):
        return [_in_single_precision(part) for part in output]
    if isinstance(output, tuple):  # named ones all
        return type(output)(*(_in_single_precision(part) for part in output))
    return output


class PoseGraph(nn.Module):
    """Crops to keypoints or heatmaps."""

    def __init__(self, network: nn.Module, entry: TopDownConfig, images: bool, decode: bool) -> None:
        super().__init__()
        height, width = entry.input_size
        self.input = ImageInput(entry) if images else nn.Identity()
        self.network = network
        self.decoding = DarkDecoding((height // HEATMAP_STRIDE, width // HEATMAP_STRIDE)) if decode else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.decoding(self.network(self.input(x)))


class DetectorGraph(nn.Module):
    """Resized images to scores ``(N, A, C)`` and boxes ``(N, A, 4)`` in pixels of the input, before suppression.

    With embeddings ``(N, A, 128)`` of networks that give some.
    """

    def __init__(self, network: nn.Module, entry: DetectorConfig, images: bool) -> None:
        super().__init__()
        self.input = ImageInput(entry) if images else nn.Identity()
        self.network = network
        self.decoding = _detector_decoding(entry)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.decoding(self.network(self.input(x))))


def _detector_decoding(entry: DetectorConfig) -> Callable[[Any], tuple[Tensor, ...]]:
    if entry.network is PPYOLOv2:
        return decode_yolo
    if entry.network is FairMOT:
        return functools.partial(decode_centres, count=MAX_OBJECTS)
    return BoxDecoding(entry.input_size)


class BottomUpGraph(nn.Module):
    """Images to heatmaps and tags of half the size; grouping them is left to the caller."""

    def __init__(self, network: nn.Module, entry: BottomUpConfig, images: bool) -> None:
        super().__init__()
        self.input = ImageInput(entry) if images else nn.Identity()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        heatmaps, tags = self.network(self.input(x)).combined()
        return heatmaps, tags


Graph = PoseGraph | BottomUpGraph | DetectorGraph


def build_graph(network: nn.Module, entry: Entry, images: bool, decode: bool) -> Graph:
    """The graph of a network, in evaluation mode."""
    if isinstance(entry, TopDownConfig):
        return PoseGraph(network, entry, images, decode).eval()
    if isinstance(entry, BottomUpConfig):
        return BottomUpGraph(network, entry, images).eval()
    return DetectorGraph(network, entry, images).eval()
