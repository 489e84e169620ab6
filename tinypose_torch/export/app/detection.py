"""Frame to people, in tensors: portable resize, detector and NMS."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from tinypose_torch.export.graphs import Normalise
from tinypose_torch.geometry.nms import NMSConfig
from tinypose_torch.geometry.portable import COEFFICIENT_SCALE, cubic_taps
from tinypose_torch.models.config import DetectorConfig

Size = tuple[int, int]
# Adding and subtracting 1.5 * 2^23 rounds a float32 below 2^22 to the nearest whole number, halves to the even one.
_ROUNDER = 1.5 * 2**23


class ToFrame(nn.Module):
    """Images ``(1, 3, H, W)`` float32 from 0 to 1 to frames ``(H, W, 3)``: whole numbers from 0 to 255, still float32."""

    def forward(self, image: Tensor) -> Tensor:
        values = ((image * 255.0 + _ROUNDER) - _ROUNDER).clamp(0, 255)
        return values.reshape(values.shape[1:]).permute(1, 2, 0)


class Taps(nn.Module):
    """What a cubic resize reads of one axis: four times the lines of an image ``(H, W, C)`` along that axis.

    Args:
        axis: 0 for rows, 1 for columns.
        source, target: Sizes of the axis before and after the resize, pixels.
    """

    def __init__(self, axis: int, source: int, target: int) -> None:
        super().__init__()
        self.axis = axis
        for tap, indices in enumerate(cubic_taps(source, target)[0]):
            self.register_buffer(f"lines{tap}", torch.from_numpy(indices))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(image.index_select(self.axis, lines) for lines in self.buffers())


class RowBlend(nn.Module):
    """The rows that a resize reads, ``(h, w, 3)`` four times, to the resized image: whole numbers from 0 to 255.

    Terms are added in OpenCV's order; see `tinypose_torch.geometry.portable.resize_cubic`.
    """

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        for tap, weights in enumerate(cubic_taps(source, target)[1] * np.float32(1 / COEFFICIENT_SCALE**2)):
            self.register_buffer(f"weights{tap}", torch.from_numpy(weights).reshape(target, 1, 1))

    def forward(self, *rows: Tensor) -> Tensor:
        first, second, third, fourth = (each * weights for each, weights in zip(rows, self.buffers(), strict=True))
        total = first + (second + (third + fourth))
        return ((total + _ROUNDER) - _ROUNDER).clamp(0, 255)


class DetectorPart(nn.Module):
    """The rows that the resize reads to the detector's scores ``(1, A, C)`` and boxes ``(1, A, 4)``.

    Args:
        graph: The detector, normalised float32 in; see `tinypose_torch.export.graphs.build_graph`.
        frame_height: Height of the frame, pixels.
    """

    def __init__(self, graph: nn.Module, config: DetectorConfig, frame_height: int) -> None:
        super().__init__()
        self.blend = RowBlend(frame_height, config.input_size[0])
        self.normalise = Normalise(config)
        self.network = graph

    def forward(self, *rows: Tensor) -> tuple[Tensor, Tensor]:
        image = self.blend(*rows)
        scores, boxes = self.network(self.normalise(image.reshape(1, *image.shape)))  # XNNPACK takes no unsqueeze
        return scores, boxes


class PeopleSelection(nn.Module):
    """The detector's output to the people with the highest scores, by greedy NMS.

    The same as `tinypose_torch.geometry.nms.multiclass_nms` for the person class, cut off after the last slot. The limits of
    candidates per level and class, 1000 and 200, are not applied: so many score more than the person threshold in no frame.

    Args:
        config: Of the detector, with a person class.
        frame_size: (height, width) of the frame, pixels.
        max_people: Number of slots K.
        threshold: Scores must be higher.
    """

    scale: Tensor
    limit: Tensor
    places: Tensor

    def __init__(self, config: DetectorConfig, frame_size: Size, max_people: int, threshold: float) -> None:
        super().__init__()
        rule = config.nms
        assert isinstance(rule, NMSConfig)
        self.max_people, self.person_class = max_people, config.person_class
        self.threshold, self.iou_threshold = max(threshold, rule.score_threshold), rule.iou_threshold
        self.clip = rule.clip
        per_pixel = [size / pixels for size, pixels in zip(config.input_size, frame_size, strict=True)]
        self.register_buffer("scale", torch.tensor([per_pixel[1], per_pixel[0]] * 2))
        self.register_buffer("limit", torch.tensor([frame_size[1], frame_size[0]] * 2, dtype=torch.float32))

    def forward(self, scores: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes ``(K, 4)`` in pixels of the frame and scores ``(K,)``; zeros behind the last person."""
        boxes = boxes[0] if self.clip else boxes[0] / self.scale
        left = scores[0, :, self.person_class]
        left = torch.where(left > self.threshold, left, torch.zeros_like(left))
        chosen, best = [], []
        for _ in range(self.max_people):
            place = left.argmax(dim=0, keepdim=True)
            box, score = boxes.index_select(0, place), left.index_select(0, place)
            chosen.append(torch.where(score.unsqueeze(1) > 0, box, torch.zeros_like(box)))
            best.append(score)
            removed = torch.zeros_like(left).index_fill(0, place, 1.0) + (_iou(boxes, box) > self.iou_threshold)
            left = torch.where(removed > 0, torch.zeros_like(left), left)
        found = torch.cat(chosen)
        if self.clip:
            found = torch.minimum(found.clamp(min=0), self.limit) / self.scale
        return found, torch.cat(best)


def _iou(boxes: Tensor, one: Tensor) -> Tensor:
    """IoU ``(A,)`` of boxes ``(A, 4)`` with one box ``(1, 4)``."""
    shared = (torch.minimum(boxes[:, 2:], one[:, 2:]) - torch.maximum(boxes[:, :2], one[:, :2])).clamp(min=0)
    size, other = boxes[:, 2:] - boxes[:, :2], one[:, 2:] - one[:, :2]
    intersection = shared[:, 0] * shared[:, 1]
    union = size[:, 0] * size[:, 1] + other[:, 0] * other[:, 1] - intersection
    return intersection / union
