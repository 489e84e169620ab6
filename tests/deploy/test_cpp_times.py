"""The C++ program gives frames of videos the times that Python gives them, in JSON and to the method follow."""

import json
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from conftest import gradient_image, write_video
from cpp_programs import run, shared_program, shared_small_app

from tinypose_torch.video import VideoReader

pytestmark = pytest.mark.slow  # the program is built first

VARIABLE = [0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.25, 0.35, 0.5, 1.0, 1.01, 1.1]


@pytest.fixture(scope="module")
def program(tmp_path_factory, worker_id):
    return shared_program(tmp_path_factory, worker_id)


@pytest.fixture(scope="module")
def app(tmp_path_factory, worker_id):
    return shared_small_app(tmp_path_factory, worker_id)


def encode(path, times, b_frames=0, container=None):
    """A clip of variable rate, as phones write them."""
    tick = Fraction(1, 90_000)
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream("libx264", rate=30, options={"preset": "medium", "bf": str(b_frames)})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.time_base = stream.codec_context.time_base = tick
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.roll(gradient_image(), 3 * index, axis=1), format="rgb24")
            frame.pts, frame.time_base = round(time / tick), tick
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


def write_mjpg(path):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.5, (160, 120))
    for index in range(5):
        writer.write(np.roll(gradient_image(), index, axis=1))
    writer.release()


def write_elementary_stream(path):
    """A stream without timestamps, which says its rate."""
    with av.open(str(path), "w", format="h264") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for index in range(6):
            picture = np.roll(gradient_image(), 3 * index, axis=1)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())


def write_joined(path):
    """Two recordings in one file, whose times begin again."""
    parts = []
    for name in ("a.ts", "b.ts"):
        encode(path.with_name(name), np.arange(60) / 20, container="mpegts")
        parts.append(path.with_name(name).read_bytes())
    path.write_bytes(b"".join(parts))


CLIPS = {
    "constant-25.mp4": lambda path: write_video(path, frames=6, fps=25),
    "constant-ntsc.mp4": lambda path: write_video(path, frames=6, fps=30000 / 1001),
    "constant-120.mp4": lambda path: write_video(path, frames=6, fps=120),
    "constant.mkv": lambda path: encode(path, np.arange(6) / 30),
    "mjpg.avi": write_mjpg,
    "variable.mp4": lambda path: encode(path, VARIABLE),
    "variable-b-frames.mp4": lambda path: encode(path, VARIABLE, 3),
    "variable-b-frames.mkv": lambda path: encode(path, VARIABLE, 3),
    "variable-b-frames.mov": lambda path: encode(path, VARIABLE, 3),
    "late-start.mp4": lambda path: encode(path, [2.5 + time for time in VARIABLE], 3),
    "late-start.mkv": lambda path: encode(path, [2.5 + time for time in VARIABLE]),
    "gap.mp4": lambda path: encode(path, [0, 0.04, 0.08, 3, 3.04, 9.5], 2),
    "slow.mp4": lambda path: encode(path, [0, 1, 2, 3.5]),
    "close.mp4": lambda path: encode(path, [0, 2e-5, 4e-5, 0.1, 0.10002, 0.2]),
    "one-frame.mp4": lambda path: encode(path, [0]),
    "two-frames.mp4": lambda path: encode(path, [0, 0.7], 3),
    "no-times.h264": write_elementary_stream,
    "joined.ts": write_joined,
}


@pytest.mark.parametrize("name", CLIPS)
def test_times(name, program, app, tmp_path):
    clip = tmp_path / name
    CLIPS[name](clip)
    arguments = ("--video", clip, "--output", tmp_path / "out", "--json", tmp_path / "poses.json")
    result = run(program, "--app", app, *arguments)
    assert result.returncode == 0, result.stderr
    records = json.loads((tmp_path / "poses.json").read_text())
    with VideoReader(str(clip)) as video:
        times = [video.time for _ in video]
    found = [record["time"] for record in records]
    assert found == [round(time, 4) for time in times]
    assert [(record["image"], record["frame"]) for record in records] == [(str(clip), i) for i in range(len(times))]
    for index, (record, time) in enumerate(zip(records, times, strict=True)):
        (person,) = record["poses"]
        assert person["id"] == 1
        assert person["keypoints"][0][:2] == pytest.approx([time, index + 1], abs=1e-3)  # as the small app was asked
    if name.startswith("variable"):
        assert found == pytest.approx(VARIABLE, abs=6e-4)
    if name.startswith("constant"):
        assert found == pytest.approx([found[1] * index for index in range(6)], abs=6e-4)
