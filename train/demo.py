"""`python -m train.demo`: the whole way in two minutes, without a network: rendered people, found, their poses, a `.pte`, a picture.

The people are new to the demo weights, which this project trained on others like them; see weights/README.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tinypose_torch.estimators.pose_estimator import PoseEstimator
from tinypose_torch.estimators.results import Poses
from tinypose_torch.export import ExportError, ExportOptions, export_pair
from tinypose_torch.export.receipt import make_receipt, receipt_path, write_receipt
from tinypose_torch.factory import create_model
from tinypose_torch.geometry.boxes import pairwise_iou, xywh_to_xyxy
from tinypose_torch.utils.arguments import ArgumentParser, add_overwrite, run_program
from tinypose_torch.utils.images import save_png
from tinypose_torch.utils.outputs import check_output_folder, check_outputs
from train.synthetic.scenes import Annotation, render_scene

DETECTOR, POSE = "picodet_s_192_lcnet_pedestrian", "tinypose_128x96"
_WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
DETECTOR_WEIGHTS = _WEIGHTS / "picodet_s_192_demo.safetensors"
POSE_WEIGHTS = _WEIGHTS / "tinypose_128x96_demo.safetensors"
_SEED = 1_000_003  # far from those of training
_PICTURES = 12
_COLUMNS = 4
_SAME_PERSON = 0.5  # intersection over union of a drawn and a found box
_THRESHOLD = 0.4  # score of a person
_NEAR = 0.1  # of the box's longer side: a keypoint found
Scenes = list[tuple[np.ndarray, list[Annotation]]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Render, find, export, run the export, compare, draw; see `run_program` for the exit status."""
    return run_program("train.demo", lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    parser = ArgumentParser(
        prog="python -m train.demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("output"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=_SEED, metavar="S", help="of the people (default: %(default)s)")
    add_overwrite(parser)
    options = parser.parse_args(arguments)
    if options.seed < 0:
        parser.error(f"--seed {options.seed}; expected 0 or more")
    picture, exported = options.output / "demo.png", options.output / "demo.pte"
    check_output_folder("--output", options.output)
    outputs = {"the picture": picture, "the exported file": exported, "its receipt": receipt_path(exported)}
    check_outputs(outputs, (DETECTOR_WEIGHTS, POSE_WEIGHTS), overwrite=options.overwrite)
    scenes = _draw_scenes(options.seed)
    print(f"drew {sum(len(people) for _, people in scenes)} people in {len(scenes)} pictures")
    poses = _estimate("PyTorch", _build(DETECTOR_WEIGHTS, POSE_WEIGHTS), scenes)
    save_png(_contact_sheet(scenes, poses), picture)
    print(f"wrote {picture}")
    try:
        print("exporting both to one ExecuTorch file ...", flush=True)
        detector = create_model(DETECTOR, weights=DETECTOR_WEIGHTS)
        export_pair(detector, create_model(POSE, weights=POSE_WEIGHTS), exported, ExportOptions("executorch"))
    except ExportError as error:
        print(f"no .pte: {error}")
        return 0
    write_receipt(make_receipt(exported, []), exported)
    print(f"wrote {exported} ({exported.stat().st_size / 1e6:.1f} MB)")
    again = _estimate("ExecuTorch", _build(exported, exported), scenes)
    if any(len(one) != len(two) for one, two in zip(poses, again, strict=True)):
        print("the two found different people")
        return 1
    apart = max(float(np.abs(a.keypoints - b.keypoints).max()) for a, b in zip(poses, again, strict=True) if len(a))
    print(f"the two agree within {apart:.4f} pixel")
    return 0


def _build(detector_weights: Path, pose_weights: Path) -> PoseEstimator:
    return PoseEstimator(DETECTOR, POSE, detector_weights, pose_weights, detection_threshold=_THRESHOLD)


def _draw_scenes(seed: int) -> Scenes:
    """Pictures with people in them."""
    scenes: Scenes = []
    number = 0
    while len(scenes) < _PICTURES:
        image, people = render_scene(np.random.default_rng([seed, number]))
        number += 1
        if people:
            scenes.append((image, people))
    return scenes


def _estimate(name: str, estimator: PoseEstimator, scenes: Scenes) -> list[Poses]:
    """Poses of all pictures; says how many people and keypoints are right, and how long it took."""
    estimator(scenes[0][0])  # the first call is slower
    started = time.perf_counter()
    poses = [estimator(image) for image, _ in scenes]
    seconds = time.perf_counter() - started
    drawn = found = visible = right = 0
    for (_, people), there in zip(scenes, poses, strict=True):
        for person, number in zip(people, _matches(people, there), strict=True):
            drawn += 1
            seen = person.keypoints[:, 2] == 2
            visible += int(seen.sum())
            if number is None:
                continue
            found += 1
            error = np.linalg.norm(there.keypoints[number] - person.keypoints[:, :2], axis=1)
            right += int((error[seen] <= _NEAR * max(person.bbox[2:])).sum())
    print(
        f"{name}: {found} of {drawn} people and {right} of {visible} visible keypoints found, "
        f"{1e3 * seconds / len(scenes):.1f} ms per picture"
    )
    return poses


def _matches(people: list[Annotation], poses: Poses) -> list[int | None]:
    """For every drawn person the found one with the most similar box, if there is one."""
    if not len(poses):
        return [None] * len(people)
    drawn = xywh_to_xyxy(np.array([person.bbox for person in people], np.float32))
    overlaps = pairwise_iou(drawn, poses.boxes)
    return [
        index if overlap >= _SAME_PERSON else None
        for overlap, index in zip(overlaps.max(axis=1).tolist(), overlaps.argmax(axis=1).tolist(), strict=True)
    ]


def _contact_sheet(scenes: Scenes, poses: list[Poses]) -> np.ndarray:
    tiles = [found.draw(image) for (image, _), found in zip(scenes, poses, strict=True)]
    rows = [np.concatenate(tiles[start : start + _COLUMNS], axis=1) for start in range(0, len(tiles), _COLUMNS)]
    return np.concatenate(rows)


if __name__ == "__main__":
    sys.exit(main())
