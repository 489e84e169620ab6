"""What can be wrong with a weight file."""

import os
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager

# Values out of a hostile file may be nested so that writing them out in full would never end.
_short = reprlib.Repr()
_short.maxlevel, _short.maxtuple, _short.maxlist, _short.maxdict, _short.maxstring, _short.maxother = (
    2,
    8,
    8,
    4,
    200,
    60,
)

_LONGEST = 240


def shown(value: object) -> str:
    """A value out of a weight file, short enough for a message."""
    text = _short.repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def plain(value: object, length: int = 200) -> str:
    """Text out of a weight file for a message: without quotes, on one line, control characters escaped, shortened."""
    text = str(value)
    start = text[:length] + ("..." if len(text) > length else "")
    return start if start.isprintable() else repr(start)[1:-1]


class CheckpointError(ValueError):
    """A weight file that is damaged, hostile, or made for another network. Nothing of it was used."""


class MismatchedCheckpointError(CheckpointError):
    """A sound weight file that does not fit the network.

    Attributes:
        missing: The network's tensors that the file lacks.
        left_over: The file's tensors that the network has no place for.
        misshapen: Tensors of another shape, with both shapes.
    """

    def __init__(
        self,
        message: str,
        missing: list[str] | None = None,
        left_over: list[str] | None = None,
        misshapen: list[str] | None = None,
    ) -> None:
        super().__init__(message)
        self.missing, self.left_over, self.misshapen = missing or [], left_over or [], misshapen or []


@contextmanager
def named_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Put the file's name in front of the message of a `CheckpointError`."""
    try:
        yield
    except CheckpointError as error:
        error.args = (f"{path}: {error}",)
        raise
