"""Silence for the exporters, which print, log and warn about their own affairs."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def ignore_exporter_warnings() -> Iterator[None]:
    """Nothing printed, logged below an error, or warned about inside."""
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
