"""A trained pose network as the teacher of another.

Zhang et al., "Fast Human Pose Estimation", CVPR 2019: the student's heatmaps are compared with the labels and with the
teacher's heatmaps, which also know the keypoints that nobody labelled.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinypose_torch.checkpoints.identity import resolve_model
from tinypose_torch.evaluation.top_down import heatmap_size
from tinypose_torch.factory import load_model
from tinypose_torch.models.config import TopDownConfig, config_of
from tinypose_torch.models.registry import get_config
from train.config import ConfigError, Distillation
from train.init_model import OFFICIAL


class Teacher:
    """Heatmaps of a larger network for what a student sees.

    Args:
        network: The teacher; it does not learn.
        student: Whose crops it is shown, resized to its own input.

    Raises:
        ConfigError: The teacher lacks a keypoint of the student's, or its input has another shape.
    """

    def __init__(self, network: nn.Module, student: TopDownConfig) -> None:
        entry = config_of(network)
        assert isinstance(entry, TopDownConfig)
        known = entry.skeleton.keypoint_names
        missing = [name for name in student.skeleton.keypoint_names if name not in known]
        if missing:
            raise ConfigError(f"distillation.teacher: {entry.name} does not know the keypoint {missing[0]!r}")
        (height, width), (own_height, own_width) = entry.input_size, student.input_size
        if height * own_width != width * own_height:
            raise ConfigError(
                f"distillation.teacher: {entry.name} takes {height}x{width}, another shape than {student.name}'s "
                f"{own_height}x{own_width}"
            )
        self.network = network.eval().requires_grad_(requires_grad=False)
        self.input_size = entry.input_size
        self.heatmap_size = heatmap_size(student)
        self.order = [known.index(name) for name in student.skeleton.keypoint_names]
        self.corners = student.udp  # the unbiased transform counts from the first pixel's centre to the last one's

    def __call__(self, images: Tensor) -> Tensor:
        """The student's crops ``(N, 3, H, W)`` to heatmaps ``(N, K, H/4, W/4)`` of its keypoints."""
        with torch.no_grad():
            shown = self._resized(images, self.input_size)
            heatmaps = self.network.to(images.device)(shown)[:, self.order]
            return self._resized(heatmaps, self.heatmap_size)

    def _resized(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        if tuple(x.shape[2:]) == tuple(size):
            return x
        return F.interpolate(x, size=size, mode="bilinear", align_corners=self.corners)


def find_teacher(options: Distillation, student: TopDownConfig) -> Teacher | None:
    """The configured teacher with its weights; ``None`` where none is.

    Raises:
        ConfigError: See `Teacher`; or it has no weights.
        FileNotFoundError, CheckpointError, DownloadError: See `resolve_model`, `load_model`.
    """
    if options.teacher is None:
        return None
    if options.weights is None:
        raise ConfigError("distillation.weights is missing: a weight file of the teacher, or official")
    get_config(options.teacher)
    weights = None if options.weights == OFFICIAL else options.weights
    return Teacher(load_model(resolve_model(options.teacher, weights, usage="distillation.teacher=NAME")), student)
