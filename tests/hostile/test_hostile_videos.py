"""Unusual, damaged and hostile videos: each is read or reported, and the times of its frames agree everywhere."""

import json
import math
import signal

import av
import cv2
import numpy as np
import pytest
from conftest import ROOT
from fuzz.mutations import MEMORY, SECONDS_PER_FILE, limited_memory

from hostile.images import FAILS, READ
from hostile.videos import all_cases, clip
from tinypose_torch.cli import main
from tinypose_torch.tracking.pose_tracker import PoseTracker
from tinypose_torch.utils.messages import escaped
from tinypose_torch.video import VideoReader, files
from tinypose_torch.video.frames import read_frames

NETWORK = ["--detector", "none", "--pose", "tinypose_128x96"]
NETWORK += ["--pose-weights", str(ROOT / "weights/tinypose_128x96_demo.safetensors")]


def check_reading(folder, cases, capfd):
    """Read videos one after the other; gives the times of the frames of each, by name."""
    for name, (content, _) in cases.items():
        (folder / name).write_bytes(content)
    times, errors = {}, {}
    for name, (content, verdict) in cases.items():
        signal.setitimer(signal.ITIMER_PROF, SECONDS_PER_FILE)  # ends the process
        with limited_memory(MEMORY + len(content)):
            frames = [
                (frame.image.shape, frame.time)
                for frame in read_frames(str(folder / name), lambda _, error, name=name: errors.update({name: error}))
            ]
        signal.setitimer(signal.ITIMER_PROF, 0)
        if name not in errors:
            times[name] = [time for _, time in frames]
            assert frames
            assert len({shape for shape, _ in frames}) == 1
            assert all(math.isfinite(time) for time in times[name])
            assert (np.diff(times[name]) > 0).all()
        assert (name in errors) == (verdict == FAILS) or verdict not in (READ, FAILS), (name, errors.get(name))
    assert "".join(capfd.readouterr()) == "", "what the decoders print"
    for name, error in errors.items():
        line = escaped(str(error))
        assert line.startswith(f"{folder / name}: ")
        assert len(line) < 1000
    return times


def test_all_videos(tmp_path, capfd):
    cases = all_cases()
    assert len(cases) >= 100
    times = check_reading(tmp_path, cases, capfd)
    assert 50 < len(times) < len(cases) - 20


@pytest.mark.parametrize("rate", [0, -25, math.nan, math.inf, 1e9, 1e-320])
@pytest.mark.parametrize("stamp", [0, -40, math.nan, math.inf])
def test_impossible_rates_and_timestamps(rate, stamp, tmp_path, monkeypatch):
    """As they are given by the decoder: frames count by 30 per second."""
    (tmp_path / "x.mp4").write_bytes(clip("mp4"))

    class Capture:
        def __init__(self, *source):
            self.capture = open_capture(*source)

        def __getattr__(self, name):
            return getattr(self.capture, name)

        def get(self, name):
            impossible = {cv2.CAP_PROP_FPS: rate, cv2.CAP_PROP_POS_MSEC: stamp, cv2.CAP_PROP_FRAME_COUNT: rate}
            return impossible[name] if name in impossible else self.capture.get(name)

    open_capture = cv2.VideoCapture
    monkeypatch.setattr(files.cv2, "VideoCapture", Capture)
    with VideoReader(str(tmp_path / "x.mp4")) as video:
        times = [video.time for _ in video]
        assert video.declared_frames is None or video.declared_frames > 0
        video.ended_early  # noqa: B018 - does not raise
    assert times == pytest.approx([index / 30 for index in range(6)])


def times_of_examples():
    """Times of frames by file name: constant and variable rates, with long pauses, and late starts."""
    generator = np.random.default_rng(5)
    times = {f"constant {rate}.mp4": [index / rate for index in range(4)] for rate in (5, 24, 60, 240)}
    for number in range(14):
        steps = generator.choice([0.002, 0.01, 1 / 30, 0.1, 0.5, 3.0], 5)
        times[f"variable {number}.{'mp4' if number % 2 else 'mkv'}"] = [0.0, *np.cumsum(steps).round(3).tolist()]
    times |= {"hour.mp4": [0.0, 3600.0], "late.mp4": [1000.0, 1000.5], "early.mkv": [-0.2, 0.1], "single.mp4": [0.0]}
    return times


@pytest.mark.slow
def test_times_agree(tmp_path, monkeypatch, capfd):
    """Those of the file, of the JSON, of tracking and smoothing, and of the overlay; in one run with broken videos."""
    expected = times_of_examples()
    assert len(expected) >= 20
    folder, tracked = tmp_path / "in", []
    folder.mkdir()
    for name, times in expected.items():
        (folder / name).write_bytes(clip(name[-3:], times=times))
    broken = {"a text.mp4": b"no video", "b cut.mp4": clip("mp4")[:900], "new\nline.mp4": b""}
    for name, content in broken.items():
        (folder / name).write_bytes(content)
    follow = PoseTracker.__call__
    monkeypatch.setattr(
        PoseTracker,
        "__call__",
        lambda self, image, time, *rest: tracked.append(time) or follow(self, image, time, *rest),
    )
    arguments = ["predict", *(str(path) for path in sorted(folder.iterdir())), *NETWORK, "--track"]
    assert main([*arguments, "--json", str(tmp_path / "x.json"), "--output", str(tmp_path / "out")]) == 1
    out, err = capfd.readouterr()
    assert [line.split(": ")[1] for line in err.splitlines() if line.startswith("failed: ")] == [
        escaped(str(folder / name)) for name in sorted(broken)
    ]
    assert len(out.splitlines()) == len(expected)
    records = json.loads((tmp_path / "x.json").read_text())
    assert [record["time"] for record in records] == pytest.approx(tracked, abs=5.1e-5), "the JSON has four digits"
    for name, times in expected.items():
        found = [record["time"] for record in records if record["image"] == str(folder / name)]
        assert found == pytest.approx(np.subtract(times, times[0]).tolist(), abs=1.1e-3), name
        with av.open(str(tmp_path / f"out/{name[:-4]}.mp4")) as overlay:
            assert [frame.time for frame in overlay.decode(video=0)] == pytest.approx(found, abs=1e-4), name
    assert all([pose["id"] for pose in record["poses"]] == [1] for record in records)
