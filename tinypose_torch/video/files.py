"""Video files and cameras, frame by frame."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

VIDEO_SUFFIXES = frozenset((".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"))
_CAMERA = re.compile(r"webcam(?::(\d+))?")
_DEFAULT_FPS = 30.0
_IN_FRAGMENTS = "frag_keyframe+empty_moov+default_base_moof"


class VideoError(ValueError):
    """A video that cannot be read or written."""


def is_video(source: str) -> bool:
    """Whether a source is a video file, by its name, or a camera: ``webcam`` or ``webcam:NUMBER``."""
    return is_camera(source) or Path(source).suffix.lower() in VIDEO_SUFFIXES


def is_camera(source: str) -> bool:
    """Whether a source is a camera."""
    return _CAMERA.fullmatch(source) is not None


class VideoReader:
    """Iterates over the frames of a video as ``(H, W, 3)`` uint8 RGB; holds one frame at a time.

    Args:
        source: A file, or ``webcam`` or ``webcam:NUMBER``.

    Attributes:
        fps: Frames per second; 30 where the stream does not say.
        size: (width, height).
        declared_frames: Number of frames that the file declares; ``None`` if unknown.
        frames_read: Number of frames read so far.

    Raises:
        FileNotFoundError: There is no such file.
        VideoError: No video, or no such camera.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        camera = _CAMERA.fullmatch(source)
        if camera is None and not Path(source).is_file():
            raise FileNotFoundError(f"no video {source!r}")
        self._capture = cv2.VideoCapture(int(camera[1] or 0) if camera else source)
        if not self._capture.isOpened():
            self._capture.release()
            raise VideoError(f"{source}: no such camera" if camera else f"{source}: not a video that can be read")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if math.isfinite(fps) and 0 < fps <= 1000 else _DEFAULT_FPS
        self.size = (
            int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        )
        declared = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.declared_frames = int(declared) if camera is None and 0 < declared < 1e9 else None
        self.frames_read = 0

    @property
    def ended_early(self) -> bool:
        """Whether fewer frames came than the file declares."""
        return self.declared_frames is not None and self.frames_read < self.declared_frames

    def __iter__(self) -> Iterator[np.ndarray]:
        while True:
            ok, frame = self._capture.read()
            if not ok:
                if self.frames_read == 0:
                    raise VideoError(f"{self.source}: no frame could be read")
                return
            self.frames_read += 1
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)

    def close(self) -> None:
        """Release the file or camera."""
        self._capture.release()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class VideoWriter:
    """Writes RGB frames to an MP4 file (H.264) that can be played to where it got, should the process be killed.

    Args:
        path: The file, ``.mp4``; an older one is overwritten.
        fps: Frames per second.
        size: (width, height) of every frame; an odd one is made even by repeating the last column or row.

    Raises:
        VideoError: The file cannot be written, or a frame has another size.
    """

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        import av

        self.path, self.size = path, size
        if min(size) < 1 or not fps > 0:
            raise VideoError(f"{path}: cannot write a video of {size[0]}x{size[1]} at {fps} frames/s")
        width, height = (side + side % 2 for side in size)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = av.open(str(path), "w", format="mp4", options={"movflags": _IN_FRAGMENTS})
            self._stream = self._file.add_stream("libx264", rate=Fraction(fps).limit_denominator(100_000))
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
            self._stream.options = {"preset": "ultrafast", "crf": "23"}
            self._stream.codec_context.gop_size = max(1, round(fps))  # a fragment per second
            self._stream.codec_context.thread_count = 1
            self._file.start_encoding()
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(
                f"{path}: cannot write a video of {size[0]}x{size[1]} at {fps} frames/s: {error}"
            ) from None

    def write(self, frame: np.ndarray) -> None:
        """Append a frame ``(H, W, 3)`` uint8 RGB."""
        import av

        if frame.shape[1::-1] != self.size:
            raise VideoError(f"{self.path}: a frame of {frame.shape[1::-1]} in a video of {self.size}")
        if frame.shape[0] % 2 or frame.shape[1] % 2:
            frame = cv2.copyMakeBorder(frame, 0, frame.shape[0] % 2, 0, frame.shape[1] % 2, cv2.BORDER_REPLICATE)
        image = np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420), np.uint8)
        self._file.mux(self._stream.encode(av.VideoFrame.from_ndarray(image, format="yuv420p")))

    def close(self) -> None:
        """Complete the file."""
        self._file.mux(self._stream.encode())
        self._file.close()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
