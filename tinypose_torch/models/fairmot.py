"""FairMOT: detection and re-identification in one network, over DLA-34.

Zhang et al., "FairMOT: On the Fairness of Detection and Re-Identification in Multiple Object Tracking", IJCV 2021, on
Yu et al., "Deep Layer Aggregation", CVPR 2018, and Zhou et al., "Objects as Points", arXiv 1904.07850, 2019. The
backbone is timm's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinypose_torch.geometry.nms import NO_NMS
from tinypose_torch.models.base import Detector
from tinypose_torch.models.config import DetectorConfig
from tinypose_torch.models.deformable import NOT_ON_PHONES, DeformableConv
from tinypose_torch.models.registry import register_model
from tinypose_torch.models.timm_parts import timm_module
from tinypose_torch.models.weights import MODEL_HOST, official_weights

STRIDE = 4  # input pixels per cell of the maps
MAX_OBJECTS = 500  # returned per image
WIDTHS = (64, 128, 256, 512)  # of the backbone's features of strides 4 to 32


class DeformableConvNorm(nn.Module):
    """Deformable convolution, batch normalisation and ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = DeformableConv(in_channels, out_channels, bias=True)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class IterativeAggregation(nn.Module):
    """Merge levels iteratively into the finest one.

    Args:
        in_channels: Of the levels, finest first.
        scales: Of the levels but the first: how much coarser than the first each is.
        width: Channels of the results.
    """

    def __init__(self, in_channels: Sequence[int], scales: Sequence[int], width: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(DeformableConvNorm(channels, width) for channels in in_channels[1:])
        self.enlarge = nn.ModuleList(_bilinear_enlargement(width, scale) for scale in scales)
        self.merge = nn.ModuleList(DeformableConvNorm(width, width) for _ in scales)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """The first level, and the result of merging each of the others into it."""
        merged = [levels[0]]
        for project, enlarge, merge, level in zip(self.project, self.enlarge, self.merge, levels[1:], strict=True):
            merged.append(merge(enlarge(project(level)) + merged[-1]))
        return merged


class DeepAggregation(nn.Module):
    """Merge features of strides 4 to 32 into one map of stride 4 with 64 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList()
        widths = list(WIDTHS)
        for count in range(2, len(WIDTHS) + 1):
            first = len(WIDTHS) - count
            self.steps.append(IterativeAggregation(widths[first:], (2,) * (count - 1), widths[first]))
            widths[first:] = [widths[first]] * count
        self.last = IterativeAggregation(WIDTHS[:3], (2, 4), WIDTHS[0])

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        levels = list(features)
        finest = [levels[-1]]
        for count, step in enumerate(self.steps, start=2):
            levels[-count:] = step(levels[-count:])
            finest.insert(0, levels[-1])
        return self.last(finest[:3])[-1]


class FairMOTMaps(NamedTuple):
    """Output maps of the network, ``(N, channels, H/4, W/4)``.

    Attributes:
        heatmap: Probability that an object's centre is here, one map per class.
        size: Distances to the left, top, right and bottom of its box, cells; of networks that were trained so, its width
            and height, with the cell in the middle.
        offset: x, y of the centre from the cell, cells.
        appearance: 128 numbers that tell one object from another, not normalised.
    """

    heatmap: Tensor
    size: Tensor
    offset: Tensor
    appearance: Tensor


class TrackedBoxes(NamedTuple):
    """Decoded objects of a batch.

    Attributes:
        scores: ``(N, M, C)`` in [0, 1].
        boxes: ``(N, M, 4)`` x1, y1, x2, y2 in pixels of the network's input.
        embeddings: ``(N, M, 128)``, unit length.
    """

    scores: Tensor
    boxes: Tensor
    embeddings: Tensor


class FairMOT(Detector):
    """FairMOT with DLA-34.

    Args:
        num_classes: Number C of classes.
        num_identities: Of the training set: the classifier that the embeddings are trained with tells so many apart.
    """

    mobile_limitation = NOT_ON_PHONES
    paddle_names = "FairMOT"

    def __init__(self, num_classes: int = 1, num_identities: int = 14455) -> None:
        super().__init__()
        dla = timm_module("models.dla")
        self.backbone = dla.DLA(
            levels=(1, 1, 1, 2, 2, 1), channels=(16, 32, *WIDTHS), block=dla.DlaBasic, num_classes=0, global_pool=""
        )
        self.neck = DeepAggregation()
        self.heatmap = _head(num_classes)
        self.size = _head(4)
        self.offset = _head(2)
        self.appearance = _head(128)
        # for training only: identity classifier, and task weights (Kendall et al., CVPR 2018)
        self.classifier = nn.Linear(128, num_identities)
        self.detection_weight = nn.Parameter(torch.tensor([-1.85]))
        self.appearance_weight = nn.Parameter(torch.tensor([-1.05]))
        nn.init.constant_(self.heatmap[2].bias, -2.19)  # type: ignore[arg-type]  # initial probability 0.1, for a small initial loss

    def forward(self, x: Tensor) -> FairMOTMaps:
        """RGB images ``(N, 3, H, W)`` in [0, 1], H and W divisible by 32."""
        features = self.backbone.forward_intermediates(x, indices=(2, 3, 4, 5), intermediates_only=True)
        shared = self.neck(features)
        heatmap = self.heatmap(shared).sigmoid()
        return FairMOTMaps(heatmap, self.size(shared), self.offset(shared), self.appearance(shared))

    def decode(self, outputs: FairMOTMaps) -> TrackedBoxes:
        """Decode the maps to objects by descending score."""
        return decode_centres(outputs, MAX_OBJECTS)

    def head_prefixes(self) -> tuple[str, ...]:
        """Names of the modules whose shape depends on the number of classes."""
        return ("heatmap.2",)


def decode_centres(maps: FairMOTMaps, count: int) -> TrackedBoxes:
    """Decode local maxima of the heatmap as objects.

    Args:
        count: How many of the best are returned; beyond the number of peaks their score is 0.
    """
    heat = maps.heatmap
    classes, width = heat.shape[1], heat.shape[3]
    peaks = heat * (F.max_pool2d(heat, 3, 1, 1) == heat)
    scores, flat = peaks.flatten(1).topk(min(count, peaks[0].numel()))
    cells = peaks[0, 0].numel()
    cell = flat % cells
    x, y = (cell % width).to(heat.dtype), torch.div(cell, width, rounding_mode="floor").to(heat.dtype)
    sides = at_cells(maps.size, cell)
    left, top, right, bottom = (sides if sides.shape[2] == 4 else torch.cat([sides, sides], dim=2) / 2).unbind(dim=2)
    dx, dy = at_cells(maps.offset, cell).unbind(dim=2)
    boxes = torch.stack([x + dx - left, y + dy - top, x + dx + right, y + dy + bottom], dim=2) * STRIDE
    embeddings = F.normalize(at_cells(maps.appearance, cell), dim=2)
    kinds = torch.div(flat, cells, rounding_mode="floor")
    by_class = F.one_hot(kinds, classes).to(scores.dtype) * scores.unsqueeze(2)
    return TrackedBoxes(by_class, boxes, embeddings)


def at_cells(maps: Tensor, cells: Tensor) -> Tensor:
    """Values ``(N, M, channels)`` of maps ``(N, channels, h, w)`` at cells ``(N, M)``: ``row * w + column``."""
    index = cells.unsqueeze(1).expand(-1, maps.shape[1], -1)
    return maps.flatten(2).gather(2, index).transpose(1, 2)


def _head(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(WIDTHS[0], 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, channels, 1))


def _bilinear_enlargement(channels: int, scale: int) -> nn.ConvTranspose2d:
    """Depthwise transposed convolution that upsamples by ``scale``, initialised as bilinear."""
    layer = nn.ConvTranspose2d(channels, channels, 2 * scale, scale, scale // 2, groups=channels, bias=False)
    centre = (2 * scale - 1) / (2 * scale)
    ramp = torch.tensor([1 - abs(index / scale - centre) for index in range(2 * scale)])
    with torch.no_grad():
        layer.weight.copy_(torch.outer(ramp, ramp).expand_as(layer.weight))
    return layer


@register_model
def fairmot() -> DetectorConfig:
    """FairMOT with DLA-34, for pedestrians; its documented accuracy is of tracking."""
    return DetectorConfig(
        name="fairmot_dla34",
        network=FairMOT,
        input_size=(608, 1088),
        weights=official_weights(f"{MODEL_HOST}mot/fairmot_dla34_30e_1088x608.pdparams"),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        strides=(STRIDE,),
        nms=NO_NMS,
        person_threshold=0.4,
        letterbox=True,
        embeddings=True,
    )
