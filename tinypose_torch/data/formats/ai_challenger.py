"""Conversion of AI Challenger's keypoint dataset to COCO: 14 joints in COCO's order, without head top and neck.

Wu et al., "AI Challenger: A Large-scale Dataset for Going Deeper in Image Understanding", 2017. PP-TinyPose was trained
on COCO and AI Challenger together.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from tinypose_torch.data.errors import DatasetError, malformation
from tinypose_torch.geometry.skeletons import COCO17, Skeleton
from tinypose_torch.utils.atomic import replacing
from tinypose_torch.utils.messages import one_line
from tinypose_torch.utils.provenance import SOFTWARE

Array = np.ndarray
# AI Challenger's joints by their COCO names; the last two, head top and neck, have none.
_ORDER = tuple(
    f"{side}_{joint}"
    for side, joint in (
        *(("right", joint) for joint in ("shoulder", "elbow", "wrist")),
        *(("left", joint) for joint in ("shoulder", "elbow", "wrist")),
        *(("right", joint) for joint in ("hip", "knee", "ankle")),
        *(("left", joint) for joint in ("hip", "knee", "ankle")),
    )
)
_JOINTS = 14
# Theirs: 1 visible, 2 hidden, 3 not labelled. COCO's: 2, 1, 0.
_VISIBILITY = {1: 2, 2: 1, 3: 0}


def convert_ai_challenger(annotations: str | os.PathLike[str], images: str | os.PathLike[str]) -> dict[str, Any]:
    """Convert an AI Challenger annotation file to COCO content with ids from 1.

    Args:
        images: Folder of the images, whose sizes are read.

    Raises:
        DatasetError: Not such a file, or an image is missing.
    """
    path = Path(annotations)
    try:
        rows = json.loads(path.read_bytes())
        converted: dict[str, Any] = {"images": [], "annotations": [], "categories": [coco_category()]}
        for index, row in enumerate(tqdm(rows, desc="converting", unit="image", disable=None), start=1):
            file_name = f"{row['image_id']}.jpg"
            width, height = _size_of(Path(images) / file_name)
            converted["images"].append({"id": index, "file_name": file_name, "width": width, "height": height})
            for person in row["keypoint_annotations"]:
                box, joints = row["human_annotations"][person], row["keypoint_annotations"][person]
                identity = len(converted["annotations"]) + 1
                converted["annotations"].append(_annotation(identity, index, box, joints))
    except OSError as error:
        raise DatasetError(one_line(error)) from None
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: not an AI Challenger annotation file: {malformation(error)}") from None
    return converted


def merge_coco(parts: Iterable[tuple[dict[str, Any], str]]) -> dict[str, Any]:
    """Merge several COCO files, with new ids from 1.

    Args:
        parts: Each file's content, and the folder that its file names are given.
    """
    merged: dict[str, Any] = {"images": [], "annotations": [], "categories": [coco_category()]}
    for content, folder in parts:
        new_ids = {}
        for image in content["images"]:
            new_ids[image["id"]] = len(merged["images"]) + 1
            name = f"{folder}/{image['file_name']}" if folder else image["file_name"]
            merged["images"].append({**image, "id": new_ids[image["id"]], "file_name": name})
        for annotation in content["annotations"]:
            identity = len(merged["annotations"]) + 1
            moved = {"id": identity, "image_id": new_ids[annotation["image_id"]], "category_id": 1}
            merged["annotations"].append({**annotation, **moved})
    return merged


def write_json(content: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write an annotation file atomically, with the mark of this program."""
    with replacing(Path(path)) as temporary:
        temporary.write_text(json.dumps({"info": {"software": SOFTWARE}, **content}))


def coco_category(skeleton: Skeleton = COCO17) -> dict[str, Any]:
    """COCO's person category, with the keypoints of a skeleton."""
    links = [[a + 1, b + 1] for a, b in skeleton.links]
    return {"id": 1, "name": "person", "keypoints": list(skeleton.keypoint_names), "skeleton": links}


def _annotation(identity: int, image: int, box: list[float], joints: list[float]) -> dict[str, Any]:
    if len(joints) != 3 * _JOINTS:
        raise ValueError(f"{len(joints)} joint numbers; expected {3 * _JOINTS}")
    keypoints = np.zeros((len(COCO17), 3))
    for name, (x, y, v) in zip(_ORDER, np.array(joints).reshape(_JOINTS, 3).tolist(), strict=False):
        if _VISIBILITY[int(v)]:
            keypoints[COCO17.keypoint_names.index(name)] = x, y, _VISIBILITY[int(v)]
    x1, y1, x2, y2 = box
    return {
        "id": identity,
        "image_id": image,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1),
        "keypoints": keypoints.reshape(-1).tolist(),
        "num_keypoints": int((keypoints[:, 2] > 0).sum()),
    }


def _size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size
