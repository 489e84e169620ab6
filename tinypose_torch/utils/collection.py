"""Python's garbage collector, out of the way of code that makes millions of objects and drops few."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def collection_paused() -> Iterator[None]:
    """While open, cycles of objects are not looked for: importing and exporting would spend up to a quarter of their time so."""
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()
