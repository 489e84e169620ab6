"""Memory on a long video, and what is left when the process is killed: ``PYTHONPATH=. python benchmarks/long_video.py``.

A rendered clip of 320x240 pixels and one person, repeated, is followed by ``tinypose predict --track`` with the weights of `weights/`, from
file to overlay and JSON lines. A second run is killed in the middle of a minute of it, with SIGKILL, all processes at once.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from tqdm import tqdm, trange

from tinypose_torch.utils.table import format_table
from tinypose_torch.video import VideoReader, VideoWriter
from train.synthetic.videos import render_video

ROOT = Path(__file__).resolve().parent.parent
DETECTOR, POSE = "picodet_s_192_lcnet_pedestrian", "tinypose_128x96"
SIZE, FPS, CLIP = (240, 320), 30, 10  # the clip's seconds
SHARES = (0.02, 0.25, 0.5, 0.75, 0.98)  # of the run, at which memory is told


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, help="default: %(default)s")
    parser.add_argument(
        "--detect-every", type=int, default=5, help="default: %(default)s; with 1 the detector runs ahead"
    )
    options = parser.parse_args()
    minutes = options.minutes
    clip = [frame for frame, _ in render_video(np.random.default_rng(1), SIZE, 1, CLIP * FPS)]
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder, "long.mp4")
        frames = round(minutes * 60 * FPS)
        with VideoWriter(video, FPS, SIZE[::-1]) as writer:
            for index in trange(frames, desc="writing the video", unit="frame", disable=None):
                writer.write(clip[index % len(clip)])
        process = start(video, Path(folder, "whole"), options.detect_every)
        samples = []
        with tqdm(total=frames, desc="predicting", unit="frame", disable=None) as progress:
            while process.poll() is None:
                samples.append((count_lines(Path(folder, "whole.jsonl")), megabytes(process.pid)))
                progress.update(samples[-1][0] - progress.n)
                time.sleep(1)
        if process.returncode != 0:
            raise RuntimeError("tinypose predict failed")
        print(
            f"{frames} frames: {count_lines(Path(folder, 'whole.jsonl'))} lines, {count_frames(folder, 'whole')} in the MP4\n"
        )
        rows = []
        for share in SHARES:
            lines, memory = min(samples, key=lambda sample: abs(sample[0] - share * frames))
            rows.append((str(lines), f"{memory:.0f}"))
        print(format_table(("frames done", "memory of all processes, MB"), rows, right=range(2)))
        process = start(video, Path(folder, "killed"), options.detect_every)
        lines = Path(folder, "killed.jsonl")
        while count_lines(lines) < 30 * FPS:
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        done = [json.loads(line) for line in lines.read_text().splitlines()[:-1]]
        print(f"\nkilled: {len(done)} whole lines of JSON, {count_frames(folder, 'killed')} frames in the MP4")


def start(video: Path, output: Path, detect_every: int) -> subprocess.Popen[bytes]:
    """``tinypose predict`` in separate processes."""
    weights = [ROOT / f"weights/{name}_demo.safetensors" for name in ("picodet_s_192", POSE)]
    command = [sys.executable, "-m", "tinypose_torch.cli", "predict", video, "--track"]
    command += ["--detect-every", detect_every, "--threads", 1]
    command += ["--detection-threshold", 0.4, "--detector", DETECTOR, "--detector-weights", weights[0]]
    command += ["--pose", POSE, "--pose-weights", weights[1]]
    command += ["--output", output, "--json", f"{output}.jsonl"]
    return subprocess.Popen(list(map(str, command)), start_new_session=True, stderr=subprocess.DEVNULL)


def megabytes(pid: int) -> float:
    """Memory of a process and its children; what processes share counts in part for each."""
    try:
        parent = psutil.Process(pid)
        return sum(each.memory_full_info().pss for each in (parent, *parent.children(recursive=True))) / 2**20
    except psutil.Error:
        return float("nan")


def count_lines(path: Path) -> int:
    """Whole lines."""
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def count_frames(folder: str, name: str) -> int:
    """Frames of an overlay that can be read."""
    (overlay,) = Path(folder, name).glob("*.mp4")  # a temporary file where the processes were killed
    with VideoReader(str(overlay)) as video:
        return sum(1 for _ in video)


if __name__ == "__main__":
    main()
