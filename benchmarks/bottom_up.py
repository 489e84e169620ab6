"""Compare bottom-up and top-down by number of people; write docs/benchmarks/bottom_up.md and its plot.

    PYTHONPATH=. python benchmarks/bottom_up.py --weights FILE [--people N ...] [--images N]

Rendered images, ExecuTorch with one thread. Top-down: the detector and TinyPose 128x96 of `weights/`, with detected boxes and
with annotated boxes after a run of the detector. Times are medians of interleaved runs from image to poses; AP is COCO's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from tqdm import tqdm

from tinypose_torch import BottomUpEstimator, PoseEstimator, Poses, create_model
from tinypose_torch.evaluation.bottom_up import bottom_up_results
from tinypose_torch.evaluation.coco import keypoint_accuracy
from tinypose_torch.export import ExportOptions, export_model, export_pair
from tinypose_torch.utils.arguments import add_overwrite
from tinypose_torch.utils.images import load_image
from tinypose_torch.utils.outputs import check_outputs
from train.synthetic.__main__ import write_dataset

mpl.use("svg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parent.parent
BOTTOM_UP = "higherhrnet_w16_192"
DETECTOR, POSE = "picodet_s_192_lcnet_pedestrian", "tinypose_128x96"
DETECTOR_WEIGHTS, POSE_WEIGHTS = (ROOT / f"weights/{name}_demo.safetensors" for name in ("picodet_s_192", POSE))
SIZE = (480, 640)
HEIGHTS = (0.3, 0.5)
SHOWN_SIZE = (192, 256)
THRESHOLD = 0.2
SEED = 2026
WAYS = {"top-down": "tab:blue", "top-down, true boxes": "tab:cyan", "bottom-up": "tab:orange"}


def main() -> None:
    """Render, estimate, write page and plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--weights", type=Path, required=True, help=f"of {BOTTOM_UP}")
    add("--people", type=int, nargs="+", default=[1, 2, 5, 10, 20], help="default: %(default)s")
    add("--images", type=int, default=40, help="for every number of people (default: %(default)s)")
    add("--output", type=Path, default=ROOT / "docs/benchmarks", metavar="DIR", help="default: docs/benchmarks")
    add_overwrite(parser)
    options = parser.parse_args()
    files = {"the page": "bottom_up.md", "the plot": "bottom_up.svg"}
    replaced = options.overwrite or options.output == ROOT / "docs/benchmarks"  # whose pages are made by this program
    check_outputs({kind: options.output / name for kind, name in files.items()}, [options.weights], overwrite=replaced)
    with tempfile.TemporaryDirectory() as folder:
        estimators = _estimators(Path(folder), options.weights)
        rows = [_measure(count, options.images, Path(folder) / str(count), estimators) for count in options.people]
    command = f"PYTHONPATH=. python benchmarks/bottom_up.py --weights FILE --images {options.images}"
    (options.output / "bottom_up.md").write_text(page(rows, command))
    draw_plot(rows, options.output / "bottom_up.svg")


def _estimators(folder: Path, weights: Path) -> dict[str, Any]:
    both, people = folder / "both.pte", folder / "people.pte"
    print("exporting ...", file=sys.stderr, flush=True)
    detector = create_model(DETECTOR, weights=DETECTOR_WEIGHTS)
    export_pair(detector, create_model(POSE, weights=POSE_WEIGHTS), both, ExportOptions())
    export_model(create_model(BOTTOM_UP, weights=weights, input_size=SHOWN_SIZE), people, ExportOptions())
    top_down = PoseEstimator(DETECTOR, POSE, both, both, detection_threshold=THRESHOLD, threads=1)
    bottom_up = BottomUpEstimator(BOTTOM_UP, people, flip=False, threads=1)

    def with_true_boxes(image: np.ndarray, boxes: np.ndarray) -> Poses:
        top_down.detect_people(image)
        return top_down.estimate_keypoints(image, boxes)

    return {
        "top-down": lambda image, boxes: top_down(image),
        "top-down, true boxes": with_true_boxes,
        "bottom-up": lambda image, boxes: bottom_up(image),
    }


def _measure(count: int, images: int, folder: Path, estimators: dict[str, Any]) -> dict[str, Any]:
    """Median milliseconds and AP of each estimator on images with ``count`` people."""
    write_dataset(folder, images, SEED + count, {"size": SIZE, "people_count": count, "heights": HEIGHTS})
    row: dict[str, Any] = {"people": count}
    pictures, boxes, truth = _all_of(folder)
    times: dict[str, list[float]] = {name: [] for name in estimators}
    found: dict[str, list[Any]] = {name: [] for name in estimators}
    for identity, file in tqdm(pictures.items(), desc=f"{count} people", unit="image", disable=None):
        image = load_image(str(file))
        for name, estimator in estimators.items():
            started = time.perf_counter()
            poses = estimator(image, boxes[identity])
            times[name].append(1e3 * (time.perf_counter() - started))
            found[name] += _records(identity, poses)
    for name in estimators:
        row[f"{name} ms"] = statistics.median(times[name])
        row[f"{name} AP"] = keypoint_accuracy(truth, found[name])["AP"]
        row[f"{name} found"] = len(found[name]) / len(pictures)
    return row


def _all_of(folder: Path) -> tuple[dict[int, Path], dict[int, np.ndarray], Path]:
    """The pictures and the boxes of their people by id, and a file of both parts' annotations."""
    parts = [json.loads((folder / f"{name}.json").read_text()) for name in ("train", "val")]
    joined = {**parts[0], **{key: parts[0][key] + parts[1][key] for key in ("images", "annotations")}}
    (folder / "all.json").write_text(json.dumps(joined))
    pictures = {facts["id"]: folder / "images" / facts["file_name"] for facts in joined["images"]}
    boxes = {
        identity: np.array([a["bbox"] for a in joined["annotations"] if a["image_id"] == identity]).reshape(-1, 4)
        for identity in pictures
    }
    corners = {key: np.concatenate([some[:, :2], some[:, :2] + some[:, 2:]], axis=1) for key, some in boxes.items()}
    return pictures, corners, folder / "all.json"


def _records(identity: int, poses: Poses) -> list[dict[str, Any]]:
    """A top-down person scores as the box and the mean of the keypoints together; a bottom-up one has the latter only."""
    keypoints = np.concatenate([poses.keypoints, poses.keypoint_scores[..., None]], axis=2)
    scores = poses.keypoint_scores.mean(axis=1) * poses.scores
    return bottom_up_results(identity, keypoints, scores)


def page(rows: list[dict[str, Any]], command: str) -> str:
    """The page in Markdown."""
    lines = [
        "# Bottom-up and top-down by number of people",
        "",
        "![Time and AP against the number of people](bottom_up.svg)",
        "",
        f"Median time from image to poses of rendered {SIZE[1]}x{SIZE[0]} images, on ExecuTorch with one thread. {_crossing(rows)}",
        "",
        f"* Top-down: `{DETECTOR}` and `{POSE}` with the weights of `weights/`, detection threshold {THRESHOLD}.",
        f"* Bottom-up: `{BOTTOM_UP}` at {SHOWN_SIZE[1]}x{SHOWN_SIZE[0]}, without the flip test, trained by the recipe `demo_bottom_up`.",
        "* Painted: people per image. Annotated: those with enough visible pixels. Found: people per image.",
        "",
        "| painted | annotated | " + " | ".join(f"{name}: ms | AP | found" for name in WAYS) + " |",
        "|--:|--:|" + "--:|--:|--:|" * len(WAYS),
    ]
    for row in rows:
        cells = [str(row["people"]), f"{row['top-down, true boxes found']:.1f}"]
        for name in WAYS:
            cells += [f"{row[f'{name} ms']:.1f}", f"{row[f'{name} AP']:.3f}", f"{row[f'{name} found']:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "Made by", "", "<!-- not executed: a benchmark -->", "```bash", command, "```", ""]
    return "\n".join(lines)


def _crossing(rows: list[dict[str, Any]]) -> str:
    sentences = []
    for name in ("top-down", "top-down, true boxes"):
        faster = [row["people"] for row in rows if row["bottom-up ms"] < row[f"{name} ms"]]
        sentences.append(
            f"Bottom-up is faster than {name} from {faster[0]} people on."
            if faster
            else f"{name.capitalize()} is faster than bottom-up at every tested number (1 to {rows[-1]['people']} people)."
        )
    one, two = rows[-2:]
    slopes, ends = {}, {}
    for name in ("top-down, true boxes", "bottom-up"):
        apart = two["top-down, true boxes found"] - one["top-down, true boxes found"]
        slopes[name], ends[name] = (two[f"{name} ms"] - one[f"{name} ms"]) / apart, two[f"{name} ms"]
    steeper = slopes["top-down, true boxes"] - slopes["bottom-up"]
    crossing = two["top-down, true boxes found"] + (ends["bottom-up"] - ends["top-down, true boxes"]) / steeper
    sentences.append(
        f"Extrapolated from the last two rows, bottom-up equals top-down with true boxes at {crossing:.0f} annotated people."
    )
    return " ".join(sentences)


def draw_plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Time and AP against the number of people, as SVG that is the same for the same figures."""
    mpl.rcParams["svg.hashsalt"] = "iscrowd"
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    people = [row["people"] for row in rows]
    for axis, measure, label in zip(axes, ("ms", "AP"), ("milliseconds per picture", "AP"), strict=True):
        for name, colour in WAYS.items():
            axis.plot(people, [row[f"{name} {measure}"] for row in rows], marker="o", color=colour, label=name)
        axis.set_xscale("log")
        axis.set_xticks(people, [str(count) for count in people])
        axis.minorticks_off()
        axis.set_xlabel("people in the picture")
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
        axis.grid(visible=True, alpha=0.3)
        axis.legend()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
