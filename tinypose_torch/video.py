"""Video files and cameras, frame by frame."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from tinypose_torch.atomic import replacing

VIDEO_SUFFIXES = frozenset((".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"))
_CAMERA = re.compile(r"webcam(?::(\d+))?")
_DEFAULT_FPS = 30.0


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
    """Writes RGB frames to an MP4 file, which appears only when it is complete.

    Args:
        path: The file, ``.mp4``.
        fps: Frames per second.
        size: (width, height) of every frame.

    Raises:
        VideoError: The file cannot be written, or a frame has another size.
    """

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        self.path, self.size = path, size
        self._replacing = replacing(path)
        temporary = self._replacing.__enter__()
        self._writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
        if not self._writer.isOpened():
            error = VideoError(f"{path}: cannot write a video of {size[0]}x{size[1]} at {fps} frames/s")
            self._replacing.__exit__(VideoError, error, None)
            raise error

    def write(self, frame: np.ndarray) -> None:
        """Append a frame ``(H, W, 3)`` uint8 RGB."""
        if frame.shape[1::-1] != self.size:
            raise VideoError(f"{self.path}: a frame of {frame.shape[1::-1]} in a video of {self.size}")
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.release()
        self._replacing.__exit__(kind, error, traceback)
