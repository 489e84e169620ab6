"""ExecuTorch files of networks in the cache: found there, or made once."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from importlib.metadata import version
from pathlib import Path

from tinypose_torch.checkpoints.cache_folder import CacheFolderError, cache_dir, locked_in_cache
from tinypose_torch.checkpoints.download import fetch_pretrained
from tinypose_torch.checkpoints.errors import CheckpointError
from tinypose_torch.checkpoints.files import hash_weights
from tinypose_torch.checkpoints.identity import ModelSource, resolve_model
from tinypose_torch.export.progress import export_stages, show_progress
from tinypose_torch.factory import load_model
from tinypose_torch.models.registry import get_config
from tinypose_torch.runtime.exported import open_exported
from tinypose_torch.runtime.formats import find_export_format

# Exporting a pair of networks takes 45 to 110 s on two cores, and saves 40 to 75 ms per image.
EXPORT_PAYS_FROM = 1000  # images
_FORMAT = "executorch"
_CACHE_VERSION = 2  # raise when the same weights become another file


class CacheError(OSError):
    """An ExecuTorch file that is not in the cache and cannot be made there."""


def can_export() -> bool:
    """Whether the fastest backend, ExecuTorch, is installed."""
    return importlib.util.find_spec("executorch") is not None


def fastest_form(
    model: str, weights: str | os.PathLike[str] | None, num_images: float
) -> str | os.PathLike[str] | None:
    """What to run a network from: an ExecuTorch file in float32 from the cache, or its weights.

    A file that is not in the cache yet is made for `EXPORT_PAYS_FROM` images or more.

    Args:
        model: Name in the catalogue; see `resolve_model`.
        weights: Weight file, or tag of a release; the official weights unless given. An exported file is returned as it
            is.
        num_images: How many images the network will run on, photos and frames of videos.

    Raises:
        CacheError: The weights have to do: the file in the cache is damaged, or cannot be made.
        UnknownModelError, CheckpointError, DownloadError: See `create_model`.
    """
    found = resolve_model(model, weights, usage="model=NAME")
    source = found.path or fetch_pretrained(get_config(found.name), found.release)
    if found.backend is not None or not source.is_file():
        return weights  # exported already, or a folder
    try:
        path = _cached_path(found, source)
    except CacheFolderError as error:
        raise CacheError(str(error)) from None
    if num_images >= EXPORT_PAYS_FROM:
        return _exported_once(found, path) if _suits_phones(found.name) else weights
    if not path.is_file():
        return weights
    try:
        open_exported(path, _FORMAT)
    except (CheckpointError, OSError) as error:
        raise CacheError(str(error)) from None
    return path


def _exported_once(model: ModelSource, path: Path) -> Path:
    """The file, made if it is missing or damaged. A complete one needs no lock: its folder may be read-only."""
    if _is_good(path):
        return path
    network = load_model(model)
    try:
        with locked_in_cache(path):
            if not _is_good(path):
                from tinypose_torch.export.api import ExportOptions, export_model

                stages = export_stages([model.name], _FORMAT, "fp32")
                with show_progress(f"exporting {model.name}, once", stages) as progress:
                    export_model(network, path, ExportOptions(_FORMAT), progress=progress)
    except Exception as error:  # exporters raise whatever they like, and the weights can be run instead
        first = str(error).partition("\n")[0] or type(error).__name__
        reason = first.removeprefix(f"{path} cannot be written: ")
        raise CacheError(f"cannot make {path}: {reason}") from error
    return path


def _cached_path(model: ModelSource, source: Path) -> Path:
    """Where the file of these weights is kept; another one for every version of ExecuTorch and PyTorch."""
    size = model.changes.get("input_size")  # of a deployed model, in a file beside its tensors
    made_of = [hash_weights(source), str(size), version(_FORMAT), version("torch"), str(_CACHE_VERSION)]
    key = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:16]
    return cache_dir() / "exported" / f"{model.name}-{key}{find_export_format(_FORMAT).suffix}"


def _suits_phones(model: str) -> bool:
    from tinypose_torch.export.api import suits_phones

    return suits_phones(get_config(model))


def _is_good(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        open_exported(path, _FORMAT)
    except (CheckpointError, OSError):
        return False  # damaged in the cache: made again
    return True
