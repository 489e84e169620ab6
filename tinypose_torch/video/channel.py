"""Messages and errors between the processes of a video."""

from __future__ import annotations

import contextlib
from multiprocessing.connection import Connection
from typing import Any

from tinypose_torch.video.files import VideoError


class Channel:
    """The parent process's end of a pipe.

    Args:
        who: Is at the other end.
    """

    def __init__(self, pipe: Connection, who: str) -> None:
        self._pipe, self._who = pipe, who

    def send(self, message: Any) -> None:
        """Send a message to the other process.

        Raises:
            VideoError, ValueError, OSError: It ended; see `receive`.
        """
        try:
            self._pipe.send(message)
        except (BrokenPipeError, ConnectionResetError):
            while True:
                self.receive()  # raises the other process's error

    def receive(self) -> Any:
        """Receive the next message of the other process.

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
        """Close the pipe."""
        self._pipe.close()


def send_error(pipe: Connection, error: Exception) -> None:
    """Send an error to the parent process."""
    with contextlib.suppress(OSError):  # the parent process ended
        pipe.send(error)
