"""What an attack is: files with an intent, and how opening them may end."""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

REFUSED = "refused"
# refused, or read as the genuine file
HARMLESS = "harmless"
# refused, or read as other valid values
READABLE = "readable"

Files = dict[str, bytes | None]

_first: int | None = None


def part(make: Callable) -> Callable:
    """A generator of one kind of attacks; within `only_first` it stops early."""

    @functools.wraps(make)
    def attacks(*arguments, **options):
        return itertools.islice(make(*arguments, **options), _first)

    return attacks


@contextlib.contextmanager
def only_first(count: int) -> Iterator[None]:
    """While open, only so many attacks of each kind are made."""
    global _first
    _first = count
    try:
        yield
    finally:
        _first = None


@dataclass(frozen=True)
class Attack:
    """One hostile file.

    Attributes:
        intent: What it tries.
        files: Name to contents, in place of the genuine ones; ``None`` for a file that is left out.
        outcome: How opening it may end.
    """

    intent: str
    files: Files
    outcome: str = REFUSED


@dataclass(frozen=True)
class Format:
    """A kind of weight file.

    Attributes:
        opened: Name of the file that is opened; ``"."`` for its folder.
        genuine: Makes the files of a genuine model.
        attacks: Makes the attacks.
        needs: Packages without which it cannot be opened.
    """

    opened: str
    genuine: Callable[[], Files]
    attacks: Callable[[], Iterator[Attack]]
    needs: tuple[str, ...] = ()


Generator = Callable[[], Iterator[tuple[str, bytes] | tuple[str, bytes, str]]]


def of_one_file(name: str, make: Generator) -> Callable[[], Iterator[Attack]]:
    """Attacks on one file, from a generator of intents, contents and outcomes."""

    @functools.wraps(make)
    def attacks() -> Iterator[Attack]:
        for intent, content, *outcome in make():
            yield Attack(intent, {name: content}, *outcome)

    return attacks


def changed(data: bytes, position: int, new: bytes) -> bytes:
    """Data with other bytes at a position."""
    return data[:position] + new + data[position + len(new) :]


@part
def flipped(data: bytes, count: int) -> Iterator[tuple[int, bytes]]:
    """Positions, spread over the data, and the data with one bit of that byte flipped."""
    for number in range(count):
        position = number * (len(data) - 1) // (count - 1)
        yield position, changed(data, position, bytes([data[position] ^ 1 << number % 8]))
