"""Video files and cameras, frame by frame."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from tinypose_torch.utils.atomic import is_disc_full, write_whole
from tinypose_torch.utils.provenance import printable
from tinypose_torch.video.times import FrameTimes

VIDEO_SUFFIXES = frozenset((".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"))
_CAMERA = re.compile(r"webcam(?::(\d+))?")
_DEFAULT_FPS = 30.0
_MIN_FPS, _MAX_FPS = 1e-5, 1000.0  # one frame per day, and one per millisecond
# Without playlists, which name other files and addresses.
_CONTAINERS = "mov,matroska,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,mxf,h264,hevc,m4v,ivf,nut,gif,dv,rm,mjpeg,wtv"
_IN_FRAGMENTS = "frag_keyframe+empty_moov+default_base_moof"
_TIME_BASE = Fraction(1, 90_000)  # seconds; whole ticks at 24, 25, 30 and 30000/1001 frames/s
_MAX_FRAGMENT = 60  # frames


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
        fps: Frames per second, the mean of a stream of variable rate; 30 where the stream does not give a usable rate.
        size: (width, height).
        declared_frames: Number of frames that the file declares, or that follows from its duration; ``None`` if unknown.
        frames_read: Number of frames read so far.
        time: Presentation time of the last frame read, in seconds from the start of the stream; by the clock for a
            camera, by ``fps`` for a stream without timestamps. It increases with every frame.

    Raises:
        FileNotFoundError: There is no such file.
        VideoError: No video, or no such camera.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        camera = _CAMERA.fullmatch(source)
        if camera is None and not Path(source).is_file():
            raise FileNotFoundError(f"no video {source!r}")
        if printable(source) != source:
            raise VideoError(f"{source}: OpenCV cannot open names that are not UTF-8; rename the file")
        self._capture = cv2.VideoCapture(int(camera[1] or 0)) if camera else _open_file(source)
        if not self._capture.isOpened():
            self._capture.release()
            raise VideoError(f"{source}: no such camera" if camera else f"{source}: not a video that can be read")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if _MIN_FPS <= fps <= _MAX_FPS else _DEFAULT_FPS
        self.size = (
            int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        )
        declared = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.declared_frames = int(declared) if camera is None and 1 <= declared < 1e9 else None
        self.frames_read = 0
        self.time = 0.0
        self._times = FrameTimes(self.fps)
        self._interval = 1 / self.fps  # between the last two frames
        self._camera_start: float | None = None

    @property
    def ended_early(self) -> bool:
        """Whether there are fewer frames than the file's declared number and duration."""
        if self.declared_frames is None or self.frames_read >= self.declared_frames:
            return False
        # The number may be an estimate from the duration, which counts too many frames at a variable rate.
        return self.time + 1.5 * max(self._interval, 1 / self.fps) < self.declared_frames / self.fps

    def __iter__(self) -> Iterator[np.ndarray]:
        while True:
            try:
                ok, frame = self._capture.read()
                image = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) if ok else None
            except (cv2.error, MemoryError) as error:
                raise VideoError(f"{self.source}: frame {self.frames_read} cannot be decoded: {error}") from error
            if image is None:
                if self.frames_read == 0:
                    raise VideoError(f"{self.source}: no frame could be read")
                return
            seconds = self._times.add(self._timestamp())
            if self.frames_read:
                self._interval = seconds - self.time
            self.frames_read, self.time = self.frames_read + 1, seconds
            yield image

    def _timestamp(self) -> float | None:
        """Timestamp of the last frame, seconds from the start of the stream; ``None`` if there is none."""
        if is_camera(self.source):
            now = time.monotonic()
            self._camera_start = now if self._camera_start is None else self._camera_start
            return now - self._camera_start
        milliseconds = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        # OpenCV gives 0 for a frame without a timestamp.
        return milliseconds / 1000 if milliseconds > 0 or self.frames_read == 0 else None

    def close(self) -> None:
        """Release the file or camera."""
        self._capture.release()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Sink:
    """The file of a `VideoWriter`, which keeps the first error: PyAV reports none of the last bytes."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            write_whole(self._file, data)
        except OSError as error:
            self._error = self._error or error
            raise
        return len(data)

    def close(self) -> None:
        self._file.close()
        if self._error is not None:
            raise self._error


def _open_file(path: str) -> cv2.VideoCapture:
    """Open a video with FFmpeg; OpenCV's other readers print bytes of damaged files."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # no messages of FFmpeg's on the terminal
    os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", f"protocol_whitelist;file|format_whitelist;{_CONTAINERS}")
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(path, cv2.CAP_FFMPEG)
    finally:
        cv2.utils.logging.setLogLevel(level)


class VideoWriter:
    """Writes RGB frames to a fragmented MP4 file (H.264), which is playable if the process is killed.

    Args:
        path: The file, ``.mp4``; an older one is overwritten.
        fps: Frames per second; the mean where frames are written with their times.
        size: (width, height) of every frame; an odd one is made even by repeating the last column or row.
        comment: Text in the file's metadata.

    Raises:
        VideoError: The file cannot be written, or a frame has another size.
        OSError: The disc is full.
    """

    def __init__(self, path: Path, fps: float, size: tuple[int, int], comment: str | None = None) -> None:
        import av

        self.path, self.size = path, size
        self._count, self._last_tick, self._interval = 0, -1, 1 / fps if fps > 0 else 0.0
        if min(size) < 1 or not fps > 0:
            raise VideoError(f"{path}: cannot write a video of {size[0]}x{size[1]} at {fps} frames/s")
        width, height = (side + side % 2 for side in size)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._sink = _Sink(path)
            self._file = av.open(self._sink, "w", format="mp4", options={"movflags": _IN_FRAGMENTS})
            if comment is not None:
                self._file.metadata["comment"] = comment
            self._stream = self._file.add_stream("libx264", rate=Fraction(fps).limit_denominator(100_000))
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
            self._stream.options = {"preset": "ultrafast", "crf": "23"}
            self._stream.time_base = self._stream.codec_context.time_base = _TIME_BASE
            self._stream.codec_context.gop_size = max(1, min(round(fps), _MAX_FRAGMENT))  # about a fragment per second
            self._stream.codec_context.thread_count = 1
            self._file.start_encoding()
        except (av.FFmpegError, OSError, ValueError) as error:
            if is_disc_full(error):
                raise
            raise VideoError(
                f"{path}: cannot write a video of {size[0]}x{size[1]} at {fps} frames/s: {error}"
            ) from None

    def write(self, frame: np.ndarray, time: float | None = None) -> None:
        """Append a frame.

        Args:
            frame: ``(H, W, 3)`` uint8 RGB.
            time: Presentation time in seconds, above that of the frame before; by ``fps`` unless given.
        """
        import av

        if frame.shape[1::-1] != self.size:
            raise VideoError(f"{self.path}: a frame of {frame.shape[1::-1]} in a video of {self.size}")
        if frame.shape[0] % 2 or frame.shape[1] % 2:
            frame = cv2.copyMakeBorder(frame, 0, frame.shape[0] % 2, 0, frame.shape[1] % 2, cv2.BORDER_REPLICATE)
        image = np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420), np.uint8)
        encoded = av.VideoFrame.from_ndarray(image, format="yuv420p")
        seconds = self._count * self._interval if time is None else time
        self._last_tick = max(round(seconds / _TIME_BASE), self._last_tick + 1)
        encoded.pts, encoded.time_base = self._last_tick, _TIME_BASE
        encoded.duration = round(self._interval / _TIME_BASE)  # of the last frame; others last until the next one
        self._count += 1
        self._file.mux(self._stream.encode(encoded))

    def close(self) -> None:
        """Finish and close the file."""
        try:
            self._file.mux(self._stream.encode())
            self._file.close()
        finally:
            self._sink.close()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
