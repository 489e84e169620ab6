"""Where the time of a prediction goes: `python benchmarks/prediction.py`.

One interleaved run: every round measures each case once, so that a slow moment of the machine hits all alike. Medians
in milliseconds. "Rest" is everything but the two networks.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from tqdm import trange

from tinypose_torch import PoseEstimator, create_model
from tinypose_torch.checkpoints.files import save_safetensors
from tinypose_torch.codecs.heatmap import decode_heatmaps
from tinypose_torch.estimators.results import Poses
from tinypose_torch.estimators.top_down import crop_people, resize_for_detector, select_detections
from tinypose_torch.export import ExportOptions, export_model
from tinypose_torch.geometry.normalize import normalize
from tinypose_torch.runtime import Runner
from tinypose_torch.timing.people import made_up_photo
from tinypose_torch.utils.images import load_image
from tinypose_torch.utils.table import format_table

PAIRS = (
    ("picodet_s_192_lcnet_pedestrian", "tinypose_128x96"),
    ("picodet_s_320_lcnet_pedestrian", "tinypose_256x192"),
)
PEOPLE = (1, 6)
DARK_PEOPLE = 64
NETWORKS = ("detector", "pose network")
WARM_UP = 1  # rounds
STAGES = ("detector input", "detector", "NMS", "crops", "pose network", "DARK", "results")


def main() -> None:
    """Measure and print the split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="folder with MODEL.pdparams (default: random weights)")
    parser.add_argument("--image", help="photo (default: a made-up 640x480 image)")
    parser.add_argument("--rounds", type=int, default=40, help="measured rounds (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=30, help="start no further round after so long (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--backend", choices=("eager", "executorch"), default="eager", help="default: %(default)s")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    image = load_image(options.image) if options.image else made_up_photo()
    estimators = [build(pair, options) for pair in PAIRS]
    times: dict[tuple[int, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    heatmaps = made_up_heatmaps(DARK_PEOPLE)
    dark: list[float] = []
    end = time.perf_counter() + options.seconds
    for round_number in trange(options.rounds + WARM_UP, unit="round", disable=None):
        if round_number > WARM_UP and time.perf_counter() > end:
            break
        for index, estimator in enumerate(estimators):
            for people in PEOPLE:
                stages = measure(estimator, image, people)
                if round_number >= WARM_UP:
                    for stage, seconds in stages.items():
                        times[index, people][stage].append(seconds * 1e3)
        _, seconds = timed(decode_heatmaps, heatmaps)
        if round_number >= WARM_UP:
            dark.append(seconds * 1e3)
    report(times, len(dark), image, options)
    print(f"\nDARK of {DARK_PEOPLE} people, 64x48 heatmaps: {median(dark):.2f} ms (median), {max(dark):.2f} ms (worst)")


def measure(estimator: PoseEstimator, image: np.ndarray, people: int) -> dict[str, float]:
    """Seconds of every stage, for a number of people in fixed boxes."""
    boxes = np.array([[20 + 95 * i, 60 + 10 * i, 120 + 95 * i, 400 - 10 * i] for i in range(people)], np.float32)
    assert estimator.detector_runner is not None
    assert estimator.detector_config is not None
    seconds = {}
    detector, pose = estimator.detector_config, estimator.pose_config
    resized, resizing = timed(resize_for_detector, image, detector)
    x, normalising = timed(normalize, resized, detector.mean, detector.std)
    seconds["detector input"] = resizing + normalising
    (scores, candidates), seconds["detector"] = timed(run_all, estimator.detector_runner, x)
    _, seconds["NMS"] = timed(select_detections, scores[0], candidates[0], detector, image.shape[:2])
    crops, making = timed(estimator.make_crops, image, boxes)
    people_images, warping = timed(crop_people, image, crops, pose)
    batch, normalising = timed(normalize, people_images, pose.mean, pose.std)
    seconds["crops"] = making + warping + normalising
    (heatmaps,), seconds["pose network"] = timed(run_all, estimator.pose_runner, batch)
    (coordinates, peaks), seconds["DARK"] = timed(decode_heatmaps, heatmaps)
    _, seconds["results"] = timed(lambda: Poses(boxes, np.ones(people), crops.to_image(coordinates), peaks))
    return seconds


def report(times: Any, rounds: int, image: np.ndarray, options: argparse.Namespace) -> None:
    """Print the table."""
    print(
        f"{image.shape[1]}x{image.shape[0]} photo, {options.threads} threads, {options.backend}, torch {torch.__version__}, "
        f"{platform.machine()}, median of {rounds} rounds, ms\n"
    )
    rows = []
    for (index, people), stages in times.items():
        medians = {stage: median(stages[stage]) for stage in STAGES}
        networks = sum(medians[stage] for stage in NETWORKS)
        rest = sum(medians.values()) - networks
        size = "192 + 128x96" if index == 0 else "320 + 256x192"
        cells = [f"{medians[stage]:.2f}" for stage in STAGES]
        rows.append((size, str(people), *cells, f"{rest:.2f}", f"{rest / networks:.1%}"))
    header = ("pair", "people", *STAGES, "rest", "rest/networks")
    print(format_table(header, rows, right=range(1, len(header))))


def run_all(runner: Runner, batch: np.ndarray) -> tuple[np.ndarray, ...]:
    """A network on a batch; files that take one at a time are called in a row."""
    if runner.metadata.batch is None:
        return runner.run(batch)
    pieces = [runner.run(batch[index : index + 1]) for index in range(len(batch))]
    return tuple(np.concatenate(values) for values in zip(*pieces, strict=True))


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """A call's result and its duration in seconds."""
    start = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - start


def build(pair: tuple[str, str], options: argparse.Namespace) -> PoseEstimator:
    """An estimator with the given or random weights, on the chosen backend."""
    print(f"building {' and '.join(pair)} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for name in pair:
            network = create_model(name, weights=options.weights / f"{name}.pdparams" if options.weights else None)
            if options.backend == "executorch":
                files.append(Path(folder, f"{name}.pte"))
                print(f"exporting {name} ...", file=sys.stderr, flush=True)
                export_model(network, files[-1], ExportOptions(images=False, decode=False))
            else:
                files.append(Path(folder, f"{name}.safetensors"))
                save_safetensors(network, files[-1], {"model": name})
        return PoseEstimator(*pair, *files, threads=options.threads)


def made_up_heatmaps(people: int) -> np.ndarray:
    """17 noisy Gaussian peaks per person."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:64, :48]
    centres = generator.uniform(4, 44, (people, 17, 2, 1, 1))
    peaks = np.exp(-((x - centres[:, :, 0]) ** 2 + (y - centres[:, :, 1]) ** 2) / 8)
    return (peaks + generator.uniform(0, 0.05, peaks.shape)).astype(np.float32)


if __name__ == "__main__":
    main()
