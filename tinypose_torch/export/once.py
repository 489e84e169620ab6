"""The fastest exact form of a network on this machine, made once and kept in the cache."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

from tinypose_torch.checkpoints.catalogue import get_entry
from tinypose_torch.checkpoints.download import cache_dir, fetch_pretrained
from tinypose_torch.checkpoints.errors import CheckpointError
from tinypose_torch.checkpoints.files import hash_weights
from tinypose_torch.checkpoints.identity import resolve_model
from tinypose_torch.export.api import ExportOptions, export_model, suits_phones
from tinypose_torch.factory import load_model
from tinypose_torch.runtime.exported import open_exported

_FORMAT = "executorch"
_CACHE_VERSION = 1  # raise when the same weights become another file


def can_export() -> bool:
    """Whether the fastest backend, ExecuTorch, is installed."""
    return importlib.util.find_spec("executorch") is not None


def exported_once(model: str, weights: str | os.PathLike[str] | None = None) -> Path:
    """An ExecuTorch file of a model in float32, taken from the cache or made for it; up to a minute the first time.

    Args:
        model: Name in the catalogue; see `resolve_model`.
        weights: Weight file, or tag of a release; the official weights unless given. An exported file is returned as it
            is, and so are folders, and the weights of a network that cannot be an ExecuTorch file.
    """
    found = resolve_model(model, weights, usage="model=NAME")
    model, entry = found.name, get_entry(found.name)
    source = found.path or fetch_pretrained(entry, found.release)
    if found.backend is not None or not suits_phones(entry) or not source.is_file():
        return source
    made_of = [hash_weights(source), version(_FORMAT), version("torch"), str(_CACHE_VERSION)]
    key = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:16]
    path = cache_dir() / "exported" / f"{model}-{key}.pte"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not _is_good(path):
            print(f"exporting {model} to ExecuTorch, once, into {path} ...", flush=True)
            export_model(load_model(found), path, ExportOptions(_FORMAT))
    return path


def _is_good(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        open_exported(path, _FORMAT)
    except CheckpointError:
        return False  # damaged in the cache: made again
    return True
