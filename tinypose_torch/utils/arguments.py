"""What all command-line programs share: the parser's errors, exit statuses, closed pipes, errors on one line."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from tinypose_torch.utils.atomic import OutputError, is_disc_full, reason_of
from tinypose_torch.utils.messages import one_line
from tinypose_torch.utils.streams import flush_stdout, open_closed_streams

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_PIPE = 141  # as shells report a program that wrote to a closed pipe
ERRORS = (ValueError, KeyError, OSError, RuntimeError, ArithmeticError, MemoryError, ImportError)


class ArgumentParser(argparse.ArgumentParser):
    """A parser that refuses empty text and paths, and whose errors are one line that is safe to print."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register("type", None, _text)
        self.register("type", Path, lambda value: Path(_text(value)))

    def print_help(self, file: Any = None) -> None:
        """Print the help; unlike argparse's own, it does not hide that this fails."""
        print(self.format_help(), end="", file=file or sys.stdout)

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error, and exit with status 2."""
        super().error(one_line(ValueError(message)))


def add_overwrite(parser: argparse.ArgumentParser, kept: str = "earlier results of this program") -> None:
    """Add the option ``--overwrite`` of `check_outputs`.

    Args:
        kept: The existing files that are replaced without it.
    """
    text = f"replace existing files that are not {kept}; inputs are never replaced"
    parser.add_argument("--overwrite", action="store_true", help=text)


def run_program(name: str, run: Callable[[], int]) -> int:
    """Run a command; its errors end it with one line.

    Args:
        name: What messages begin with.

    Returns:
        What ``run`` returns; 1 if an output cannot be written; 2 after other errors; 130 after Ctrl-C; 141 if stdout or stderr was closed, as by ``head``.
    """
    open_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names that are not UTF-8; stderr does so anyway
    try:
        try:
            status = run()
        except SystemExit:  # after --help
            sys.stdout.flush()
            raise
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        _discard_broken_streams()
        return EXIT_PIPE
    except ERRORS as error:
        return fail(name, error)
    except KeyboardInterrupt:
        say_last(f"{name}: interrupted")
        return EXIT_INTERRUPTED


def fail(name: str, error: BaseException, status: int = EXIT_USAGE) -> int:
    """Print an error on one line.

    Returns:
        ``status``; 1 if an output cannot be written.
    """
    unprinted = flush_stdout()
    failed = error if unprinted is None or isinstance(unprinted, BrokenPipeError) else unprinted
    if isinstance(failed, OSError) and (failed is not error or is_disc_full(failed)):
        error = OutputError(f"{failed.filename or 'standard output'} cannot be written: {reason_of(failed)}")
    say_last(f"{name}: error: {one_line(error)}")
    return EXIT_FAILED if isinstance(error, OutputError) else status


def say_last(message: str) -> None:
    """Print the last line of a program to stderr, where that is possible."""
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr, flush=True)
    _discard_broken_streams()


def _text(value: str) -> str:
    if not value:
        raise argparse.ArgumentTypeError("is empty; give a value, or leave it out")
    return value


def _discard_broken_streams() -> None:
    """Throw away what cannot be printed any more, which Python would try once more at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
