"""MPII Human Pose in the JSON form that HRNet's authors distribute: one entry per person, with centre and scale.

Andriluka et al., "2D Human Pose Estimation: New Benchmark and State of the Art Analysis", CVPR 2014.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from tinypose_torch.data.errors import DatasetError
from tinypose_torch.data.pose_annotations import PoseAnnotation, PoseAnnotations
from tinypose_torch.data.pose_sample import PoseSample
from tinypose_torch.geometry.crops import EVALUATION_MARGIN, PIXEL_STD
from tinypose_torch.geometry.skeletons import MPII16

_SHIFT_DOWN = 15  # pixels per unit of scale: MPII's centres sit too high


def load_mpii_annotations(path: str | os.PathLike[str]) -> PoseAnnotations:
    """The annotated people of an MPII file.

    Pixels count from 1 in the file. Centres are moved down and scales grown by a quarter, unless the centre's x is -1.

    Raises:
        DatasetError: Not such a file, or nobody in it.
    """
    path = Path(path)
    try:
        rows = json.loads(path.read_bytes())
        items = [_record(index, row) for index, row in enumerate(rows)]
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}") from None
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise DatasetError(f"{path}: not an MPII annotation file: {type(error).__name__} {error}") from None
    if not items:
        raise DatasetError(f"{path}: nobody to use, the file is empty")
    return PoseAnnotations(items, MPII16)


def _record(index: int, row: dict[str, Any]) -> PoseAnnotation:
    center, scale = np.array(row["center"], np.float64), float(row["scale"])
    if center[0] != -1:
        center[1] += _SHIFT_DOWN * scale
        scale *= EVALUATION_MARGIN
    center -= 1
    count = len(MPII16)
    joints = np.array(row.get("gt_joints", row.get("joints")), np.float64)
    if joints.shape != (count, 2):
        raise ValueError(f"person {index}: joints of shape {joints.shape}; expected ({count}, 2)")
    visible = np.array(row["joints_vis"], np.float32)
    if visible.shape != (count,):
        raise ValueError(f"person {index}: joints_vis of shape {visible.shape}; expected ({count},)")
    scales = np.array([scale, scale], np.float32)
    person = PoseSample((joints - 1).astype(np.float32), visible, center.astype(np.float32), scales)
    if not isinstance(row["image"], str) or not np.isfinite([*center, scale]).all() or scale <= 0:
        raise ValueError(f"person {index}: image, center or scale is not usable")
    half = scale * PIXEL_STD / EVALUATION_MARGIN / 2
    box = np.array([*(center - half), *(center + half)])
    image_id = row.get("image_id")
    if image_id is None:
        stem = Path(row["image"]).stem
        image_id = int(stem) if stem.isdigit() else index
    return PoseAnnotation(row["image"], image_id, person, box, 1.0, index)
