"""Look-ahead estimation in a separate process.

The process estimates frames before they are requested. It returns the results computed so far as soon as they are requested,
and otherwise continues with the same frame, which keeps both processes busy.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import cv2
import numpy as np

from tinypose_torch.video.channel import Channel, send_error
from tinypose_torch.video.files import VideoError

LookaheadFunction = Callable[[np.ndarray], Iterator[Any]]  # frame to successively more complete results
_REQUEST = "request"


@dataclass(frozen=True)
class SharedFrames:
    """Frames in shared memory.

    Attributes:
        memory: Name of the shared memory.
        count: Number of frames.
        shape: Shape of a frame, uint8.
    """

    memory: str
    count: int
    shape: tuple[int, ...]

    def views(self, memory: SharedMemory) -> list[np.ndarray]:
        """The frames as arrays, which must be deleted before the memory is closed."""
        size = int(np.prod(self.shape))
        return [np.ndarray(self.shape, np.uint8, memory.buf, index * size) for index in range(self.count)]


class LookaheadProcess:
    """A process that estimates frames ahead; results are returned in the order of `submit`.

    Args:
        create_function: Called in the process. Factory of a generator that yields successively more complete results for a
            frame; the latest one is used, at least the first. It and the results must be picklable.
    """

    def __init__(self, create_function: Callable[[], LookaheadFunction]) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, create_function), daemon=True, name="look-ahead")
        self._process.start()
        theirs.close()
        self._channel = Channel(ours, "the look-ahead process")

    def set_frames(self, frames: SharedFrames) -> None:
        """Set the shared memory that holds the frames, before the first `submit`."""
        self._channel.send(frames)

    def submit(self, index: int) -> None:
        """Submit a frame. It must not change until its result was received."""
        self._channel.send(index)

    def receive(self) -> Any:
        """Return the result for the next frame.

        Raises:
            VideoError: The process ended or failed.
            ValueError, OSError: ``create_function`` or the estimation of the frame failed.
        """
        self._channel.send(_REQUEST)
        return self._channel.receive()

    def close(self) -> None:
        """Terminate the process immediately, including during start-up."""
        self._channel.close()
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection, create_function: Callable[[], LookaheadFunction]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles it and terminates this one
    cv2.setNumThreads(1)
    try:
        function = create_function()
        shared = pipe.recv()
        memory = SharedMemory(shared.memory)
        frames = shared.views(memory)
        try:
            _process_frames(pipe, function, frames)
        finally:
            del frames
            memory.close()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent process closed the pipe
    except (ValueError, OSError) as error:
        send_error(pipe, error)
    except Exception as error:  # the parent process waits for a result or an error
        send_error(pipe, VideoError(f"{type(error).__name__}: {error}"))


def _process_frames(pipe: Connection, function: LookaheadFunction, frames: list[np.ndarray]) -> None:
    """Process submitted frames until the other end of the pipe is closed."""
    submitted: deque[int] = deque()  # frame indices
    requested = sent = 0

    def receive_message() -> None:
        nonlocal requested
        message = pipe.recv()
        if message == _REQUEST:
            requested += 1
        else:
            submitted.append(message)

    while True:
        while not submitted:
            receive_message()
        latest: Any = None
        for latest in function(frames[submitted.popleft()]):  # noqa: B007 - the last one is sent
            while pipe.poll():
                receive_message()
            if requested > sent:
                break
        pipe.send(latest)
        sent += 1
