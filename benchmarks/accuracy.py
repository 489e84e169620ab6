"""Keypoint accuracy of pose networks, in whatever files they are, on annotated photos with annotated boxes.

    python benchmarks/accuracy.py --annotations person_keypoints.json --images DIR NAME=FILE [NAME=FILE ...]

NAME is the model, FILE its weights or an exported file; prints a table.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from tinypose_torch import PoseEstimator
from tinypose_torch.evaluation.coco import KeypointPrediction, keypoint_accuracy, keypoint_results
from tinypose_torch.geometry.crops import PIXEL_STD, center_and_scale
from tinypose_torch.images import load_image
from tinypose_torch.table import format_table

SHOWN = ("AP", "AP50", "AP75", "AR")


def main() -> None:
    """Evaluate every file and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--annotations", required=True)
    parser.add_argument("--images", required=True)
    options = parser.parse_args()
    annotated = json.loads(Path(options.annotations).read_text())
    rows = []
    for item in options.files:
        name, _, file = item.partition("=")
        estimator = PoseEstimator(None, name, pose_weights=file, crop="evaluation")
        records = keypoint_results(list(_predict(estimator, annotated, Path(options.images))))
        found = keypoint_accuracy(options.annotations, records)
        runner = estimator.pose_runner
        label = (name, runner.backend, runner.metadata.precision, f"{Path(file).stat().st_size / 1e6:.2f}")
        rows.append((*label, *(f"{found[key]:.3f}" for key in SHOWN)))
        print(f"{Path(file).name} done", flush=True)
    print(format_table(("model", "backend", "precision", "MB", *SHOWN), rows, right=range(3, 8)))


def _predict(estimator: PoseEstimator, annotated: dict[str, Any], folder: Path) -> Any:
    for image in annotated["images"]:
        boxes = [
            clean_box(annotation["bbox"], image["width"], image["height"])
            for annotation in annotated["annotations"]
            if annotation["image_id"] == image["id"] and annotation["num_keypoints"] and not annotation["iscrowd"]
        ]
        if not boxes:
            continue
        poses = estimator(load_image(folder / image["file_name"]), np.array(boxes))
        _, scales = center_and_scale(np.array(boxes, np.float64), estimator.pose_entry.input_size)
        triples = np.concatenate([poses.keypoints, poses.keypoint_scores[..., None]], axis=-1)
        for person, scale in zip(triples, scales, strict=True):
            yield KeypointPrediction(image["id"], person, 1.0, float(np.prod(scale.astype(np.float64) * PIXEL_STD)))


def clean_box(box: list[float], width: int, height: int) -> tuple[float, float, float, float]:
    """An annotated x, y, w, h as x1, y1, x2, y2 within the image; like the original's, one pixel smaller."""
    x1, y1 = max(0.0, box[0]), max(0.0, box[1])
    return x1, y1, min(width - 1, x1 + max(0.0, box[2] - 1)), min(height - 1, y1 + max(0.0, box[3] - 1))


if __name__ == "__main__":
    main()
