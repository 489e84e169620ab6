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
from tinypose_torch.data.formats.coco import fit_float32
from tinypose_torch.data.pose.annotations import PoseAnnotation, PoseAnnotations
from tinypose_torch.data.pose.sample import PoseSample
from tinypose_torch.geometry.crops import EVALUATION_MARGIN, PIXEL_STD
from tinypose_torch.geometry.skeletons import MPII16
from tinypose_torch.utils.messages import escaped

_MAX_SCALE = 1e6  # 200 pixels each
_SHIFT_DOWN = 15  # pixels per unit of scale; MPII's centres are too high


def load_mpii_annotations(path: str | os.PathLike[str]) -> PoseAnnotations:
    """Load the annotated people of an MPII file.

    Pixels count from 1 in the file. Centres are moved down and scales grown by a quarter, unless the centre's x is -1.

    Raises:
        DatasetError: Not an MPII annotation file, or one without people.
    """
    path = Path(path)
    try:
        rows = json.loads(path.read_bytes())
        if not isinstance(rows, list):
            raise TypeError("expected a list")
        items = [_record(index, row) for index, row in enumerate(rows)]
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}") from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        reason = escaped(f"{type(error).__name__} {error}")
        raise DatasetError(f"{path}: not an MPII annotation file: {reason}") from None
    if not items:
        raise DatasetError(f"{path}: no usable person annotations; the file is empty")
    return PoseAnnotations(items, MPII16)


def _record(index: int, row: dict[str, Any]) -> PoseAnnotation:
    center, scale = np.array(row["center"], np.float64), float(row["scale"])
    if center.shape != (2,) or not fit_float32([*center, scale]) or not 0 < scale < _MAX_SCALE:
        raise ValueError(f"person {index}: center and scale; expected two finite numbers and one above 0")
    if not isinstance(row["image"], str):
        raise TypeError(f"person {index}: image; expected a file name")
    if center[0] != -1:
        center[1] += _SHIFT_DOWN * scale
        scale *= EVALUATION_MARGIN
    center -= 1
    count = len(MPII16)
    joints = np.array(row.get("gt_joints", row.get("joints")), np.float64)
    if joints.shape != (count, 2) or not fit_float32(joints):
        raise ValueError(f"person {index}: joints of shape {joints.shape}; expected ({count}, 2), finite")
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
