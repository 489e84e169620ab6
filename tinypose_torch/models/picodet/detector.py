"""PicoDet: backbone, neck, head, and the decoding of its box distributions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from tinypose_torch.models.base import Decoder, Detector
from tinypose_torch.models.layers import norm_parameters
from tinypose_torch.models.picodet.backbones import ESNet, LCNet
from tinypose_torch.models.picodet.heads import BINS, LevelOutput, PicoDetHead
from tinypose_torch.models.picodet.necks import CSPBlock, PicoDetNeck, lc_block

if TYPE_CHECKING:
    from tinypose_torch.losses.assigners import Targets

STRIDES = (8, 16, 32, 64)


class DecodedBoxes(NamedTuple):
    """Predictions of all A anchor points, levels fine to coarse, rows, then columns.

    Attributes:
        scores: ``(N, A, C)`` in [0, 1].
        boxes: ``(N, A, 4)`` x1, y1, x2, y2 in pixels of the network's input.
    """

    scores: Tensor
    boxes: Tensor


class PicoDet(Detector):
    """PicoDet of either generation.

    Args:
        backbone: ``"lcnet"`` (2022: LC-PAN, aligned head) or ``"esnet"`` (2021: CSP-PAN, legacy head).
        scale: Width factor of the backbone.
        channels: Width of neck and head.
        num_convs: Depth of the head's towers.
        num_classes: Number C of classes.
        channel_ratio: The 13 inner widths of ESNet; not for LCNet.
    """

    paddle_names = "PicoDet"

    def __init__(
        self,
        backbone: str,
        scale: float,
        channels: int,
        num_convs: int,
        num_classes: int = 80,
        channel_ratio: Sequence[float] = (),
    ) -> None:
        super().__init__()
        if backbone not in ("lcnet", "esnet"):
            raise ValueError(f"unknown PicoDet backbone {backbone!r}; choose 'lcnet' or 'esnet'")
        aligned = self.aligned = backbone == "lcnet"
        self.scale = scale
        self.backbone = LCNet(scale) if aligned else ESNet(scale, channel_ratio)
        self.neck = PicoDetNeck(self.backbone.out_channels, channels, lc_block if aligned else CSPBlock)
        self.head = PicoDetHead(channels, num_convs, num_classes, aligned)

    def forward(self, x: Tensor) -> list[LevelOutput]:
        """Normalised RGB images ``(N, 3, H, W)``, H and W divisible by 64 or 32, to raw predictions per level."""
        return self.head(self.neck(self.backbone(x)))

    def decode(self, outputs: Sequence[LevelOutput]) -> DecodedBoxes:
        """Decode the outputs to scores and boxes before NMS."""
        return decode_levels(outputs)

    def head_prefixes(self) -> tuple[str, ...]:
        """Names of the modules whose shape depends on the number of classes."""
        return tuple(f"head.predictors.{level}.{'cls' if self.aligned else 'output'}" for level in range(len(STRIDES)))

    def no_weight_decay(self) -> Collection[str]:
        """The batch norms of the backbone, the towers, and most of the 2022 neck, as in PaddleDetection."""

        def exempt(name: str) -> bool:
            in_neck = self.aligned and (name.startswith("neck.top_down_blocks.") or ".block." in name)
            return name.startswith(("backbone.", "head.towers.")) or in_neck

        return [name for name in norm_parameters(self) if exempt(name)]

    def timm_backbone(self) -> str | None:
        return "lcnet_075" if self.aligned and self.scale == 0.75 else None

    def export_decoder(self, input_size: tuple[int, int]) -> Decoder:
        from tinypose_torch.models.picodet.export import BoxDecoding  # imports this module

        return BoxDecoding(input_size)

    def loss(
        self,
        outputs: Sequence[LevelOutput],
        targets: Targets,
        image_size: tuple[int, int],
        *,
        use_atss: bool,
        atss_topk: int,
    ) -> dict[str, Tensor]:
        from tinypose_torch.losses.detection import legacy_loss, task_aligned_loss  # imports this module

        loss = (
            task_aligned_loss(outputs, targets, use_atss, atss_topk) if self.aligned else legacy_loss(outputs, targets)
        )
        return {"loss": loss.total, **loss._asdict()}

    def outputs_of_layers(self, layers: Mapping[str, Tensor]) -> list[LevelOutput]:
        levels: list[LevelOutput] = []
        for prefix in (f"head.predictors.{level}" for level in range(len(STRIDES))):
            if self.aligned:
                align = layers[f"{prefix}.align.1.norm"]
                levels.append(LevelOutput(layers[f"{prefix}.cls"], layers[f"{prefix}.reg"], align))
            else:
                both = layers[f"{prefix}.output"]
                classes = both.shape[1] - 4 * BINS
                levels.append(LevelOutput(both[:, :classes], both[:, classes:], None))
        return levels


def decode_levels(levels: Sequence[LevelOutput]) -> DecodedBoxes:
    """Scores and boxes of all levels.

    The score is the class probability in the 2021 head, and ``sqrt(class * alignment + 1e-9)`` in the 2022 one.
    """
    decoded = [
        (_level_scores(level), decode_distances(level.box_logit, stride))
        for level, stride in zip(levels, STRIDES, strict=True)
    ]
    return DecodedBoxes(
        torch.cat([scores for scores, _ in decoded], dim=1),
        torch.cat([boxes for _, boxes in decoded], dim=1),
    )


def _level_scores(level: LevelOutput) -> Tensor:
    scores = torch.sigmoid(level.cls_logit)
    if level.align_logit is not None:
        scores = torch.sqrt(scores * torch.sigmoid(level.align_logit) + 1e-9)
    return scores.flatten(2).transpose(1, 2)


def decode_distances(box_logit: Tensor, stride: int) -> Tensor:
    """Expected distances from the anchor points, as boxes (integral regression of Li et al., 2020).

    Args:
        box_logit: ``(N, 4 * BINS, h, w)``.
        stride: Input pixels per cell; anchor points are the centres of the cells.

    Returns:
        ``(N, h * w, 4)`` x1, y1, x2, y2 in input pixels.
    """
    n, _, h, w = box_logit.shape
    bins = torch.arange(BINS, device=box_logit.device, dtype=box_logit.dtype)
    probability = box_logit.view(n, 4, BINS, h * w).softmax(dim=2)
    left, top, right, bottom = (probability * bins.view(1, 1, BINS, 1)).sum(dim=2).unbind(dim=1)
    rows = torch.arange(h, device=box_logit.device, dtype=box_logit.dtype) + 0.5
    columns = torch.arange(w, device=box_logit.device, dtype=box_logit.dtype) + 0.5
    y = rows.view(h, 1).expand(h, w).reshape(-1)
    x = columns.view(1, w).expand(h, w).reshape(-1)
    return torch.stack([x - left, y - top, x + right, y + bottom], dim=-1) * stride
