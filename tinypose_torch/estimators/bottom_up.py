"""Bottom-up pose estimation: one network for all people of an image, at a cost almost independent of their number."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, overload

import numpy as np
import torch
import torch.nn.functional as F

from tinypose_torch.codecs.associative_embedding import group_joints
from tinypose_torch.estimators.results import Poses
from tinypose_torch.geometry.crops import PIXEL_STD, Crops, evaluation_crops, warp
from tinypose_torch.geometry.skeletons import Skeleton
from tinypose_torch.models.config import BottomUpConfig, of_task
from tinypose_torch.runtime import Runner, load_runner
from tinypose_torch.utils import defaults
from tinypose_torch.utils.images import image_errors, load_image, map_images
from tinypose_torch.video.frames import Frame, map_frames

Array = np.ndarray
RESIZE_DIVISOR = 64
MAX_ASPECT = 8  # of the network's input; narrower images get black beside them


class BottomUpEstimator:
    """Finds people's keypoints without a detector.

    Args:
        pose: Catalogue name of a bottom-up network; ``"auto"`` for the model that the weights say they hold, and for
            ``defaults.BOTTOM_UP`` without weights.
        weights: Weight file, exported file, or tag of a release; the official weights unless given.
        backend: See `load_runner`.
        device: For example ``"cpu"`` or ``"cuda"``.
        flip: Average with the mirrored image, as PaddleDetection does by default; twice the time.
        threads: Of ExecuTorch and ONNX Runtime; their own default unless given.

    An exported file takes images of one size: a photo is shrunk or enlarged until it fits in, with black beside it.

    Raises:
        UnknownModelError, CheckpointError, DownloadError: See `create_model`.
        ValueError: Another kind of network, or an unknown device.
    """

    def __init__(
        self,
        pose: str = defaults.AUTO,
        weights: str | os.PathLike[str] | None = None,
        backend: str = "auto",
        device: str = "cpu",
        *,
        flip: bool = True,
        threads: int | None = None,
    ) -> None:
        self.runner = load_runner(pose, weights, backend, device, threads, "bottom-up pose", "pose=NAME")
        self.config, self.flip = of_task(self.runner.metadata.config, BottomUpConfig), flip

    @overload
    def __call__(self, image: list[Any] | tuple[Any, ...]) -> list[Poses]: ...

    @overload
    def __call__(self, image: Any) -> Poses: ...

    def __call__(self, image: Any) -> Poses | list[Poses]:
        """Find the poses in one image, or in each of a list.

        Args:
            image: A path, an array ``(H, W, 3)`` uint8 RGB, a PIL image, or a list of them.

        Returns:
            People with their scores: the mean score of their keypoints. A box is the extent of a person's keypoints.

        Raises:
            ImageError, FileNotFoundError: See `load_image`.
        """
        if isinstance(image, (list, tuple)):
            return [self._estimate(load_image(one)) for one in image]
        return self._estimate(load_image(image))

    def stream(
        self, sources: str | Iterable[str], on_error: Callable[[str, Exception], None] | None = None
    ) -> Iterator[tuple[Frame, Poses]]:
        """Poses in photos, folders, glob patterns, videos and cameras, one image at a time.

        Args:
            sources, on_error: See `map_frames`.
        """
        yield from map_frames(sources, self._estimate, on_error)

    @image_errors()
    def _estimate(self, image: Array) -> Poses:
        poses, scores = group_poses(self.runner, image, flip=self.flip)
        found = poses[..., 2:] > 0
        low = np.where(found, poses[..., :2], np.inf).min(axis=1, initial=np.inf)
        high = np.where(found, poses[..., :2], -np.inf).max(axis=1, initial=-np.inf)
        boxes = np.concatenate([low, high], axis=1)
        return Poses(boxes, scores, poses[..., :2], poses[..., 2], self.config.skeleton)


def group_poses(runner: Runner, image: Array, *, flip: bool) -> tuple[Array, Array]:
    """Group the poses of an RGB image, as in PaddleDetection's evaluation.

    Returns:
        Poses ``(P, K, 3)``: x, y in pixels of the image and heat; scores ``(P,)``. Keypoints that were not found are
        at what (0, 0) of the maps is in the image, with score 0.
    """
    config = of_task(runner.metadata.config, BottomUpConfig)
    size = resized_size(image.shape[:2], config.input_size[0]) if runner.dynamic_shape else config.input_size
    crop = whole_image(image, size)
    shown = warp(image, crop.matrices[0], size)
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


def resized_size(image_size: tuple[int, int], short: int) -> tuple[int, int]:
    """(height, width) of the network's input.

    The shorter side is ``short``, the longer one a multiple of 64 of at most ``MAX_ASPECT`` times that.
    """
    height, width = image_size
    long = -(-max(height, width) * short // min(height, width) // RESIZE_DIVISOR) * RESIZE_DIVISOR
    long = min(long, MAX_ASPECT * short)
    return (short, long) if height <= width else (long, short)


def photos_for_network(folder: str | os.PathLike[str], config: BottomUpConfig) -> Array:
    """The photos of a folder as a file of one size sees them, ``(N, H, W, 3)`` uint8.

    Raises:
        FileNotFoundError: There are none.
    """
    size = config.input_size
    return np.stack(map_images(folder, lambda image: warp(image, whole_image(image, size).matrices[0], size)))


def whole_image(image: Array, input_size: tuple[int, int]) -> Crops:
    """The image in the middle of the input, as large as fits; PaddleDetection's `resized_size` is as wide or a bit wider."""
    height, width = image.shape[:2]
    center = np.array([[round(width / 2), round(height / 2)]], np.float32)
    factor = max(height / input_size[0], width / input_size[1])
    scale = np.array([input_size[::-1]], np.float32) * np.float32(factor / PIXEL_STD)
    return evaluation_crops(center, scale, (height, width), input_size, input_size, udp=False)
