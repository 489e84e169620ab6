"""Seeded mutations of files, and a loop that feeds them to a reader within bounds of time and memory."""

import contextlib
import math
import random
import resource
import signal
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from tinypose_torch import CheckpointError

SECONDS_PER_FILE = 10
_STUCK_SECONDS = 900  # of what waits for something without using the CPU
MEMORY = 300 << 20
_NUMBERS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 40,
    (1 << 63) - 1,
    (1 << 64) - 1,
)
_LAYOUTS = ("<B", "<H", "<I", ">I", "<Q")


@dataclass
class Outcome:
    """How many files were read, and how many refused."""

    read: int = 0
    refused: int = 0


def mutated(generator: random.Random, seeds: list[bytes], pieces: tuple[bytes, ...]) -> bytes:
    """A genuine file with one to six changes."""
    data = bytearray(generator.choice(seeds))
    for _ in range(generator.choice((1, 1, 1, 2, 3, 6))):
        generator.choice(_MUTATIONS)(generator, data, seeds, pieces)
    return bytes(data)


def _place(generator, data):
    return generator.randrange(len(data) + 1)


def _flip(generator, data, seeds, pieces):
    if data:
        data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)


def _set(generator, data, seeds, pieces):
    if data:
        data[generator.randrange(len(data))] = generator.choice((0, 1, 0x7F, 0x80, 0xFF, generator.randrange(256)))


def _truncate(generator, data, seeds, pieces):
    del data[_place(generator, data) :]


def _delete(generator, data, seeds, pieces):
    start = _place(generator, data)
    del data[start : start + generator.randrange(1, 40)]


def _repeat(generator, data, seeds, pieces):
    start = _place(generator, data)
    part = bytes(data[start : start + generator.randrange(1, 60)])
    data[start:start] = part * generator.choice((1, 2, 10, 1000))


def _splice(generator, data, seeds, pieces):
    other = generator.choice(seeds)
    start, end = sorted((generator.randrange(len(other) + 1), generator.randrange(len(other) + 1)))
    place = _place(generator, data)
    data[place : place + generator.choice((0, end - start))] = other[start:end]


def _number(generator, data, seeds, pieces):
    """An interesting number where a length may be."""
    layout = generator.choice(_LAYOUTS)
    size = struct.calcsize(layout)
    place = _place(generator, data)
    value = generator.choice(_NUMBERS) % (1 << 8 * size)
    data[place : place + generator.choice((0, size))] = struct.pack(layout, value)


def _piece(generator, data, seeds, pieces):
    """A piece that means something to the reader."""
    if pieces:
        place = _place(generator, data)
        piece = generator.choice(pieces)
        data[place : place + generator.choice((0, len(piece)))] = piece * generator.choice((1, 1, 1, 300))


_MUTATIONS = (_flip, _set, _truncate, _delete, _repeat, _splice, _number, _piece)


def fuzz(name, read, seeds, pieces, seconds=math.inf, first=0, count=math.inf):
    """Feed mutated files to a reader, for some seconds or so many. Files are numbered; a number makes the same file again.

    Raises:
        AssertionError: A file ended with something else than a result or a CheckpointError, or took too long or too much.
    """
    for seed in seeds:
        read(seed)
    outcome, number, end = Outcome(), first, time.monotonic() + seconds
    with limited_memory(MEMORY), limited_time():
        while time.monotonic() < end and number < first + count:
            data = mutated(random.Random(f"{name} {number}"), seeds, pieces)
            _feed(name, number, read, data, outcome)
            number += 1
    return outcome


def feed_once(name, read, data):
    """Feed one file to a reader within the bounds of `fuzz`."""
    outcome = Outcome()
    with limited_memory(MEMORY), limited_time():
        _feed(name, 0, read, data, outcome)
    return outcome


def _feed(name, number, read, data, outcome):
    signal.setitimer(signal.ITIMER_PROF, SECONDS_PER_FILE)
    try:
        read(data)
        outcome.read += 1
    except CheckpointError as error:
        _check_message(f"{name} {number}", str(error))
        outcome.refused += 1
    except BaseException as error:
        kept = Path(f"/tmp/fuzz-{name.replace(' ', '-')}-{number}")
        kept.write_bytes(data)
        raise AssertionError(f"{name} {number}: {type(error).__name__}: {error!s:.300} (the file: {kept})") from error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _check_message(where, message):
    assert message.isprintable(), f"{where}: a message that a terminal would obey: {message!r}"
    assert len(message) < 1000, f"{where}: a message of {len(message)} characters"


@contextlib.contextmanager
def limited_memory(more):
    """At most so many bytes more than the process has now; what asks for more gets a MemoryError."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


class _TooLongError(BaseException):
    """Not an Exception, which a reader might take for damage of the file."""


@contextlib.contextmanager
def limited_time():
    """At most `SECONDS_PER_FILE` of CPU time, and not for ever; `fuzz` starts the clock anew with each file."""

    def stop(*_):
        raise _TooLongError(f"more than {SECONDS_PER_FILE} s of CPU time, or stuck")

    before = [(number, signal.signal(number, stop)) for number in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, SECONDS_PER_FILE)
    signal.setitimer(signal.ITIMER_REAL, _STUCK_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before:
            signal.signal(number, handler)
