"""Addresses of models, which can stand for a name or a weight file. Works without torch."""

from __future__ import annotations

REPOSITORY, FOLDER = "hf-hub:", "local-dir:"  # timm's prefixes


def is_address(value: object) -> bool:
    """Whether a model is named by ``hf-hub:OWNER/NAME``, the same with ``@REVISION``, or ``local-dir:FOLDER``."""
    return isinstance(value, str) and value.startswith((REPOSITORY, FOLDER))
