"""Something that looks at the frames of a video ahead of this process, in one of its own: the networks.

It says at once what it has seen when this process waits for it; otherwise it takes a closer look first. So both processes
are busy, whatever there is to see.
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

from tinypose_torch.video.channel import Channel, tell
from tinypose_torch.video.files import VideoError

Look = Callable[[np.ndarray], Iterator[Any]]  # of a frame: what is seen in it, more and more
_ASKED = "asked"


@dataclass(frozen=True)
class SharedFrames:
    """Frames in memory that several processes see.

    Attributes:
        memory: Its name.
        count: How many frames it holds.
        shape: Of each, uint8.
    """

    memory: str
    count: int
    shape: tuple[int, ...]

    def views(self, memory: SharedMemory) -> list[np.ndarray]:
        """The frames; they must be gone before the memory is closed."""
        size = int(np.prod(self.shape))
        return [np.ndarray(self.shape, np.uint8, memory.buf, index * size) for index in range(self.count)]


class LookAhead:
    """The process that looks. What is seen in frames comes in the order in which they were handed over.

    Args:
        prepare: Called in the process, gives what looks at a frame, and of which the last is taken for which there is time;
            at least the first. It can be pickled, and so can what is seen.
    """

    def __init__(self, prepare: Callable[[], Look]) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, prepare), daemon=True, name="look ahead")
        self._process.start()
        theirs.close()
        self._channel = Channel(ours, "the process that looks at the frames")

    def begin(self, frames: SharedFrames) -> None:
        """Say where the frames are; before the first of them."""
        self._channel.send(frames)

    def hand_over(self, index: int) -> None:
        """Have a frame looked at, which stays as it is until it was seen."""
        self._channel.send(index)

    def seen(self) -> Any:
        """What was seen in the next frame.

        Raises:
            VideoError: The process ended, or looking failed.
            ValueError, OSError: What looks could not be prepared, or refused the frame.
        """
        self._channel.send(_ASKED)
        return self._channel.receive()

    def close(self) -> None:
        """End the process, at once: it has nothing to complete, and may still be getting ready."""
        self._channel.close()
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection, prepare: Callable[[], Look]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process hears it, and ends this one
    cv2.setNumThreads(1)
    try:
        look = prepare()
        shared = pipe.recv()
        memory = SharedMemory(shared.memory)
        frames = shared.views(memory)
        try:
            _look_at_all(pipe, look, frames)
        finally:
            del frames
            memory.close()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the first process has done with it
    except (ValueError, OSError) as error:
        tell(pipe, error)
    except Exception as error:  # whatever it is, the first process waits to hear of it
        tell(pipe, VideoError(f"{type(error).__name__}: {error}"))


def _look_at_all(pipe: Connection, look: Look, frames: list[np.ndarray]) -> None:
    """Until the other end of the pipe is closed."""
    waiting: deque[int] = deque()  # frames
    asked = sent = 0

    def hear() -> None:
        nonlocal asked
        message = pipe.recv()
        if message == _ASKED:
            asked += 1
        else:
            waiting.append(message)

    while True:
        while not waiting:
            hear()
        closest: Any = None
        for closest in look(frames[waiting.popleft()]):  # noqa: B007 - the last one is sent
            while pipe.poll():
                hear()
            if asked > sent:
                break
        pipe.send(closest)
        sent += 1
