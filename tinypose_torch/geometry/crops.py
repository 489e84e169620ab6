"""Crops: affine transforms from a person's box to the pose network's input, and back.

Three rules exist. PaddleDetection's deployment and its evaluation cut differently, and each maps keypoints back a
little differently from the way it cut; their published answers and accuracies include that. The third is consistent.

* ``"deploy"``: the box grown by 30 %, at least 3:4 wide, cut at whole pixels and at the image border.
* ``"evaluation"``: the box grown by 25 % to the network's aspect ratio; UDP warp (for networks trained so), mapped
  back with the three-point transform.
* ``"consistent"``: as ``"evaluation"``, mapped back with the inverse of the warp.

UDP: Huang et al., "The Devil Is in the Details: Delving into Unbiased Data Processing", CVPR 2020.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

Array = np.ndarray
Size = tuple[int, int]

PIXEL_STD = 200.0
EVALUATION_MARGIN = 1.25
DEPLOY_MARGIN = 1.3
DEPLOY_ASPECT = 4 / 3


@dataclass(frozen=True)
class Crops:
    """Transforms of N crops of one image.

    Attributes:
        regions: ``(N, 4)`` integers x1, y1, x2, y2, end-exclusive: the part of the image that the crop may read.
        matrices: ``(N, 2, 3)``: pixels of the region to pixels of the network's input.
        scales, offsets: ``(N, 2)``: image pixel = scale * heatmap cell + offset, per axis.
    """

    regions: Array
    matrices: Array
    scales: Array
    offsets: Array

    def to_image(self, coordinates: Array) -> Array:
        """Map ``(N, K, 2)`` heatmap cells to pixels of the image."""
        return coordinates * self.scales[:, None, :] + self.offsets[:, None, :]


def make_crops(boxes: Array, image_size: Size, input_size: Size, heatmap_size: Size, rule: str, udp: bool) -> Crops:
    """Return the crops of boxes by one of the rules above.

    Args:
        boxes: ``(N, 4)`` x1, y1, x2, y2, pixels of the image.
        image_size, input_size, heatmap_size: (height, width).
        udp: Whether the network was trained with the UDP warp.

    Raises:
        ValueError: Unknown rule.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if rule == "deploy":
        return _deploy_crops(boxes, image_size, input_size, heatmap_size)
    if rule not in ("evaluation", "consistent"):
        raise ValueError(f"unknown crop rule {rule!r}; choose 'deploy', 'evaluation' or 'consistent'")
    centers, scales = center_and_scale(boxes, input_size)
    return evaluation_crops(centers, scales, image_size, input_size, heatmap_size, udp, consistent=rule == "consistent")


def center_and_scale(boxes: Array, input_size: Size) -> tuple[Array, Array]:
    """Centre and size of boxes, extended to the network's aspect ratio and enlarged by 25 %.

    Returns:
        Centres ``(N, 2)`` in pixels and scales ``(N, 2)`` in units of 200 pixels, both (x, y) and float32, which is
        the precision that PaddleDetection keeps them in.
    """
    height, width = input_size
    size = boxes[:, 2:] - boxes[:, :2]
    centers = boxes[:, :2] + size * 0.5
    aspect = width / height
    w = np.maximum(size[:, 0], size[:, 1] * aspect)
    h = np.maximum(size[:, 1], size[:, 0] / aspect)
    scales = np.stack([w, h], axis=1) / PIXEL_STD
    return centers.astype(np.float32), scales.astype(np.float32) * np.float32(EVALUATION_MARGIN)


def three_point_matrices(centers: Array, widths: Array, input_size: Size) -> Array:
    """Isotropic ``(N, 2, 3)`` transforms that scale the width to the input's and map the centre to the input's centre.

    Three points define them: the centre, the point half a width above it, and the point half a width to the left of
    that one. PaddleDetection holds the points in float32, which a warp of large images shows; so does this.
    """
    height, width = input_size
    centers = np.asarray(centers, np.float32)
    middle = np.array([width, height]) * 0.5
    above = (centers[:, 1] - np.asarray(widths, np.float64) * 0.5).astype(np.float32)
    left = centers[:, 0] - (centers[:, 1] - above)
    corner = np.stack([left, above], axis=1).astype(np.float64)
    factor = width * 0.5 / (centers - corner)
    return _scale_and_shift(factor, middle - factor * centers)


def udp_matrices(centers: Array, scales: Array, input_size: Size) -> Array:
    """UDP's ``(N, 2, 3)`` transforms, which map the box's edges to the centres of the input's outermost pixels.

    Computed in float32, as PaddleDetection does; the warp shows it.
    """
    height, width = input_size
    size = scales.astype(np.float32) * np.float32(PIXEL_STD)
    factor = np.array([width - 1, height - 1], np.float32) / size
    half = np.float32(0.5)
    return _scale_and_shift(factor, factor * (half * size - centers.astype(np.float32)))


def person_matrix(center: Array, scale: Array, degrees: float, input_size: Size, udp: bool) -> Array:
    """The ``(2, 3)`` transform of one rotated box to the network's input, as in PaddleDetection's training.

    UDP turns the image counter-clockwise by ``degrees``, the other transform clockwise.

    Args:
        center, scale: ``(2,)`` float32; see `center_and_scale`.
    """
    height, width = input_size
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    size = scale * np.float32(PIXEL_STD)
    if not udp:
        # PaddleDetection computes it from three float32 points; in large images the rounding changes pixels.
        half = np.float64(size[0]) * 0.5
        points = np.zeros((3, 2), np.float32)
        points[0], points[1] = center, center + half * np.array([sin, -cos])
        points[2] = _third_corner(points[0], points[1])
        targets = np.array([[width * 0.5, height * 0.5], [width * 0.5, height * 0.5 - width * 0.5], [0, 0]], np.float32)
        targets[2] = _third_corner(targets[0], targets[1])
        return cv2.getAffineTransform(points, targets)
    kx, ky = (width - 1) / size[0], (height - 1) / size[1]
    x, y = center
    matrix = [
        [kx * cos, -kx * sin, kx * (-x * cos + y * sin + 0.5 * size[0])],
        [ky * sin, ky * cos, ky * (-x * sin - y * cos + 0.5 * size[1])],
    ]
    return np.array(matrix, np.float32)


def square_matrix(center: Array, side: float, degrees: float, size: int) -> Array:
    """The ``(2, 3)`` transform of a rotated square of an image to a square of ``size`` pixels; the image rotates clockwise.

    Args:
        center: x, y of the square's middle in the image.
        side: Of the square in the image, pixels.
    """
    angle = np.deg2rad(degrees)
    # PaddleDetection stores shift, scale and rotation in float32; in large images the rounding changes pixels.
    factor = float(np.float32(size / side))
    shift = (size * (0.5 - np.asarray(center, np.float64) / side)).astype(np.float32).astype(np.float64)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    turn = np.array([[cos, sin], [-sin, cos]], np.float64)
    return np.concatenate([turn * factor, (turn @ (shift - size / 2) + size / 2)[:, None]], axis=1)


def _third_corner(one: Array, two: Array) -> Array:
    """The third corner of an isosceles right triangle: ``two`` plus the vector from ``one`` to ``two``, rotated by 90 degrees."""
    across = one - two
    return two + np.array([-across[1], across[0]], np.float32)


def evaluation_crops(
    centers: Array,
    scales: Array,
    image_size: Size,
    input_size: Size,
    heatmap_size: Size,
    udp: bool,
    consistent: bool = False,
) -> Crops:
    """Crops from centre and scale, as in PaddleDetection's evaluation. See `center_and_scale` for units."""
    count = len(centers)
    heatmap_wh = np.array([heatmap_size[1], heatmap_size[0]])
    regions = np.tile([0, 0, image_size[1], image_size[0]], (count, 1))
    widths = scales[:, 0].astype(np.float64) * PIXEL_STD
    centers = centers.astype(np.float64)
    if udp:
        matrices = udp_matrices(centers, scales, input_size)
    else:
        matrices = three_point_matrices(centers, widths, input_size)
    if consistent:
        cell = np.array([input_size[1], input_size[0]]) / heatmap_wh
        diagonal = np.stack([matrices[:, 0, 0], matrices[:, 1, 1]], axis=1)
        return Crops(regions, matrices, cell / diagonal, -matrices[:, :, 2] / diagonal)
    per_cell = np.repeat((widths / heatmap_wh[0])[:, None], 2, axis=1)
    return Crops(regions, matrices, per_cell, centers - per_cell * heatmap_wh * 0.5)


def deploy_regions(boxes: Array, image_size: Size) -> Array:
    """The deployment's crop of every box: ``(N, 4)`` integers, end-exclusive, never empty.

    Boxes are truncated to whole pixels and grown by 30 % about their centre. A box narrower than 3:4 is widened; a
    wide one keeps its height. The edges are truncated again and clipped to the last row and column.
    """
    height, width = image_size
    x1, y1, x2, y2 = np.trunc(boxes).T
    half_h = (y2 - y1) * DEPLOY_MARGIN / 2
    half_w = (x2 - x1) * DEPLOY_MARGIN / 2
    half_w = np.where(half_h > half_w * DEPLOY_ASPECT, half_h / DEPLOY_ASPECT, half_w)
    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
    left = np.clip(np.trunc(cx - half_w), 0, max(width - 1, 0))
    top = np.clip(np.trunc(cy - half_h), 0, max(height - 1, 0))
    right = np.clip(np.trunc(cx + half_w), left + 1, np.maximum(width - 1, left + 1))
    bottom = np.clip(np.trunc(cy + half_h), top + 1, np.maximum(height - 1, top + 1))
    return np.stack([left, top, right, bottom], axis=1).astype(np.int64)


def _deploy_crops(boxes: Array, image_size: Size, input_size: Size, heatmap_size: Size) -> Crops:
    return region_crops(deploy_regions(boxes, image_size), input_size, heatmap_size)


def region_crops(regions: Array, input_size: Size, heatmap_size: Size) -> Crops:
    """Crops of regions of an image, scaled to the network's width, as in PaddleDetection's deployment.

    Args:
        regions: ``(N, 4)`` integers x1, y1, x2, y2, end-exclusive.
        input_size, heatmap_size: (height, width).
    """
    size = (regions[:, 2:] - regions[:, :2]).astype(np.float64)
    matrices = three_point_matrices(size / 2, size[:, 0], input_size)
    heatmap_wh = np.array([heatmap_size[1], heatmap_size[0]])
    per_cell = np.repeat((size[:, 0] / heatmap_wh[0])[:, None], 2, axis=1)
    # The inverse uses the crop's rounded centre, which differs from the exact one by up to half a pixel.
    offsets = regions[:, :2] + np.rint(size / 2) - per_cell * heatmap_wh * 0.5
    return Crops(regions, matrices, per_cell, offsets)


def _scale_and_shift(scales: Array, shifts: Array) -> Array:
    matrices = np.zeros((len(scales), 2, 3))
    matrices[:, 0, 0] = scales[:, 0]
    matrices[:, 1, 1] = scales[:, 1]
    matrices[:, :, 2] = shifts
    return matrices
