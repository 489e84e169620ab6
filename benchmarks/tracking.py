"""People followed through rendered videos: writes docs/benchmarks/tracking.md.

    PYTHONPATH=. python benchmarks/tracking.py [--videos N] [--frames N] [--people N]

With the detector and TinyPose 128x96 of `weights/`. Jitter is the mean acceleration of the keypoints of somebody who stands
still, lag the delay in frames at which the walkers' keypoints fit the truth best.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from tinypose_torch import PoseEstimator, Poses
from tinypose_torch.evaluation.tracking import People, score_tracking
from tinypose_torch.geometry.boxes import pairwise_iou
from tinypose_torch.geometry.linear_assignment import linear_assignment
from tinypose_torch.tracking.pose_tracker import PoseTracker
from tinypose_torch.tracking.smoothing import Smoothing
from tinypose_torch.tracking.tracker import BYTETRACK_SETTINGS, Tracker
from tinypose_torch.utils.arguments import add_overwrite
from tinypose_torch.utils.outputs import check_outputs
from train.synthetic.scenes import Annotation
from train.synthetic.videos import render_video

ROOT = Path(__file__).resolve().parent.parent
DETECTOR, POSE = "picodet_s_192_lcnet_pedestrian", "tinypose_128x96"
WEIGHTS = [ROOT / f"weights/{name}_demo.safetensors" for name in ("picodet_s_192", POSE)]
SIZE, FPS, STILL, SEED = (480, 640), 30.0, 1, 2026
SAME = 0.5  # IoU from which a found box is somebody's
WAYS = [(every, smooth) for every in (1, 5) for smooth in (False, True)]
LAGS = np.arange(0, 6, 0.25)

Frames = list[dict[int, Annotation]]


def main() -> None:
    """Render, follow, print and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--videos", type=int, default=4, help="default: %(default)s")
    add("--frames", type=int, default=300, help="of each (default: %(default)s)")
    add("--people", type=int, default=5, help="in each (default: %(default)s)")
    add("--output", type=Path, default=ROOT / "docs/benchmarks", metavar="DIR", help="default: docs/benchmarks")
    add_overwrite(parser)
    options = parser.parse_args()
    files = {"the page": "tracking.md"}
    replaced = options.overwrite or options.output == ROOT / "docs"  # whose pages are made by this program
    check_outputs({kind: options.output / name for kind, name in files.items()}, overwrite=replaced)
    rows: dict[tuple[int, bool], list[dict[str, float]]] = defaultdict(list)
    best: list[float] = []
    estimator = PoseEstimator(DETECTOR, POSE, *WEIGHTS, backend="eager", detection_threshold=0.4)
    for video in range(options.videos):
        frames = render_video(np.random.default_rng([SEED, video]), SIZE, options.people, options.frames, FPS)
        followers = {way: PoseTracker(estimator, way[0], smoothing=Smoothing() if way[1] else None) for way in WAYS}
        truth: Frames = []
        found: dict[tuple[int, bool], list[Poses]] = defaultdict(list)
        for index, (image, people) in enumerate(tqdm(frames, total=options.frames, desc=f"video {video + 1}")):
            truth.append(people)
            for way, follower in followers.items():
                found[way].append(follower(image, index / FPS))
        for way in WAYS:
            rows[way].append(measure(truth, found[way]))
        best.append(_with_true_boxes(truth))
    text = page(rows, options, float(np.mean(best)))
    (options.output / "tracking.md").write_text(text)
    print(text)


def measure(truth: Frames, found: list[Poses]) -> dict[str, float]:
    """The figures of one video."""
    true = [People(np.array(list(people)), _boxes(people)) for people in truth]
    seen = [People(poses.ids, poses.boxes.astype(float)) for poses in found]  # type: ignore[arg-type]
    scores = score_tracking(true, seen)
    ways: dict[int, dict[int, tuple[np.ndarray, np.ndarray]]] = defaultdict(dict)
    for index, (one, other, people, poses) in enumerate(zip(true, seen, truth, found, strict=True)):
        for row, column in _match_boxes(one.boxes, other.boxes):
            identity = int(one.ids[row])
            ways[identity][index] = (people[identity].keypoints, poses.keypoints[column])
    return {
        "MOTA": scores.mota,
        "IDF1": scores.idf1,
        "switches": scores.switches,
        "found": scores.recall,
        "jitter": _jitter(ways.pop(STILL, {})),
        "lag": _lag(ways),
    }


def _match_boxes(true: np.ndarray, found: np.ndarray) -> list[tuple[int, int]]:
    """Rows of boxes ``(N, 4)`` and ``(M, 4)`` that belong together: as many as overlap enough, the greatest overlaps."""
    iou = pairwise_iou(torch.from_numpy(true), torch.from_numpy(found)).numpy()
    pairs = linear_assignment(np.where(iou >= SAME, -iou, 1e6))
    return [(row, column) for row, column in pairs if iou[row, column] >= SAME]


def _boxes(people: dict[int, Annotation]) -> np.ndarray:
    boxes = np.array([person.bbox for person in people.values()], float).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _jitter(way: dict[int, Any]) -> float:
    """Pixels per frame squared, of keypoints that can be seen."""
    accelerations = []
    for index in way:
        if index - 1 in way and index + 1 in way:
            seen = way[index][0][:, 2] == 2
            before, now, after = (way[index + step][1][seen] for step in (-1, 0, 1))
            accelerations.append(np.linalg.norm(before - 2 * now + after, axis=1))
    return float(np.concatenate(accelerations).mean()) if accelerations else float("nan")


def _lag(ways: dict[int, dict[int, Any]]) -> float:
    """Frames by which what was found follows the truth: the delay at which both are nearest along x."""
    errors = {float(lag): [] for lag in LAGS}  # type: ignore[var-annotated]
    for way in ways.values():
        for index in way:
            if any(index - step not in way for step in range(7)):
                continue
            for lag in LAGS:
                whole, part = int(lag), float(lag) - int(lag)
                newer, older = way[index - whole][0], way[index - whole - 1][0]
                seen = (newer[:, 2] == 2) & (older[:, 2] == 2) & (way[index][0][:, 2] == 2)
                then = (1 - part) * newer[seen, 0] + part * older[seen, 0]
                errors[float(lag)] += np.abs(way[index][1][seen, 0] - then).tolist()
    return min(errors, key=lambda lag: float(np.median(errors[lag]))) if errors[0.0] else float("nan")


def _with_true_boxes(truth: Frames) -> float:
    """IDF1 of the tracker where the detector finds all visible people and no others."""
    tracker = Tracker(BYTETRACK_SETTINGS)
    true = [People(np.array(list(people)), _boxes(people)) for people in truth]
    found = []
    for people in true:
        tracks = [t for t in tracker.update(people.boxes, np.ones(len(people.ids))) if t.detection is not None]
        rows = [track.detection for track in tracks]
        found.append(People(np.array([track.id for track in tracks]), people.boxes[rows].reshape(-1, 4)))
    return score_tracking(true, found).idf1


def page(rows: dict[tuple[int, bool], list[dict[str, float]]], options: argparse.Namespace, best: float) -> str:
    """The page in Markdown."""
    lines = [
        "# Tracking",
        "",
        f"How well people are tracked in {options.videos} rendered videos of {options.frames / FPS:.0f} seconds, {SIZE[1]}x{SIZE[0]} pixels, {FPS:.0f} frames per second.",
        f"One of {options.people} people stands still in front. The others walk behind, cross, leave and return. Networks: `{DETECTOR}` and",
        f"`{POSE}` with the weights of `weights/`, detection threshold 0.4.",
        "",
        "* Found: fraction of the visible people.",
        "* Jitter: mean acceleration of the visible keypoints of the standing person, pixels per frame squared.",
        "* Lag: delay of the walkers' keypoints, frames.",
        "* People who are hidden for more than a second return with a new id, which counts as a switch. With perfect boxes of all",
        f"  visible people IDF1 would be {best:.3f}.",
        "",
        "| detector in | smoothing | MOTA | IDF1 | switches | found | jitter | lag |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for (every, smooth), figures in rows.items():
        mean = {name: float(np.nanmean([row[name] for row in figures])) for name in figures[0]}
        lines.append(
            f"| {'every frame' if every == 1 else f'every {every}th'} | {'on' if smooth else 'off'} | {mean['MOTA']:.3f} | {mean['IDF1']:.3f} "
            f"| {sum(row['switches'] for row in figures):.0f} | {mean['found']:.3f} | {mean['jitter']:.3f} | {mean['lag']:.2f} |"
        )
    lines += [
        "",
        "Made by",
        "",
        "<!-- not executed: a benchmark -->",
        "```bash",
        "PYTHONPATH=. python benchmarks/tracking.py",
        "```",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
