"""Video processing in parallel: one process decodes frames and encodes the overlay while this one estimates poses.

A third process optionally estimates frames ahead. Processes are used instead of threads, since ExecuTorch holds Python's
global interpreter lock. Frames are stored in shared memory with a fixed number of slots. A slot passes from the decoder to
this process, back for the overlay, and to the decoder again.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np

from tinypose_torch.estimators.results import Poses
from tinypose_torch.video.channel import Channel
from tinypose_torch.video.codec_process import End, Opened, VideoOutput, serve_video
from tinypose_torch.video.files import VideoError
from tinypose_torch.video.lookahead_process import LookaheadFunction, LookaheadProcess


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
            target=serve_video,
            args=(theirs, source, VideoOutput(overlay, keypoint_threshold, view)),
            daemon=True,
            name="video",
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
            assert isinstance(opened, Opened)
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
                if isinstance(message, End):
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
