"""How fast a video is followed, from file to overlay: ``PYTHONPATH=. python benchmarks/video.py``.

Beside it what the networks alone would allow: the same inputs once more, and nothing else, with one thread and with two; the
ratio is to the faster of the two. All in rounds that take turns, so that a slow moment of the machine hits all. With the
detector and TinyPose 128x96 of `weights/` on ExecuTorch, on rendered videos of 640x480 pixels in which the given number of
people is followed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from tqdm import trange

from tinypose_torch import PoseEstimator, create_model
from tinypose_torch.cli import main as tinypose
from tinypose_torch.export import export_model
from tinypose_torch.runtime import Runner
from tinypose_torch.tracking.pose_tracker import PoseTracker
from tinypose_torch.utils.table import format_table
from tinypose_torch.video import VideoReader, VideoWriter
from train.synthetic.scenes import render_scene

ROOT = Path(__file__).resolve().parent.parent
DETECTOR, POSE = "picodet_s_192_lcnet_pedestrian", "tinypose_128x96"
SIZE, FPS = (480, 640), 30.0
PEOPLE = (1, 6)
ALONE = (1, 2)  # threads
REPEATED = 3  # times the video is played, so that the start of the command does not matter


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--frames", type=int, default=300, help="of each video (default: %(default)s)")
    add("--rounds", type=int, default=5, help="default: %(default)s")
    add("--people", type=int, nargs="+", default=PEOPLE, help="default: 1 6")
    add("--threads", type=int, default=None, help="of the networks, from file to overlay (default: tinypose predict's)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{name}.pte") for name in (DETECTOR, POSE)]
        for name, short, file in zip((DETECTOR, POSE), ("picodet_s_192", POSE), files, strict=True):
            print(f"exporting {name} ...", file=sys.stderr, flush=True)
            export_model(create_model(name, weights=ROOT / f"weights/{short}_demo.safetensors"), file)
        rows = []
        for people in options.people:
            print(f"preparing a video of {people} people ...", file=sys.stderr, flush=True)
            video = Path(folder, f"{people}.mp4")
            estimator = open_networks(files, 1)
            render(video, estimator, people, options.frames)
            calls = record_calls(estimator, video)
            found = sum(task == "pose" for task, _ in calls) / options.frames
            rounds = [
                (*(run_networks(files, threads, calls) for threads in ALONE), run_whole(video, files, options))
                for _ in trange(options.rounds + 1, desc=f"{people} people", unit="round", disable=None)
            ][1:]
            *alone, whole = (options.frames / median(seconds) for seconds in zip(*rounds, strict=True))
            ratio = median(min(networks) / everything for *networks, everything in rounds)
            rows.append((str(people), *(f"{number:.1f}" for number in (found, *alone, whole)), f"{ratio:.2f}"))
    header = ("people", "poses per frame", *(f"networks alone, {n} thread{'s' * (n > 1)}" for n in ALONE))
    print(f"\n{SIZE[1]}x{SIZE[0]}, frames per second, {options.frames} frames, median of {options.rounds} rounds\n")
    print(format_table((*header, "video to overlay", "ratio"), rows, right=range(len(header) + 2)))


def render(path: Path, estimator: PoseEstimator, people: int, frames: int) -> None:
    """Frames of a swaying camera: the first rendered image with the given number of detected people, shifted."""
    for seed in range(1000):
        picture = render_scene(np.random.default_rng([people, seed]), (SIZE[0], SIZE[1] + 40), people, (0.4, 0.7))[0]
        sides = [np.ascontiguousarray(picture[:, start : start + SIZE[1]]) for start in (0, 20, 40)]
        if all(len(estimator(side)) == people for side in sides):
            break
    with VideoWriter(path, FPS, SIZE[::-1]) as writer:
        for frame in range(frames):
            start = round(20 - 20 * np.cos(frame / 20))
            writer.write(np.ascontiguousarray(picture[:, start : start + SIZE[1]]))


def record_calls(estimator: PoseEstimator, video: Path) -> list[tuple[str, np.ndarray]]:
    """What the networks are given while a video is followed."""
    calls: list[tuple[str, np.ndarray]] = []
    runners = networks_of(estimator)
    plain = {task: runner.run for task, runner in runners.items()}
    for task, runner in runners.items():

        def recorded(batch: np.ndarray, task: str = task) -> Any:
            calls.append((task, batch.copy()))
            return plain[task](batch)

        runner.run = recorded  # type: ignore[method-assign]
    follower = PoseTracker(estimator)
    with VideoReader(str(video)) as frames:
        for index, frame in enumerate(frames):
            follower(frame, index / FPS)
    for task, runner in runners.items():
        runner.run = plain[task]  # type: ignore[method-assign]
    return calls


def open_networks(files: list[Path], threads: int) -> PoseEstimator:
    """Both networks; all of the process has as many threads as were asked for last."""
    return PoseEstimator(DETECTOR, POSE, *files, detection_threshold=0.4, threads=threads)


def run_networks(files: list[Path], threads: int, calls: list[tuple[str, np.ndarray]]) -> float:
    """Seconds of the recorded calls."""
    runners = networks_of(open_networks(files, threads))
    start = time.perf_counter()
    for task, batch in calls:
        runners[task].run(batch)
    return time.perf_counter() - start


def run_whole(video: Path, files: list[Path], options: argparse.Namespace) -> float:
    """Seconds in which ``tinypose predict --track`` goes through the video.

    Opening the networks and the video is left out: this is the difference to a run on a video of so many frames more.
    """
    longer = video.with_name(f"{video.stem}_repeated.mp4")
    if not longer.is_file():
        with VideoWriter(longer, FPS, SIZE[::-1]) as writer:
            for _ in range(REPEATED):
                with VideoReader(str(video)) as frames:
                    for frame in frames:
                        writer.write(frame)
    seconds = []
    for source in (video, longer):
        output = video.with_name("overlays")
        arguments = ["predict", source, "--track", "--detection-threshold", 0.4]
        arguments += ["--threads", options.threads] if options.threads else []
        arguments += ["--detector-weights", files[0], "--pose-weights", files[1], "--output", output]
        arguments += ["--json", output / "x.jsonl"]
        output.mkdir(exist_ok=True)
        start = time.perf_counter()
        if tinypose(list(map(str, arguments))) != 0:
            raise RuntimeError("tinypose predict failed")
        seconds.append(time.perf_counter() - start)
    return (seconds[1] - seconds[0]) / (REPEATED - 1)


def networks_of(estimator: PoseEstimator) -> dict[str, Runner]:
    """Both networks by task."""
    assert estimator.detector_runner is not None
    return {"detection": estimator.detector_runner, "pose": estimator.pose_runner}


if __name__ == "__main__":
    main()
