"""The process that decodes the frames of a video and encodes its overlay; see `OverlappedVideo`."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import cv2
import numpy as np

from tinypose_torch.estimators.results import Poses
from tinypose_torch.video.channel import send_error
from tinypose_torch.video.files import VideoError, VideoReader, is_camera
from tinypose_torch.video.live_view import LiveView
from tinypose_torch.video.lookahead_process import SharedFrames
from tinypose_torch.video.overlay import Overlay

_SLOTS = 6
_MEMORY = 48 * 2**20  # bytes for slots, of which two are always there
_SHARED_FOLDER = Path("/dev/shm")  # noqa: S108 - where Linux keeps shared memory
_Slots = tuple[list[np.ndarray], list[float]]  # frames and their times


@dataclass(frozen=True)
class Opened:
    """First message of the video process."""

    fps: float
    declared_frames: int | None
    frames: SharedFrames
    view: int | None


@dataclass(frozen=True)
class End:
    """Message of the video process after the last frame."""

    ended_early: bool


@dataclass(frozen=True)
class VideoOutput:
    """Outputs of the video process; see `OverlappedVideo`."""

    overlay: Path | None
    keypoint_threshold: float
    view: int | None


def serve_video(pipe: Connection, source: str, output: VideoOutput) -> None:
    """Run the video process: decode in a thread, encode in the main thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles it and terminates this one
    cv2.setNumThreads(1)
    try:
        with VideoReader(source) as video:
            _work(pipe, video, output)
    except (VideoError, OSError) as error:
        send_error(pipe, error)
    except EOFError:
        pass  # the parent process ended; the overlay is complete up to here
    except Exception as error:  # for example too little memory to draw; the parent process waits for a message
        send_error(pipe, VideoError(f"{type(error).__name__}: {error}"))


def _work(pipe: Connection, video: VideoReader, output: VideoOutput) -> None:
    decoded = iter(video)
    first = next(decoded)
    view = _open_view(output.view) if output.view is not None else None  # before anybody is told of it
    slots = _count_slots(first.nbytes, 2 if is_camera(video.source) else _SLOTS)
    memory = _share(slots * first.nbytes)
    shared = SharedFrames(memory.name, slots, first.shape)
    frames = shared.views(memory)
    free: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    for slot in range(slots):
        free.put(slot)
    pipe.send(Opened(video.fps, video.declared_frames, shared, view.port if view is not None else None))
    times = [0.0] * slots
    decoder = threading.Thread(target=_decode, args=(pipe, video, decoded, first, (frames, times), free), daemon=True)
    decoder.start()
    try:
        _write(pipe, output, view, video.fps, (frames, times), free)
    finally:
        free.put(None)
        decoder.join()
        del frames
        memory.close()
        memory.unlink()


def _decode(
    pipe: Connection,
    video: VideoReader,
    decoded: Iterator[np.ndarray],
    first: np.ndarray,
    slots: _Slots,
    free: queue.SimpleQueue[int | None],
) -> None:
    """Decode frames into free slots until the end of the video or of the parent process."""
    frames, times = slots
    frame: np.ndarray | None = first
    try:
        while (slot := free.get()) is not None:
            if frame is None:
                continue  # until the last slots are released
            if frame.shape != first.shape:
                raise VideoError(
                    f"a frame of {frame.shape[1]}x{frame.shape[0]} in a video of {first.shape[1]}x{first.shape[0]}"
                )
            frames[slot][:], times[slot] = frame, video.time
            pipe.send((slot, video.time))
            frame = next(decoded, None)
            if frame is None:
                pipe.send(End(video.ended_early))
    except (VideoError, OSError) as error:
        send_error(pipe, error)
    except Exception as error:  # whatever it is, the first process waits to hear of it
        send_error(pipe, VideoError(f"{type(error).__name__}: {error}"))


def _write(
    pipe: Connection,
    output: VideoOutput,
    view: LiveView | None,
    fps: float,
    slots: _Slots,
    free: queue.SimpleQueue[int | None],
) -> None:
    """Draw, encode and show what comes back, until the first process has nothing more or is gone."""
    frames, times = slots
    with ExitStack() as stack:
        if view is not None:
            stack.callback(view.close)
        overlay = stack.enter_context(Overlay(output.overlay, fps)) if output.overlay is not None else None
        for slot, poses in _until_finished(pipe):
            if poses is not None and (overlay is not None or view is not None):
                drawn = poses.draw(frames[slot], output.keypoint_threshold)
                if overlay is not None:
                    overlay.write(drawn, times[slot])
                if view is not None:
                    view.show(drawn)
            free.put(slot)
    pipe.send("finished")


def _until_finished(pipe: Connection) -> Iterator[tuple[int, Poses | None]]:
    """Slots that come back, with their poses, until the first process has no more or is gone."""
    with suppress(EOFError, ConnectionResetError):
        while (message := pipe.recv()) != "finish":
            yield message


def _open_view(port: int) -> LiveView:
    try:
        return LiveView(port)
    except (OSError, OverflowError) as error:
        raise VideoError(f"port {port} cannot be used for the live view ({error}); choose another") from None


def _share(size: int) -> SharedMemory:
    try:
        return SharedMemory(create=True, size=size)
    except OSError as error:
        reason = error.strerror or error
        raise VideoError(f"this system gives no shared memory ({reason}); videos need {_SHARED_FOLDER}") from None


def _count_slots(frame: int, most: int) -> int:
    """How many frames of so many bytes are held; of a camera few, whose frames should not grow old.

    Raises:
        VideoError: The system has not enough memory to share.
    """
    slots = max(2, min(most, _MEMORY // frame))
    if _SHARED_FOLDER.is_dir():
        space = os.statvfs(_SHARED_FOLDER)
        slots = min(slots, space.f_bavail * space.f_frsize // frame)
    if slots < 2:
        raise VideoError(f"{_SHARED_FOLDER} has too little space for two frames of {frame / 2**20:.0f} MB; enlarge it")
    return slots
