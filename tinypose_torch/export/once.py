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
from tinypose_torch.checkpoints.limits import read_file
from tinypose_torch.export.api import ExportOptions, export_model, suits_phones
from tinypose_torch.factory import create_model
from tinypose_torch.runtime.exported import backend_of, open_exported

_FORMAT = "executorch"
_CACHE_VERSION = 1  # raise when the same weights become another file


def can_export() -> bool:
    """Whether the fastest backend, ExecuTorch, is installed."""
    return importlib.util.find_spec("executorch") is not None


def exported_once(model: str, weights: str | os.PathLike[str] | None = None) -> Path:
    """An ExecuTorch file of a model in float32, taken from the cache or made for it; up to a minute the first time.

    Args:
        model: Name in the catalogue.
        weights: Weight file; the official weights unless given. An exported file is returned as it is, and so are the
            weights of a network that cannot be an ExecuTorch file.
    """
    source = Path(weights) if weights is not None else fetch_pretrained(get_entry(model))
    if not suits_phones(get_entry(model)) or not source.is_file() or backend_of(source) is not None:
        return source  # exported already; or a folder, or nothing, which the caller will read or refuse
    made_of = [hashlib.sha256(read_file(source)).hexdigest(), version(_FORMAT), version("torch"), str(_CACHE_VERSION)]
    key = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:16]
    path = cache_dir() / "exported" / f"{model}-{key}.pte"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not _is_good(path):
            print(f"exporting {model} to ExecuTorch, once, into {path} ...", flush=True)
            network = create_model(model, pretrained=weights is None, weights=weights)
            export_model(network, path, ExportOptions(_FORMAT))
    return path


def _is_good(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        open_exported(path, _FORMAT)
    except CheckpointError:
        return False  # damaged in the cache: made again
    return True
