import numpy as np
import pytest
from conftest import gradient_image, write_video
from PIL import Image

from tinypose_torch.video.frames import read_frames


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png"):
        Image.fromarray(gradient_image()).save(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"nothing")
    write_video(tmp_path / "clip.mp4", frames=4, fps=10)
    return tmp_path


def test_photos_and_videos_in_order(folder):
    sources = [str(folder / "*.mp4"), str(folder / "a.png")]
    frames = list(read_frames(sources))
    assert [(frame.index, frame.time) for frame in frames] == [(0, 0.0), (1, 0.1), (2, 0.2), (3, 0.3), (None, None)]
    assert np.array_equal(frames[-1].image, gradient_image())


def test_errors_are_raised_or_told(folder):
    with pytest.raises(ValueError, match="broken.png"):
        list(read_frames(str(folder)))
    errors = {}
    frames = list(read_frames([str(folder), "nowhere/*.jpg", "webcam:97"], errors.__setitem__))
    assert [frame.source for frame in frames] == [str(folder / "a.png"), str(folder / "b.png")]
    assert set(errors) == {str(folder / "broken.png"), "nowhere/*.jpg", "webcam:97"}


def test_one_frame_at_a_time(folder):
    stream = read_frames(str(folder / "clip.mp4"))
    assert next(stream).index == 0
    stream.close()
