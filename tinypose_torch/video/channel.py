"""What the processes of a video tell each other, errors too."""

from __future__ import annotations

import contextlib
from multiprocessing.connection import Connection
from typing import Any

from tinypose_torch.video.files import VideoError


class Channel:
    """The first process's end of a pipe.

    Args:
        who: Is at the other end.
    """

    def __init__(self, pipe: Connection, who: str) -> None:
        self._pipe, self._who = pipe, who

    def send(self, message: Any) -> None:
        """Tell the other process something.

        Raises:
            VideoError, ValueError, OSError: It ended; see `receive`.
        """
        try:
            self._pipe.send(message)
        except (BrokenPipeError, ConnectionResetError):
            while True:
                self.receive()  # until it says why, or that it is gone

    def receive(self) -> Any:
        """What the other process tells next.

        Raises:
            VideoError: It ended.
            Exception: What went wrong there.
        """
        try:
            message = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            raise VideoError(f"{self._who} ended") from None
        if isinstance(message, Exception):
            raise message
        return message

    def has_message(self) -> bool:
        """Whether there is something to receive."""
        return self._pipe.poll()

    def close(self) -> None:
        """Say that nothing more will come."""
        self._pipe.close()


def tell(pipe: Connection, error: Exception) -> None:
    """Send an error to the first process."""
    with contextlib.suppress(OSError):  # nobody is there to hear it
        pipe.send(error)
