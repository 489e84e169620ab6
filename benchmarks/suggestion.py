"""Labels that `tinypose suggest` needs for the accuracy that random choice reaches, on rendered people.

    PYTHONPATH=. python benchmarks/suggestion.py --weights FILE [--pool N] [--rounds N] [--images N] [--steps N] [--seeds S ...]

A round adds ``--images`` images to the labelled ones and fine-tunes from ``--weights`` on all of them. The first images are
random, and the same for both. The last column is the number of labelled people with which the suggested images reach the
accuracy of the last random round, divided by the labelled people of that round.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from tinypose_torch.cli import main as tinypose
from tinypose_torch.utils.table import format_table
from train.__main__ import main as train
from train.synthetic.__main__ import write_dataset

SCENE = {"size": (240, 320), "people_count": None, "heights": None}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--output", type=Path, default=Path("output/suggestion"))
    parser.add_argument("--pool", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--accelerator", default="auto")
    options = parser.parse_args()
    rows = []
    for seed in options.seeds:
        shutil.rmtree(options.output, ignore_errors=True)
        write_dataset(options.output / "pool", options.pool, seed, SCENE)
        curves = {method: _run(method, seed, options) for method in ("random", "suggested")}
        labels, accuracies = zip(*curves["random"], strict=True)
        needed = _labels_for(accuracies[-1], curves["suggested"])
        for number, pair in enumerate(zip(curves["random"], curves["suggested"], strict=True)):
            figures = [f"{value:.3f}" if isinstance(value, float) else str(value) for one in pair for value in one]
            last = number == options.rounds - 1
            rows.append((str(seed), *figures, f"{needed / labels[-1]:.2f}" if last else ""))
    header = ("seed", "random: people", "AP", "suggested: people", "AP", "needed")
    print(format_table(header, rows, right=range(1, 6)))


def _run(method: str, seed: int, options: argparse.Namespace) -> list[tuple[int, float]]:
    """Labelled people and AP after every round."""
    pool = options.output / "pool"
    content = json.loads((pool / "train.json").read_text())
    names = [image["file_name"] for image in content["images"]]
    order = random.Random(seed)
    labelled, weights, curve = order.sample(names, options.images), options.weights, []
    for number in range(options.rounds):
        folder = options.output / f"{method}-{seed}-{number}"
        folder.mkdir(parents=True)
        if number:
            labelled += _choose(method, order, names, labelled, folder, weights, options)
        people = _write_part(content, labelled, folder / "labelled.json")
        keys = [
            f"data.train={folder / 'labelled.json'}",
            f"data.val={pool / 'val.json'}",
            f"data.images={pool / 'images'}",
        ]
        keys += [
            f"weights={options.weights}",
            f"output={folder / 'run'}",
            f"max_steps={options.steps}",
            "batch_size=32",
        ]
        keys += [f"seed={seed}", f"accelerator={options.accelerator}", "epochs=100000", "evaluate_every=100000"]
        assert train(["finetune", "model=tinypose_128x96", "optimisation.warmup_steps=10", *keys]) == 0
        weights = str(folder / "run/weights.safetensors")
        curve.append((people, json.loads((folder / "run/receipt.json").read_text())["accuracy"]["AP"]))
    return curve


def _choose(
    method: str,
    order: random.Random,
    names: list[str],
    labelled: list[str],
    folder: Path,
    weights: str,
    options: argparse.Namespace,
) -> list[str]:
    if method == "random":
        return order.sample(sorted(set(names) - set(labelled)), options.images)
    pool = options.output / "pool"
    candidates = folder / "candidates"  # the held-out images are none
    candidates.mkdir()
    for name in names:
        (candidates / name).symlink_to((pool / "images" / name).resolve())
    content = json.loads((pool / "train.json").read_text())
    _write_part(content, labelled, folder / "known.json")
    words = ["suggest", str(candidates), "--labelled", str(folder / "known.json"), "--number", str(options.images)]
    words += ["--pose-weights", weights, "--detector-weights", "weights/picodet_s_192_demo.safetensors"]
    assert tinypose([*words, "--output", str(folder / "next.json")]) == 0
    return [image["file_name"] for image in json.loads((folder / "next.json").read_text())["images"]]


def _write_part(content: dict[str, Any], names: list[str], path: Path) -> int:
    """Write the annotations of some images; returns their number of people."""
    images = [image for image in content["images"] if image["file_name"] in set(names)]
    ids = {image["id"] for image in images}
    annotations = [row for row in content["annotations"] if row["image_id"] in ids]
    path.write_text(json.dumps({**content, "images": images, "annotations": annotations}))
    return len(annotations)


def _labels_for(accuracy: float, curve: list[tuple[int, float]]) -> float:
    """Labels with which a curve first reaches an accuracy; infinite if it never does."""
    labels, accuracies = (np.array(values, float) for values in zip(*curve, strict=True))
    best = np.maximum.accumulate(accuracies)
    if best[-1] < accuracy:
        return float("inf")
    return float(np.interp(accuracy, best, labels))


if __name__ == "__main__":
    main()
