"""Standard streams that are closed, or that take nothing more."""

from __future__ import annotations

import os
import sys


def open_closed_streams() -> None:
    """Connect closed standard streams to the null device, or the files that are opened next would take their places."""
    for descriptor, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
            os.set_inheritable(null, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, closefd=False))  # noqa: SIM115


def flush_stdout() -> OSError | None:
    """Write what was printed so far. An output that takes nothing more is left; its error is returned."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # Nothing more can be printed, not even what Python flushes at its end.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
        return error
    return None
