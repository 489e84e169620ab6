"""Decoding and writing in a second process: the same frames, errors that arrive, and what is left after a kill."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import cv2
import numpy as np
import pytest
from conftest import gradient_image

from tinypose_torch import COCO17, Poses
from tinypose_torch.utils.atomic import OutputError
from tinypose_torch.video import VideoError, VideoReader, VideoWriter
from tinypose_torch.video.live_view import HOST
from tinypose_torch.video.overlapped import OverlappedVideo


def no_people():
    return Poses.empty(COCO17)


@pytest.fixture
def clip(tmp_path):
    with VideoWriter(tmp_path / "clip.mp4", 25, (160, 120)) as writer:
        for index in range(40):
            writer.write(np.roll(gradient_image(), 3 * index, axis=1))
    return tmp_path / "clip.mp4"


def test_every_frame_in_order_and_in_the_overlay(clip, tmp_path):
    with VideoReader(str(clip)) as video:
        expected = list(video)
    with OverlappedVideo(str(clip), tmp_path / "out/x.mp4", 0.2) as video:
        assert (video.fps, video.declared_frames) == (25, 40)
        found = []
        for frame in video:
            found.append(frame)
            video.draw(no_people())
        video.finish()
        assert video.frames_read == 40
        assert not video.ended_early
    assert all(np.array_equal(one, two) for one, two in zip(found, expected, strict=True))
    with VideoReader(str(tmp_path / "out/x.mp4")) as written:
        overlays = list(written)
    assert len(overlays) == 40
    assert np.median(np.abs(overlays[7].astype(int) - expected[7])) < 12


def test_without_an_overlay_and_with_frames_left(clip, tmp_path):
    with OverlappedVideo(str(clip), None, 0.2) as video:
        for index, _ in enumerate(video):
            if index == 4:
                break
        video.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def draw_no_people(source, overlay=None, then=lambda video: None):
    """Draw every frame, and do something after each."""
    with OverlappedVideo(str(source), overlay, 0.2) as video:
        for _ in video:
            video.draw(no_people())
            then(video)


def fail_after_ten(video):
    if video.frames_read == 10:
        raise ZeroDivisionError


def test_left_in_the_middle(clip, tmp_path):
    """What was drawn before the error is a whole video."""
    with pytest.raises(ZeroDivisionError):
        draw_no_people(clip, tmp_path / "x.mp4", fail_after_ten)
    with VideoReader(str(tmp_path / "x.mp4")) as written:
        assert len(list(written)) == 10


def test_errors_arrive(clip, tmp_path):
    with pytest.raises(FileNotFoundError, match="no video 'gone.mp4'"):
        OverlappedVideo("gone.mp4", None, 0.2)
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    with pytest.raises(VideoError, match="not a video that can be read"):
        OverlappedVideo(str(tmp_path / "bad.mp4"), None, 0.2)
    with pytest.raises(OutputError, match=r"x\.mp4 cannot be written"):
        draw_no_people(clip, clip / "x.mp4")


def test_the_other_process_dies(clip):
    with pytest.raises(VideoError, match="the process that reads and writes it ended"):
        draw_no_people(clip, None, lambda video: os.kill(video._process.pid, signal.SIGKILL))


def test_live_view(clip):
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    with OverlappedVideo(str(clip), None, 0.2, port) as video:
        page, stream = None, None
        for _frame in video:
            video.draw(no_people())
            if video.frames_read == 3:
                page = urllib.request.urlopen(f"http://{HOST}:{port}/", timeout=20).read()
                stream = urllib.request.urlopen(f"http://{HOST}:{port}/frames", timeout=20)
            if video.frames_read == 6:
                break
        assert b"/frames" in page
        assert stream.readline() == b"--frame\r\n"
        assert stream.readline() == b"Content-Type: image/jpeg\r\n"
        length = int(stream.readline().split(b": ")[1])
        stream.readline()
        shown = cv2.imdecode(np.frombuffer(stream.read(length), np.uint8), cv2.IMREAD_COLOR)
        assert np.median(np.abs(shown[..., ::-1].astype(int) - _frame)) < 60
        assert shown.shape == (120, 160, 3)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://{HOST}:{port}/other", timeout=20)
        with pytest.raises(VideoError, match=f"port {port} cannot be used"):
            draw_no_people_in_view(clip, port)


def draw_no_people_in_view(source, port):
    with OverlappedVideo(str(source), None, 0.2, port) as video:
        for _ in video:
            video.draw(no_people())


FOREVER = """
import sys, time
from pathlib import Path
from tinypose_torch import COCO17, Poses
from tinypose_torch.video.overlapped import OverlappedVideo

if __name__ == "__main__":
    with OverlappedVideo(sys.argv[1], Path(sys.argv[2]), 0.2) as video:
        for index, _ in enumerate(video):
            video.draw(Poses.empty(COCO17))
            if index == 20:
                print("here", flush=True)
                time.sleep(100)
"""


def test_killed(clip, tmp_path):
    """The second process sees that the first one is gone, and completes the file."""
    (tmp_path / "forever.py").write_text(FOREVER)
    command = [sys.executable, tmp_path / "forever.py", clip, tmp_path / "x.mp4"]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"here\n"
    process.kill()
    process.wait()
    for _ in range(100):
        time.sleep(0.1)
        capture = cv2.VideoCapture(str(tmp_path / "x.mp4"))
        if capture.get(cv2.CAP_PROP_FRAME_COUNT) == 21:
            break
    with VideoReader(str(tmp_path / "x.mp4")) as written:
        assert len(list(written)) == 21


def mean_colours():
    """A look at frames that can be told from the frame itself."""
    return lambda frame: iter([frame.mean(axis=(0, 1))])


def closer_looks():
    """Five looks at every frame, each a tenth of a second."""

    def look(frame):
        for count in range(1, 6):
            time.sleep(0.1)
            yield count

    return look


@pytest.mark.parametrize(("pause", "expected"), [(0.0, 1), (0.8, 5)])
def test_lookahead_continues_until_requested(pause, expected, clip):
    with OverlappedVideo(str(clip), None, 0.2, create_lookahead=closer_looks) as video:
        frames = iter(video)
        counts = []
        for _ in range(4):
            next(frames)
            counts.append(video.lookahead)
            time.sleep(pause)
        video.finish()
    assert counts[2:] == [expected] * 2, "the second frame was handed over when it was asked for"


def no_look():
    raise ValueError("no such detector")


def look_that_fails():
    def look(frame):
        if frame.size:  # at once: a second result is asked for only if there is time
            raise ZeroDivisionError("of pixels")
        yield frame.mean(axis=(0, 1))

    return look


def test_what_was_seen_ahead_belongs_to_the_frame(clip):
    with OverlappedVideo(str(clip), None, 0.2, create_lookahead=mean_colours) as video:
        count = 0
        for frame in video:
            assert np.allclose(video.lookahead, frame.mean(axis=(0, 1)))
            count += 1
        video.finish()
    assert count == 40


def test_left_in_the_middle_with_a_look_ahead(clip):
    with OverlappedVideo(str(clip), None, 0.2, create_lookahead=mean_colours) as video:
        assert next(iter(video)).shape == (120, 160, 3)
        video.finish()


@pytest.mark.parametrize(
    ("prepare", "message"), [(no_look, "no such detector"), (look_that_fails, "ZeroDivisionError: of pixels")]
)
def test_errors_of_the_look_arrive(prepare, message, clip):
    with (
        pytest.raises(ValueError, match=message),
        OverlappedVideo(str(clip), None, 0.2, create_lookahead=prepare) as video,
    ):
        list(video)
