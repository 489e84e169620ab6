"""Bottom-up pose estimation: one network for all people of an image, at a cost almost independent of their number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tinypose_torch.codecs.associative_embedding import group_joints
from tinypose_torch.estimators.base import PoseMethod
from tinypose_torch.estimators.preprocessing import fit_image, resized_size
from tinypose_torch.estimators.results import Poses
from tinypose_torch.geometry.boxes import boxes_of_points
from tinypose_torch.geometry.crops import Crops
from tinypose_torch.geometry.skeletons import Skeleton
from tinypose_torch.models.config import BottomUpConfig, of_task
from tinypose_torch.runtime import Runner

Array = np.ndarray
_TRACK_THRESHOLD = 0.2  # mean keypoint score from which a pose starts a track


class BottomUp(PoseMethod):
    """Finds the keypoints of all people in an image at once.

    A person's score is the mean score of the keypoints, the box their extent. The network gets one image at a time, since
    images of different shapes have different input sizes. An exported file takes images of one size: a photo is scaled
    until it fits in, with black beside it.

    Args:
        runner: The pose network.
        flip: Average with the mirrored image, as PaddleDetection does by default; twice the time.

    Raises:
        ValueError: The network is for another task.
    """

    runner: Runner
    config: BottomUpConfig
    track_threshold = _TRACK_THRESHOLD

    def __init__(self, runner: Runner, *, flip: bool) -> None:
        self.runner, self.flip = runner, flip
        self.config = of_task(runner.metadata.config, BottomUpConfig)

    def estimate(self, images: Sequence[Array], boxes: Sequence[Any]) -> list[Poses]:
        if any(given is not None for given in boxes):
            raise self._no_boxes()
        return [self._estimate(image) for image in images]

    def estimate_keypoints(self, image: Array, boxes: Array, scores: Array | None = None) -> Poses:
        raise self._no_boxes()

    def make_crops(self, image: Array, boxes: Array) -> Crops:
        raise self._no_boxes()

    def _no_boxes(self) -> ValueError:
        return ValueError(f"{self.config.name} is {self.config.kind}, which does not use boxes; leave them out")

    def _estimate(self, image: Array) -> Poses:
        poses, scores = group_poses(self.runner, image, flip=self.flip)
        boxes = boxes_of_points(poses[..., :2], poses[..., 2] > 0)
        return Poses(boxes, scores, poses[..., :2], poses[..., 2], self.config.skeleton)


def group_poses(runner: Runner, image: Array, *, flip: bool) -> tuple[Array, Array]:
    """Group the poses of an RGB image, as in PaddleDetection's evaluation.

    Returns:
        Poses ``(P, K, 3)``: x, y in pixels of the image and score; scores ``(P,)``. Keypoints that were not found have
        score 0 and the place of cell (0, 0).
    """
    config = of_task(runner.metadata.config, BottomUpConfig)
    size = resized_size(image.shape[:2], config.input_size[0]) if runner.dynamic_shape else config.input_size
    shown, crop = fit_image(image, size)
    views = np.stack([shown, shown[:, ::-1]]) if flip else shown[None]
    coarse_heatmaps, coarse_tags = runner(views)
    heatmaps, tags = full_size_maps(coarse_heatmaps, coarse_tags, config.skeleton)
    poses, scores = group_joints(heatmaps, tags, config.grouping)
    poses[..., :2] = poses[..., :2] * crop.scales[0] + crop.offsets[0]
    return poses, scores


def full_size_maps(heatmaps: Array, tags: Array, skeleton: Skeleton) -> tuple[Array, Array]:
    """Maps of an image, or of it and its mirror image, at the size of the image.

    Args:
        heatmaps, tags: ``(T, K, h, w)``, T 1 or 2; the second row of the mirrored image.

    Returns:
        Heatmaps ``(K, 2h, 2w)``, the mean, and tags ``(T, K, 2h, 2w)``.
    """
    order = skeleton.mirrored_order()
    sized = [
        F.interpolate(torch.from_numpy(maps), scale_factor=2.0, mode="bilinear", align_corners=False).numpy()
        for maps in (heatmaps, tags)
    ]
    for maps in sized:
        maps[1:] = maps[1:, order, :, ::-1].copy()
    return sized[0].mean(axis=0), sized[1]
