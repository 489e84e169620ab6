"""`python -m train.demo`: the whole way in a minute, without a network: rendered people, their poses, a `.pte`, a picture.

The people are new to the demo weights, which this project trained on others like them; see weights/README.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from tinypose_torch.export import ExportError, ExportOptions, export_model
from tinypose_torch.factory import create_model
from tinypose_torch.images import save_png
from tinypose_torch.pipeline import PoseEstimator
from tinypose_torch.results import Poses
from train.synthetic.scenes import Annotation, draw_scene

MODEL = "tinypose_128x96"
WEIGHTS = Path(__file__).resolve().parent.parent / "weights/tinypose_128x96_demo.safetensors"
_SEED = 1_000_003  # far from those of training
_PICTURES = 12
_COLUMNS = 4
_NEAR = 0.1  # of the box's longer side: a keypoint found
Scenes = list[tuple[np.ndarray, list[Annotation]]]


def main(arguments: list[str] | None = None) -> int:
    """Render, find, export, run the export, compare, draw."""
    parser = argparse.ArgumentParser(
        prog="python -m train.demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("output"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=_SEED, metavar="S", help="of the people (default: %(default)s)")
    options = parser.parse_args(arguments)
    scenes = _draw_scenes(options.seed)
    print(f"drew {sum(len(people) for _, people in scenes)} people in {len(scenes)} pictures")
    eager = PoseEstimator(None, MODEL, pose_weights=WEIGHTS, crop="evaluation")
    poses = _estimate("PyTorch", eager, scenes)
    picture = options.output / "demo.png"
    save_png(_contact_sheet(scenes, poses), picture)
    print(f"wrote {picture}")
    exported = options.output / "demo.pte"
    try:
        print("exporting to ExecuTorch ...", flush=True)
        export_model(create_model(MODEL, weights=WEIGHTS), exported, ExportOptions("executorch"))
    except ExportError as error:
        print(f"no .pte: {error}")
        return 0
    print(f"wrote {exported} ({exported.stat().st_size / 1e6:.1f} MB)")
    again = _estimate("ExecuTorch", PoseEstimator(None, MODEL, pose_weights=exported, crop="evaluation"), scenes)
    apart = max(float(np.abs(a.keypoints - b.keypoints).max()) for a, b in zip(poses, again, strict=True) if len(a))
    print(f"the two agree within {apart:.4f} pixel")
    return 0


def _draw_scenes(seed: int) -> Scenes:
    """Pictures with people in them."""
    scenes: Scenes = []
    number = 0
    while len(scenes) < _PICTURES:
        image, people = draw_scene(np.random.default_rng([seed, number]))
        number += 1
        if people:
            scenes.append((image, people))
    return scenes


def _estimate(name: str, estimator: PoseEstimator, scenes: Scenes) -> list[Poses]:
    """Poses in the drawn people's boxes; says how many keypoints are right, and how long it took."""
    poses, right, visible = [], 0, 0
    started = time.perf_counter()
    for image, people in scenes:
        boxes = np.array([person.bbox for person in people], np.float32)
        boxes[:, 2:] += boxes[:, :2]
        poses.append(estimator(image, boxes))
    seconds = time.perf_counter() - started
    for (_, people), found in zip(scenes, poses, strict=True):
        for person, keypoints in zip(people, found.keypoints, strict=True):
            seen = person.keypoints[:, 2] == 2
            error = np.linalg.norm(keypoints - person.keypoints[:, :2], axis=1)
            right += int((error[seen] <= _NEAR * max(person.bbox[2:])).sum())
            visible += int(seen.sum())
    count = sum(len(found) for found in poses)
    print(f"{name}: {right} of {visible} visible keypoints found, {1e3 * seconds / count:.1f} ms per person")
    return poses


def _contact_sheet(scenes: Scenes, poses: list[Poses]) -> np.ndarray:
    tiles = [found.draw(image) for (image, _), found in zip(scenes, poses, strict=True)]
    rows = [np.concatenate(tiles[start : start + _COLUMNS], axis=1) for start in range(0, len(tiles), _COLUMNS)]
    return np.concatenate(rows)


if __name__ == "__main__":
    sys.exit(main())
