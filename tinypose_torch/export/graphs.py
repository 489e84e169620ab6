"""What an exported file computes: normalisation, network and decoding in one graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tinypose_torch.codecs.heatmap import HEATMAP_STRIDE
from tinypose_torch.models.base import Decoder, Network
from tinypose_torch.models.config import ModelConfig, TopDownConfig, of_task

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

# DARK's blur: [1/4, 1/2, 1/4] in both axes.
BLUR = torch.outer(torch.tensor([0.25, 0.5, 0.25]), torch.tensor([0.25, 0.5, 0.25])).view(1, 1, 3, 3)


class ToFloat(nn.Module):
    """uint8 to float32."""

    def forward(self, x: Tensor) -> Tensor:
        return x.to(torch.float32)


class Normalise(nn.Module):
    """RGB images ``(N, H, W, 3)`` float32 from 0 to 255 to the network's input ``(N, 3, H, W)``.

    Mean and deviation are as wide as the images: XNNPACK takes ten times as long to broadcast the last dimension.
    """

    factor: Tensor
    offset: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        factor, offset = normalisation(config)
        width = config.input_size[1]
        self.register_buffer("factor", factor.repeat(1, 1, width, 1))
        self.register_buffer("offset", offset.repeat(1, 1, width, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images * self.factor + self.offset).permute(0, 3, 1, 2)


def normalisation(config: ModelConfig) -> tuple[Tensor, Tensor]:
    """Factor and offset ``(1, 1, 1, 3)`` that normalise RGB values from 0 to 255."""
    mean, std = torch.tensor(config.mean).double(), torch.tensor(config.std).double()
    return (1 / (255 * std)).float().view(1, 1, 1, 3), (-mean / std).float().view(1, 1, 1, 3)


class ImageInput(nn.Module):
    """RGB images ``(N, H, W, 3)`` uint8 to the network's input ``(N, 3, H, W)``."""

    factor: Tensor
    offset: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        factor, offset = normalisation(config)
        self.register_buffer("factor", factor.view(1, 3, 1, 1))
        self.register_buffer("offset", offset.view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return images.permute(0, 3, 1, 2).to(torch.float32) * self.factor + self.offset


class DarkDecoding(nn.Module):
    """Heatmaps ``(N, K, h, w)`` to keypoints ``(N, K, 3)``: x, y in pixels of the network's input, and the score.

    The same as `tinypose_torch.codecs.heatmap.decode_heatmaps`, in operations that every format has. Shapes are
    fixed when the graph is made.

    Args:
        size: (height, width) of the heatmaps.
        stride: Input pixels per heatmap cell.
    """

    kernel: Tensor
    offsets: Tensor
    differences: Tensor

    def __init__(self, size: tuple[int, int], stride: int = HEATMAP_STRIDE) -> None:
        super().__init__()
        self.size, self.stride = size, stride
        self.register_buffer("kernel", BLUR)
        self.register_buffer("offsets", torch.tensor([dy * size[1] + dx for dy, dx in _POINTS]))
        weights = [[terms.get(point, 0.0) for terms in _DIFFERENCES.values()] for point in _POINTS]
        self.register_buffer("differences", torch.tensor(weights))

    def forward(self, heatmaps: Tensor) -> Tensor:
        maps = heatmaps.reshape(-1, 1, *self.size)
        return self.decode(heatmaps, torch.conv2d(maps, self.kernel, padding=1))

    def decode(self, heatmaps: Tensor, blurred: Tensor) -> Tensor:
        """Decode heatmaps that were blurred before."""
        n, k = heatmaps.shape[:2]
        h, w = self.size
        flat = heatmaps.reshape(n * k, h * w)
        peak = flat.amax(dim=1)
        index = flat.argmax(dim=1) * (peak > 0)
        y = torch.div(index, w, rounding_mode="floor")
        x = index - y * w
        blurred = blurred.reshape(n * k, h * w)
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
        keypoints = torch.stack([(x + step_x) * self.stride, (y + step_y) * self.stride, peak], dim=1)
        return keypoints.reshape(n, k, 3)


class HalfPrecision(nn.Module):
    """A network computed in float16, with float32 in and out."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network.half()

    def forward(self, x: Tensor) -> Any:
        return _in_single_precision(self.network(x.half()))

    def export_decoder(self, input_size: tuple[int, int]) -> Decoder:
        """See `Network.export_decoder`."""
        return self.network.export_decoder(input_size)


def _in_single_precision(output: Any) -> Any:
    """Tensors, and whatever holds some, in float32."""
    if isinstance(output, Tensor):
        return output.float()
    if isinstance(output, list):
        return [_in_single_precision(part) for part in output]
    if isinstance(output, tuple):  # named ones all
        return type(output)(*(_in_single_precision(part) for part in output))
    return output


class Graph(nn.Module):
    """What an exported file computes.

    Top-down: crops to keypoints ``(N, K, 3)``, or heatmaps ``(N, K, h, w)``. Bottom-up: images to heatmaps and tags of
    half the size. Detectors: resized images to scores ``(N, A, C)`` and boxes ``(N, A, 4)`` in pixels of the input before
    non-maximum suppression, with embeddings ``(N, A, D)`` of networks that have some.

    Args:
        network: Of `rewrite`.
        images: Takes uint8 NHWC images; else normalised float32 NCHW.
        decode: Top-down: keypoints out; else heatmaps.
    """

    def __init__(self, network: Network | HalfPrecision, config: ModelConfig, images: bool, decode: bool) -> None:
        super().__init__()
        self.input: nn.Module = ImageInput(config) if images else nn.Identity()
        self.network = network
        self.decoding = network.export_decoder(config.input_size)
        self.keypoints = keypoint_decoding(of_task(config, TopDownConfig)) if decode else None

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        outputs = tuple(self.decoding(self.network(self.input(x))))
        if self.keypoints is not None:
            return self.keypoints(outputs[0])
        return outputs if len(outputs) > 1 else outputs[0]


class FixedGraph(nn.Module):
    """A graph of PT2E as part of a module; it refuses to be asked for evaluation mode, in which it is."""

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.program = graph  # named `graph` it would hide the graph of an exported module

    def train(self, mode: bool = True) -> FixedGraph:
        """Changes nothing."""
        return self

    def forward(self, x: Tensor) -> Any:
        return self.program(x)


def keypoint_decoding(config: TopDownConfig) -> DarkDecoding:
    """The decoding of a pose network's heatmaps."""
    return DarkDecoding(config.heatmap_size, config.heatmap_stride)


def build_graph(network: Network | HalfPrecision, config: ModelConfig, images: bool, decode: bool) -> Graph:
    """The graph of a network, in evaluation mode."""
    return Graph(network, config, images, decode).eval()
