"""Video processing in parallel: one process decodes frames and encodes the overlay while this one estimates poses.

A third process optionally estimates frames ahead. Processes are used instead of threads, since ExecuTorch holds Python's
global interpreter lock. Frames are stored in shared memory with a fixed number of slots. A slot passes from the decoder to
this process, back for the overlay, and to the decoder again.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tinypose_torch.estimators.results import Poses
from tinypose_torch.video.channel import Channel, send_error
from tinypose_torch.video.files import VideoError, VideoReader, is_camera
from tinypose_torch.video.live_view import LiveView
from tinypose_torch.video.lookahead_process import LookaheadFunction, LookaheadProcess, SharedFrames
from tinypose_torch.video.overlay import Overlay

_SLOTS = 6
_MEMORY = 48 * 2**20  # bytes for slots, of which two are always there
_SHARED_FOLDER = Path("/dev/shm")  # noqa: S108 - where Linux keeps shared memory
_Slots = tuple[list[np.ndarray], list[float]]  # frames and their times


@dataclass(frozen=True)
class _Opened:
    """First message of the video process."""

    fps: float
    declared_frames: int | None
    frames: SharedFrames
    view: int | None


@dataclass(frozen=True)
class _End:
    """Message of the video process after the last frame."""

    ended_early: bool


@dataclass(frozen=True)
class _Output:
    """Outputs of the video process; see `OverlappedVideo`."""

    overlay: Path | None
    keypoint_threshold: float
    view: int | None


class OverlappedVideo:
    """Iterates over the frames of a video as ``(H, W, 3)`` uint8 RGB.

    Args:
        source: A file, or ``webcam`` or ``webcam:NUMBER``.
        overlay: The MP4 file to write; ``None`` for none. It replaces an older file when it is complete,
            or with the frames so far if the iteration ends early.
        keypoint_threshold: Score from which a keypoint is drawn.
        view: Port of the live view, 0 for a free port; ``None`` for no live view. See `LiveView`.
        create_lookahead: Factory of the look-ahead function; see `LookaheadProcess`.

    Attributes:
        fps, declared_frames: See `VideoReader`.
        frames_read: Number of frames yielded so far.
        time: Presentation time of the last frame, seconds; see `VideoReader`.
        ended_early: Whether the frames end before the number and the duration that the file declares.
        lookahead: Look-ahead result of the last frame; ``None`` without look-ahead.
        view: Port of the page; ``None`` if there is none.

    Raises:
        FileNotFoundError: There is no such file.
        VideoError: No video, or no such camera; the overlay cannot be written; the port is taken.
    """

    def __init__(
        self,
        source: str,
        overlay: Path | None,
        keypoint_threshold: float,
        view: int | None = None,
        create_lookahead: Callable[[], LookaheadFunction] | None = None,
    ) -> None:
        self.source = source
        self.frames_read = 0
        self.time = 0.0
        self.ended_early = False
        self.lookahead: Any = None
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, source, _Output(overlay, keypoint_threshold, view)), daemon=True, name="video"
        )
        self._process.start()
        theirs.close()
        self._channel = Channel(ours, f"{source}: the process that reads and writes it")
        self._slot: int | None = None
        self._decoded: deque[tuple[int, float]] = deque()  # slots, and times of their frames
        self._memory: SharedMemory | None = None
        self._lookahead = LookaheadProcess(create_lookahead) if create_lookahead is not None else None
        try:
            opened = self._channel.receive()
            assert isinstance(opened, _Opened)
            self.fps, self.declared_frames, self.view = opened.fps, opened.declared_frames, opened.view
            self._memory = SharedMemory(opened.frames.memory)
            if self._lookahead is not None:
                self._lookahead.set_frames(opened.frames)
        except BaseException:
            self.close()
            raise
        self._frames = opened.frames.views(self._memory)

    def __iter__(self) -> Iterator[np.ndarray]:
        end: VideoError | bool = False
        while True:
            self._give_back(None)
            while not end and (not self._decoded or self._channel.has_message()):
                try:
                    message = self._channel.receive()
                except VideoError as error:
                    end = error  # raised after the frames decoded before it
                    break
                if isinstance(message, _End):
                    end, self.ended_early = True, message.ended_early
                    break
                self._decoded.append(message)
                if self._lookahead is not None:
                    self._lookahead.submit(message[0])
            if not self._decoded:
                if isinstance(end, VideoError):
                    raise end
                return
            if self._lookahead is not None:
                self.lookahead = self._lookahead.receive()
            self._slot, self.time = self._decoded.popleft()
            self.frames_read += 1
            yield self._frames[self._slot].copy()

    def draw(self, poses: Poses) -> None:
        """Append the last frame to the overlay, with its poses."""
        self._give_back(poses)

    def finish(self) -> None:
        """Wait until the overlay is complete."""
        self._give_back(None)
        self._channel.send("finish")
        while self._channel.receive() != "finished":
            pass  # frames that were decoded ahead

    def close(self) -> None:
        """Terminate the other processes. The overlay contains the frames written so far."""
        if self._lookahead is not None:
            self._lookahead.close()
        self._channel.close()
        self._process.join(30)  # until the overlay is on the disc
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._frames = []
        if self._memory is not None:
            self._memory.close()
            self._memory = None

    def __enter__(self) -> OverlappedVideo:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _give_back(self, poses: Poses | None) -> None:
        if self._slot is not None:
            slot, self._slot = self._slot, None
            self._channel.send((slot, poses))


def _serve(pipe: Connection, source: str, output: _Output) -> None:
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


def _work(pipe: Connection, video: VideoReader, output: _Output) -> None:
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
    pipe.send(_Opened(video.fps, video.declared_frames, shared, view.port if view is not None else None))
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
                pipe.send(_End(video.ended_early))
    except (VideoError, OSError) as error:
        send_error(pipe, error)
    except Exception as error:  # whatever it is, the first process waits to hear of it
        send_error(pipe, VideoError(f"{type(error).__name__}: {error}"))


def _write(
    pipe: Connection,
    output: _Output,
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
