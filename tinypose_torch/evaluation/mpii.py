"""PCKh on MPII: the share of keypoints within half a head's size of the truth (Andriluka et al., CVPR 2014)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinypose_torch.data.errors import DatasetError, malformation
from tinypose_torch.data.pose.annotations import PoseAnnotations
from tinypose_torch.evaluation.coco import KeypointPrediction
from tinypose_torch.geometry.skeletons import MPII16

Array = np.ndarray
_HEAD_FACTOR = 0.6  # of the head box's diagonal
_GROUPS = {
    "Head": ("head_top",),
    "Shoulder": ("left_shoulder", "right_shoulder"),
    "Elbow": ("left_elbow", "right_elbow"),
    "Wrist": ("left_wrist", "right_wrist"),
    "Hip": ("left_hip", "right_hip"),
    "Knee": ("left_knee", "right_knee"),
    "Ankle": ("left_ankle", "right_ankle"),
}
_NOT_COUNTED = ("pelvis", "thorax")
# PaddleDetection takes its "PCKh@0.1" one step of 0.01 too far; the published numbers are these.
_STRICT = 0.11


@dataclass(frozen=True)
class MpiiTruth:
    """Ground truth of N people, pixels counted from 1.

    Attributes:
        joints: ``(N, 16, 2)``.
        visible: ``(N, 16)`` bool.
        head_sizes: ``(N,)`` pixels.
    """

    joints: Array
    visible: Array
    head_sizes: Array

    @classmethod
    def from_arrays(cls, pos_gt_src: Array, jnt_missing: Array, headboxes_src: Array) -> MpiiTruth:
        """From the arrays of ``gt_valid.mat``: ``(16, 2, N)``, ``(16, N)`` and ``(2, 2, N)``."""
        heads = np.linalg.norm(headboxes_src[1] - headboxes_src[0], axis=0) * _HEAD_FACTOR
        return cls(pos_gt_src.transpose(2, 0, 1), jnt_missing.T == 0, heads)


def read_mpii_truth(path: str | os.PathLike[str]) -> MpiiTruth:
    """Read ``gt_valid.mat``; needs scipy, which the `train` extra brings.

    Raises:
        DatasetError: No such file, or another one.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(Path(path))
        return MpiiTruth.from_arrays(*(content[key] for key in ("pos_gt_src", "jnt_missing", "headboxes_src")))
    except (MatReadError, OSError, KeyError, ValueError, NotImplementedError, TypeError) as error:
        raise DatasetError(f"{path}: not MPII's gt_valid.mat: {malformation(error)}") from None


def pckh(keypoints: Array, truth: MpiiTruth) -> dict[str, float]:
    """PCKh@0.5 in percent by joint group and in all (``PCKh``), and the stricter ``PCKh@0.1``.

    Args:
        keypoints: ``(N, 16, 2 or 3)`` x, y, pixels counted from 0, in the truth's order.

    Raises:
        ValueError: Not as many people as the truth has.
    """
    if keypoints.shape[:2] != truth.visible.shape:
        raise ValueError(f"keypoints of shape {keypoints.shape} for the truth's {truth.visible.shape}")
    error = np.linalg.norm(keypoints[..., :2] + 1.0 - truth.joints, axis=2) / truth.head_sizes[:, None]
    count = truth.visible.sum(axis=0)

    def share(threshold: float) -> Array:
        return 100.0 * ((error <= threshold) & truth.visible).sum(axis=0) / np.maximum(count, 1)

    names = MPII16.keypoint_names
    counted = np.array([name not in _NOT_COUNTED for name in names])
    weights = count * counted / (count * counted).sum()
    joints = dict(zip(names, share(0.5), strict=True))
    groups = {group: float(np.mean([joints[name] for name in members])) for group, members in _GROUPS.items()}
    return {**groups, "PCKh": float(share(0.5) @ weights), "PCKh@0.1": float(share(_STRICT) @ weights)}


def mpii_results(predictions: Sequence[KeypointPrediction], people: PoseAnnotations) -> list[dict[str, Any]]:
    """Predictions for annotated people as rows to save, in the order of the annotation file.

    A row has the name of the ``image``, the ``person``'s index in the annotation file, ``keypoints`` x, y, score with
    pixels counted from 0, their mean ``score``, and the ``center`` (pixels) and ``scale`` (200 pixels) of the crop.
    """
    rows = []
    found = {prediction.annotation_id: prediction for prediction in predictions}
    for record in people.items:
        prediction = found.get(record.annotation_id)
        if prediction is None:
            continue
        rows.append(
            {
                "image": record.file_name,
                "person": record.annotation_id,
                "keypoints": prediction.keypoints.astype(float).reshape(-1).tolist(),
                "score": float(prediction.keypoints[:, 2].mean()),
                "center": record.person.center.astype(float).tolist(),
                "scale": record.person.scale.astype(float).tolist(),
            }
        )
    return rows


def pckh_of_predictions(predictions: Sequence[KeypointPrediction], truth: MpiiTruth) -> dict[str, float]:
    """`pckh` of predictions for annotated people, in any order; people without a prediction count as missed."""
    keypoints = np.full((*truth.visible.shape, 3), np.nan)
    if max((prediction.annotation_id or 0 for prediction in predictions), default=0) >= len(keypoints):
        raise ValueError(f"predictions of more people than the {len(keypoints)} of the truth")
    for prediction in predictions:
        keypoints[prediction.annotation_id or 0] = prediction.keypoints
    return pckh(keypoints, truth)
