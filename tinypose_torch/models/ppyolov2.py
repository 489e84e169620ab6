"""PP-YOLOv2: ResNet-50-vd with deformable convolutions, a path aggregation neck, and an IoU-aware YOLO head.

Huang et al., "PP-YOLOv2: A Practical Object Detector", arXiv 2104.10419, 2021. The residual blocks are timm's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinypose_torch.geometry.matrix_nms import MatrixNMSConfig
from tinypose_torch.models.base import Detector
from tinypose_torch.models.config import DetectorConfig
from tinypose_torch.models.constants import COCO_CLASSES
from tinypose_torch.models.deformable import NOT_ON_PHONES, DeformableConv
from tinypose_torch.models.layers import ConvNormAct, norm_parameters
from tinypose_torch.models.picodet import DecodedBoxes
from tinypose_torch.models.registry import register_model
from tinypose_torch.models.timm_parts import timm_module
from tinypose_torch.models.weights import MODEL_HOST, official_weights

if TYPE_CHECKING:
    from tinypose_torch.losses.assigners import Targets

STRIDES = (32, 16, 8)
# Width and height in pixels of the network's input, of the levels of these strides.
ANCHORS = (
    ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
    ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
    ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
)
PER_CELL = 3
CENTRE_SCALE = 1.05  # grid sensitivity: range of a centre relative to its cell
_MIN_OBJECTNESS = 0.01
_PROBABILITY_EPSILON = 1e-7  # probabilities are clamped to [epsilon, 1 - epsilon]
_POOLS = (5, 9, 13)


class ResNetVd(nn.Module):
    """ResNet-50-vd (He et al., "Bag of Tricks", CVPR 2019) whose last stage is deformable.

    Images ``(N, 3, H, W)`` to features of strides 8, 16 and 32 with 512, 1024 and 2048 channels.
    """

    out_channels = (512, 1024, 2048)

    def __init__(self) -> None:
        super().__init__()
        resnet = timm_module("models.resnet")
        made = resnet.ResNet(
            resnet.Bottleneck, [3, 4, 6, 3], stem_width=32, stem_type="deep", avg_down=True, num_classes=0
        )
        self.stem = nn.Sequential(made.conv1, made.bn1, made.act1)
        self.max_pool = made.maxpool
        self.stages = nn.ModuleList([made.layer1, made.layer2, made.layer3, made.layer4])
        for block in made.layer4:
            plain = block.conv2
            block.conv2 = DeformableConv(plain.in_channels, plain.out_channels, plain.stride[0])

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.max_pool(self.stem(x))
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features[1:]


class PyramidPooling(nn.Module):
    """Spatial pyramid pooling over 5, 9 and 13 cells (He et al., "Spatial Pyramid Pooling", ECCV 2014)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = _conv(channels * (1 + len(_POOLS)), channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(torch.cat([x, *(F.max_pool2d(x, size, 1, size // 2) for size in _POOLS)], dim=1))


class CrossStageBlock(nn.Module):
    """Three pairs of convolutions beside a shortcut (Wang et al., "CSPNet", CVPR Workshops 2020).

    Args:
        pooled: `PyramidPooling` instead of the second pair's 3x3.
        dropped: In training, squares of the features after the second pair are left out (Ghiasi et al., "DropBlock",
            NeurIPS 2018).
    """

    def __init__(self, in_channels: int, out_channels: int, pooled: bool = False, dropped: bool = False) -> None:
        super().__init__()
        width = out_channels // 2
        self.left = _conv(in_channels, width)
        self.right = _conv(in_channels, width)
        pairs: list[nn.Module] = []
        for index in range(3):
            second = PyramidPooling(width) if pooled and index == 1 else _conv(width, width, 3)
            pair = nn.Sequential(_conv(width, width), second)
            if dropped and index == 1:
                pair.append(timm_module("layers").DropBlock2d(drop_prob=0.1, block_size=3))
            pairs.append(pair)
        self.pairs = nn.Sequential(*pairs)
        self.merge = _conv(2 * width, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.merge(torch.cat([self.pairs(self.left(x)), self.right(x)], dim=1))


class PathAggregation(nn.Module):
    """Path aggregation network: features from fine to coarse in, features from coarse to fine out.

    Liu et al., "Path Aggregation Network", CVPR 2018.
    """

    def __init__(self, in_channels: Sequence[int]) -> None:
        super().__init__()
        down, narrowed = [], []
        carried = 0
        for level, channels in enumerate(reversed(in_channels)):
            width = 1024 // 2**level
            down.append(CrossStageBlock(channels + carried, width, pooled=level == 0, dropped=True))
            carried = width // 2
            if level < len(in_channels) - 1:
                narrowed.append(_conv(width, carried))
        self.down, self.narrow = nn.ModuleList(down), nn.ModuleList(narrowed)
        # from the finest level up; PaddleDetection numbers them from the coarsest
        self.halve = nn.ModuleList([_conv(512, 512, 3, stride=2), _conv(256, 256, 3, stride=2)])
        self.up = nn.ModuleList([CrossStageBlock(512 + 1024, 1024), CrossStageBlock(256 + 512, 512)])

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        levels: list[Tensor] = []
        for level, x in enumerate(reversed(features)):
            if levels:
                coarse = F.interpolate(self.narrow[level - 1](levels[-1]), scale_factor=2.0, mode="nearest")
                x = torch.cat([coarse, x], dim=1)
            levels.append(self.down[level](x))
        outputs = [levels[-1]]
        for level in (1, 0):
            x = torch.cat([self.halve[level](outputs[0]), levels[level]], dim=1)
            outputs.insert(0, self.up[level](x))
        return outputs


class PPYOLOv2(Detector):
    """PP-YOLOv2 with ResNet-50-vd.

    Args:
        num_classes: Number C of classes.
    """

    mobile_limitation = NOT_ON_PHONES
    paddle_names = "PPYOLOv2"

    def __init__(self, num_classes: int = 80) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.backbone = ResNetVd()
        self.neck = PathAggregation(self.backbone.out_channels)
        self.outputs = nn.ModuleList(
            nn.Conv2d(1024 // 2**level, PER_CELL * (6 + num_classes), 1) for level in range(len(STRIDES))
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Normalised RGB images ``(N, 3, H, W)``, H and W divisible by 32, to raw predictions per level, coarse to fine.

        Each is ``(N, 3 + 3 * (5 + C), h, w)``: the IoU logits of the three boxes of a cell, then for each x, y, w, h,
        object and class logits.
        """
        return [output(level) for output, level in zip(self.outputs, self.neck(self.backbone(x)), strict=True)]

    def decode(self, outputs: Sequence[Tensor]) -> DecodedBoxes:
        """Decode the outputs to scores and boxes before NMS."""
        return decode_yolo(outputs)

    def head_prefixes(self) -> tuple[str, ...]:
        """Names of the modules whose shape depends on the number of classes."""
        return tuple(f"outputs.{level}" for level in range(len(STRIDES)))

    def head_rows(self, index: int) -> list[int]:
        return [row + 1 + index for row in self.object_rows()]

    def prior_rows(self) -> list[int]:
        return super().prior_rows() + self.object_rows()

    def object_rows(self) -> list[int]:
        """Output channels of the objectness."""
        return [PER_CELL + box * (5 + self.num_classes) + 4 for box in range(PER_CELL)]

    def no_weight_decay(self) -> Collection[str]:
        """The batch norms."""
        return norm_parameters(self)

    def timm_backbone(self) -> str | None:
        return "resnet50d"

    def loss(
        self,
        outputs: Sequence[Tensor],
        targets: Targets,
        image_size: tuple[int, int],
        *,
        use_atss: bool,
        atss_topk: int,
    ) -> dict[str, Tensor]:
        from tinypose_torch.losses.yolo import assign_to_anchors, yolo_loss  # imports this module

        assigned = assign_to_anchors(targets, image_size, self.num_classes)
        loss = yolo_loss([raw.float() for raw in outputs], targets, assigned)
        return {"loss": loss.total, **loss._asdict()}


def split_level(raw: Tensor) -> tuple[Tensor, Tensor]:
    """A level's raw prediction as IoU logits ``(N, 3, h, w)`` and ``(N, 3, 5 + C, h, w)``."""
    n, _, h, w = raw.shape
    return raw[:, :PER_CELL], raw[:, PER_CELL:].reshape(n, PER_CELL, -1, h, w)


def level_boxes(prediction: Tensor, level: int) -> Tensor:
    """Boxes ``(N, 3, h, w, 4)`` x1, y1, x2, y2, input pixels, of a level's x, y, w, h ``(N, 3, >= 4, h, w)``."""
    h, w = prediction.shape[-2:]
    stride = STRIDES[level]
    cells = [torch.arange(size, device=prediction.device).to(prediction.dtype) for size in (h, w)]
    anchors = torch.tensor(ANCHORS[level], device=prediction.device, dtype=prediction.dtype).view(PER_CELL, 2, 1, 1)
    slack = 0.5 * (CENTRE_SCALE - 1)
    x = (prediction[:, :, 0].sigmoid() * CENTRE_SCALE - slack + cells[1]) * stride
    y = (prediction[:, :, 1].sigmoid() * CENTRE_SCALE - slack + cells[0].view(-1, 1)) * stride
    half_width = prediction[:, :, 2].exp() * anchors[:, 0] / 2
    half_height = prediction[:, :, 3].exp() * anchors[:, 1] / 2
    return torch.stack([x - half_width, y - half_height, x + half_width, y + half_height], dim=-1)


def object_scores(iou_logits: Tensor, object_logits: Tensor) -> Tensor:
    """Geometric mean of objectness and predicted IoU, as logits' probabilities."""
    merged = iou_logits.sigmoid().sqrt() * object_logits.sigmoid().sqrt()
    return merged.clamp(_PROBABILITY_EPSILON, 1 - _PROBABILITY_EPSILON)


def decode_yolo(levels: Sequence[Tensor]) -> DecodedBoxes:
    """Scores and boxes of all levels; per level box by box of a cell, then rows, then columns.

    The score is ``object * class``, and 0 where the object's score is below 0.01.
    """
    scores, boxes = [], []
    for level, raw in enumerate(levels):
        iou, prediction = split_level(raw)
        objects = object_scores(iou, prediction[:, :, 4])
        objects = torch.where(objects < _MIN_OBJECTNESS, torch.zeros_like(objects), objects)
        by_class = objects.unsqueeze(2) * prediction[:, :, 5:].sigmoid()
        scores.append(by_class.permute(0, 1, 3, 4, 2).flatten(1, 3))
        boxes.append(level_boxes(prediction, level).flatten(1, 3))
    return DecodedBoxes(torch.cat(scores, dim=1), torch.cat(boxes, dim=1))


def _conv(in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1) -> ConvNormAct:
    return ConvNormAct(in_channels, out_channels, kernel, stride, activation=nn.Mish)


@register_model
def ppyolov2() -> DetectorConfig:
    """PP-YOLOv2 with ResNet-50-vd, trained on COCO."""
    return DetectorConfig(
        name="ppyolov2_r50vd_dcn",
        network=PPYOLOv2,
        input_size=(640, 640),
        weights=official_weights(f"{MODEL_HOST}ppyolov2_r50vd_dcn_365e_coco.pdparams"),
        coco_ap=49.5,
        class_names=COCO_CLASSES,
        strides=STRIDES,
        nms=MatrixNMSConfig(),
    )
