"""Overlays: boxes, bones and keypoints on a photo."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from tinypose_torch.geometry.skeletons import Skeleton

# RGB. Left and right differ so that a mirrored pose is seen at a glance.
LEFT = (255, 128, 0)
RIGHT = (0, 170, 255)
MIDDLE = (70, 220, 90)
BOX = (235, 235, 235)
OUTLINE = (20, 20, 20)
_SUBPIXEL_BITS = 4
_ELLIPSE = 4.605  # squared radius of the ellipse that holds 90 % of a normal distribution
_ELLIPSE_POINTS = 40
_MAX_COORDINATE = 2.0**26  # pixels; OpenCV counts sub-pixels in 32 bits


def draw_poses(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[str],
    keypoints: np.ndarray,
    visible: np.ndarray,
    skeleton: Skeleton,
) -> np.ndarray:
    """Draw people on a copy of an RGB image.

    Args:
        image: ``(H, W, 3)`` uint8.
        boxes: ``(N, 4)`` x1, y1, x2, y2.
        labels: N texts in the corners of the boxes.
        keypoints: ``(N, K, 2)`` x, y.
        visible: ``(N, K)``: keypoints that are not visible, and their bones, are left out.
    """
    canvas = np.ascontiguousarray(image).copy()
    boxes = np.clip(boxes, -_MAX_COORDINATE, _MAX_COORDINATE)
    for box, label in zip(boxes, labels, strict=True):
        _draw_box(canvas, box, label)
    for box, points, shown in zip(boxes, keypoints, visible, strict=True):
        thickness = int(np.clip(round(float(box[3] - box[1]) / 90), 1, 6))
        _draw_skeleton(canvas, points, shown, skeleton, thickness)
    return canvas


def draw_ellipses(canvas: np.ndarray, centers: np.ndarray, covariances: np.ndarray) -> None:
    """Draw the 90 % ellipses of normal distributions into an RGB image.

    Args:
        centers: ``(M, 2)`` x, y.
        covariances: ``(M, 2, 2)`` square pixels.
    """
    values, vectors = np.linalg.eigh(covariances.astype(np.float64))
    axes = np.sqrt(_ELLIPSE * np.maximum(values, 0))
    turns = np.linspace(0, 2 * np.pi, _ELLIPSE_POINTS, endpoint=False)
    circle = np.stack([np.cos(turns), np.sin(turns)])
    for center, axis, directions in zip(centers, axes, vectors, strict=True):
        outline = (directions @ (axis[:, None] * circle)).T + center
        points = np.array([_fixed_point(point) for point in outline], np.int32)
        for colour, thickness in ((OUTLINE, 2), (BOX, 1)):
            cv2.polylines(canvas, [points], True, colour, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def _draw_box(canvas: np.ndarray, box: np.ndarray, label: str) -> None:
    first, second = _fixed_point(box[:2]), _fixed_point(box[2:])
    cv2.rectangle(canvas, first, second, OUTLINE, 3, cv2.LINE_AA, _SUBPIXEL_BITS)
    cv2.rectangle(canvas, first, second, BOX, 1, cv2.LINE_AA, _SUBPIXEL_BITS)
    corner = (max(int(box[0]), 0) + 3, max(int(box[1]), 0) + 14)
    for colour, thickness in ((OUTLINE, 3), (BOX, 1)):
        cv2.putText(canvas, label, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, thickness, cv2.LINE_AA)


def _draw_skeleton(
    canvas: np.ndarray, keypoints: np.ndarray, visible: np.ndarray, skeleton: Skeleton, thickness: int
) -> None:
    names = skeleton.keypoint_names
    points = [_fixed_point(point) for point in keypoints]
    for outline in (True, False):
        for a, b in skeleton.links:
            if visible[a] and visible[b]:
                colour = OUTLINE if outline else _link_colour(names[a], names[b])
                width = thickness + 2 if outline else thickness
                cv2.line(canvas, points[a], points[b], colour, width, cv2.LINE_AA, _SUBPIXEL_BITS)
    for index, point in enumerate(points):
        if visible[index]:
            for extra, colour in ((1, OUTLINE), (0, _side_colour(names[index]))):
                radius = (thickness + 1 + extra) << _SUBPIXEL_BITS
                cv2.circle(canvas, point, radius, colour, -1, cv2.LINE_AA, _SUBPIXEL_BITS)


def _side_colour(name: str) -> tuple[int, int, int]:
    return LEFT if "left" in name else RIGHT if "right" in name else MIDDLE


def _link_colour(first: str, second: str) -> tuple[int, int, int]:
    one, other = _side_colour(first), _side_colour(second)
    return one if one == other else MIDDLE


def _fixed_point(point: np.ndarray) -> tuple[int, int]:
    """OpenCV's sub-pixel coordinates, kept within what it can draw."""
    x, y = np.clip(point, -_MAX_COORDINATE, _MAX_COORDINATE) * (1 << _SUBPIXEL_BITS)
    return round(float(x)), round(float(y))
