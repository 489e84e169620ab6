"""Times of frames: those of the stream, in JSON and in the overlay."""

import json
import struct
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from conftest import ROOT, gradient_image, write_video

from tinypose_torch import COCO17, Poses
from tinypose_torch.cli import main
from tinypose_torch.video import VideoReader, VideoWriter, files
from tinypose_torch.video.frames import read_frames
from tinypose_torch.video.overlapped import OverlappedVideo
from tinypose_torch.video.times import FrameTimes

DEMO = ["--detector", "picodet_s_192_lcnet_pedestrian", "--pose", "tinypose_128x96"]
DEMO += ["--detector-weights", str(ROOT / "weights/picodet_s_192_demo.safetensors")]
DEMO += ["--pose-weights", str(ROOT / "weights/tinypose_128x96_demo.safetensors")]
VARIABLE = [0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.25, 0.35, 0.5, 1.0, 1.01, 1.1]


def write_variable(path, b_frames):
    """A clip of variable rate, as phones write them."""
    tick = Fraction(1, 90_000)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=30, options={"preset": "medium", "bf": str(b_frames)})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.time_base = stream.codec_context.time_base = tick
        for index, time in enumerate(VARIABLE):
            frame = av.VideoFrame.from_ndarray(np.roll(gradient_image(), 3 * index, axis=1), format="rgb24")
            frame.pts, frame.time_base = round(time / tick), tick
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return str(path)


@pytest.mark.parametrize("b_frames", [0, 3])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_variable_rate(suffix, b_frames, tmp_path):
    clip = write_variable(tmp_path / f"clip.{suffix}", b_frames)
    assert [frame.time for frame in read_frames(clip)] == pytest.approx(VARIABLE, abs=6e-4)
    with OverlappedVideo(clip, tmp_path / "out.mp4", 0.2) as video:
        times = []
        for _ in video:
            times.append(video.time)
            video.draw(Poses.empty(COCO17))
        video.finish()
        assert not video.ended_early, "a duration says nothing about the number of frames"
    assert times == pytest.approx(VARIABLE, abs=6e-4)
    with av.open(str(tmp_path / "out.mp4")) as overlay:
        assert [frame.time for frame in overlay.decode(video=0)] == pytest.approx(VARIABLE, abs=6e-4)


@pytest.mark.parametrize("fps", [12.5, 25, 30000 / 1001, 24000 / 1001, 60, 120])
def test_constant_rate(fps, tmp_path):
    """As many digits as the JSON has are those of index over rate."""
    clip = write_video(tmp_path / "x.mp4", frames=30, fps=fps)
    with VideoReader(str(clip)) as video:
        times = [round(video.time, 4) for _ in video]
        assert times == [round(index / video.fps, 4) for index in range(30)]


def test_times_of_odd_streams():
    def times(fps, stamps):
        clock = FrameTimes(fps)
        return [clock.add(stamp) for stamp in stamps]

    assert times(8, [None] * 4) == [0, 0.125, 0.25, 0.375], "no timestamps"
    assert times(10, [0, float("nan"), 0.2]) == pytest.approx([0, 0.1, 0.2])
    assert times(10, [0.05, 0.21, 0.21, 0.205, 0.4]) == pytest.approx([0.05, 0.21, 0.211, 0.212, 0.4]), "repeated"
    joined = times(10, [0, 1.0, 2.0, 3.05, 0.05, 0.1, 0.3])
    assert joined == pytest.approx([0, 1.0, 2.0, 3.05, 3.15, 3.2, 3.4]), "a second recording in the same file"
    assert times(30, [0, 0.033, 0.067, 0.1]) == [0, 1 / 30, 2 / 30, 3 / 30], "rounded to milliseconds"
    odd = times(1000, np.random.default_rng(0).normal(0, 3, 200))
    assert (np.diff(odd) > 0).all()


class Camera:
    """A camera that gives a frame whenever it is asked, and declares 30 frames a second."""

    def __init__(self, source):
        self.values = {cv2.CAP_PROP_FPS: 30, cv2.CAP_PROP_FRAME_WIDTH: 8, cv2.CAP_PROP_FRAME_HEIGHT: 8}

    def isOpened(self):
        return True

    def get(self, name):
        return self.values.get(name, 0)

    def read(self):
        return True, np.zeros((8, 8, 3), np.uint8)

    def release(self):
        pass


def test_cameras_go_by_the_clock(monkeypatch):
    clock = iter([100.0, 100.5, 101.7])
    monkeypatch.setattr(files.cv2, "VideoCapture", Camera)
    monkeypatch.setattr(files.time, "monotonic", lambda: next(clock))
    with VideoReader("webcam") as video:
        frames = iter(video)
        times = [next(frames) is not None and video.time for _ in range(3)]
    assert times == pytest.approx([0, 0.5, 1.7])


def test_writer_keeps_times_increasing(tmp_path):
    with VideoWriter(tmp_path / "x.mp4", 25, (160, 120)) as writer:
        for time in (0.0, 0.5, 0.5, 0.4, 2.0):
            writer.write(gradient_image(), time)
    with av.open(str(tmp_path / "x.mp4")) as file:
        times = [frame.time for frame in file.decode(video=0)]
    assert times == pytest.approx([0, 0.5, 0.5, 0.5, 2.0], abs=1e-4)
    assert (np.diff(times) > 0).all()


def test_rotated_videos_are_upright(tmp_path):
    """A phone's portrait video: landscape frames and a matrix that turns them by 90 degrees."""
    path = write_video(tmp_path / "x.mp4", frames=2)
    with VideoReader(str(path)) as video:
        plain = next(iter(video))
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    assert struct.unpack_from(">i", data, at) == (1 << 16,)
    struct.pack_into(">9i", data, at, 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    with VideoReader(str(path)) as video:
        turned = next(iter(video))
        assert video.size == turned.shape[1::-1] == (120, 160)
    assert np.array_equal(turned, np.rot90(plain, -1))


def test_json_has_the_times_of_the_stream(tmp_path):
    clip = write_variable(tmp_path / "clip.mp4", 0)
    assert main(["predict", clip, *DEMO, "--json", str(tmp_path / "x.json")]) == 0
    records = json.loads((tmp_path / "x.json").read_text())
    assert [record["time"] for record in records] == VARIABLE
