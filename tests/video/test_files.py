import cv2
import numpy as np
import pytest
from conftest import gradient_image, write_video

from tinypose_torch.video import VideoError, VideoReader, VideoWriter, is_camera, is_video


@pytest.mark.parametrize("fps", [12.5, 25.0, 30000 / 1001])
def test_there_and_back(fps, tmp_path):
    path = write_video(tmp_path / "x.mp4", fps=fps)
    with VideoReader(str(path)) as video:
        assert video.fps == pytest.approx(fps, rel=1e-3)
        assert video.size == (160, 120)
        frames = list(video)
    assert len(frames) == video.declared_frames == 12
    assert not video.ended_early
    error = np.abs(frames[0].astype(int) - gradient_image())
    assert np.median(error) < 12, "colours survive the codec, in RGB order"


def test_what_was_written_can_be_read(tmp_path):
    """Also where a frame was refused, or where the process was killed, up to the last second."""
    path = tmp_path / "x.mp4"
    with VideoWriter(path, 25, (160, 120)) as writer:
        writer.write(gradient_image())
        with pytest.raises(VideoError, match="a frame of"):
            writer.write(gradient_image(20, 20))
    with VideoReader(str(path)) as video:
        assert len(list(video)) == 1
    writer = VideoWriter(path, 10, (160, 120))
    for _ in range(200):
        writer.write(np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8))
    (tmp_path / "killed.mp4").write_bytes(path.read_bytes())
    writer.close()
    with VideoReader(str(tmp_path / "killed.mp4")) as video:
        assert 150 <= len(list(video)) <= 200


def test_odd_sizes(tmp_path):
    with VideoWriter(tmp_path / "x.mp4", 25, (33, 21)) as writer:
        writer.write(gradient_image(21, 33))
    with VideoReader(str(tmp_path / "x.mp4")) as video:
        (frame,) = list(video)
    assert frame.shape == (22, 34, 3)


def test_video_that_cannot_be_written(tmp_path):
    with pytest.raises(VideoError, match="cannot write a video of 0x0"):
        VideoWriter(tmp_path / "x.mp4", 25, (0, 0))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(VideoError, match="cannot write a video of 160x120"):
        VideoWriter(tmp_path / "file/x.mp4", 25, (160, 120))


def cut(path, tmp_path):
    """An AVI, whose index is at its end, without its last third."""
    avi = tmp_path / "cut.avi"
    writer = cv2.VideoWriter(str(avi), cv2.VideoWriter.fourcc(*"MJPG"), 25, (160, 120))
    for index in range(30):
        writer.write(np.roll(gradient_image(), 3 * index, axis=1))
    writer.release()
    avi.write_bytes(avi.read_bytes()[: avi.stat().st_size * 2 // 3])
    return avi


def test_file_that_ends_early(tmp_path):
    with VideoReader(str(cut(None, tmp_path))) as video:
        frames = list(video)
    assert 10 <= len(frames) < 30
    assert video.ended_early


@pytest.mark.parametrize("content", [b"", b"not a video at all", b"\0" * 5000])
def test_not_a_video(content, tmp_path):
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(VideoError, match="not a video"):
        VideoReader(str(tmp_path / "x.mp4"))


def test_missing_file_and_camera():
    with pytest.raises(FileNotFoundError, match="no video"):
        VideoReader("none.mp4")
    with pytest.raises(VideoError, match="webcam:97: no such camera"):
        VideoReader("webcam:97")


def test_what_is_a_video():
    assert is_video("a/b.MP4")
    assert is_video("webcam")
    assert is_camera("webcam:2")
    assert not is_video("photo.jpg")
    assert not is_camera("webcam.jpg")
