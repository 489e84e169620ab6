"""Which model of the catalogue is meant, by its name and by what the weights say of themselves."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinypose_torch.checkpoints.errors import CheckpointError, plain
from tinypose_torch.checkpoints.files import (
    Checkpoint,
    carried_changes,
    hash_weights,
    is_deployed,
    read_checkpoint,
    read_metadata,
)
from tinypose_torch.checkpoints.fitting import ARCHITECTURES, fitting_models
from tinypose_torch.checkpoints.hub import read_description, separate_address
from tinypose_torch.checkpoints.limits import MAX_MATCHING_RECEIPT_BYTES, MAX_RECEIPT_BYTES, MAX_RECEIPTS, read_file
from tinypose_torch.models.registry import UnknownModelError, get_config, model_configs
from tinypose_torch.utils import defaults
from tinypose_torch.utils.plugins import VARIABLE as PLUGINS_VARIABLE

_DEFAULTS = {"pose": defaults.POSE, "bottom-up pose": defaults.BOTTOM_UP, "detection": defaults.DETECTOR}
_KINDS = {"pose": "a pose network", "bottom-up pose": "a bottom-up network", "detection": "a detector"}
_NEEDS_NAME = ("model=NAME", "distillation.teacher=NAME")  # usages in training, which needs a name


@dataclass(frozen=True)
class ModelSource:
    """A model of the catalogue and where its weights come from.

    Attributes:
        name: Its name in the catalogue.
        path: Weight file or exported file; ``None`` for official weights, or none.
        release: Tag of the official weights, where one was asked for.
        backend: What runs an exported file; ``None`` for weights.
        changes: Arguments of `create_model` by which the network in the file differs from the catalogue's.
        checkpoint: Contents of the file, if finding out its model took reading them.
    """

    name: str
    path: Path | None = None
    release: str | None = None
    backend: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None


class WrongModelError(CheckpointError):
    """Weights of another model than the one that was asked for, or of one that cannot be told."""


def resolve_model(
    name: str | None,
    weights: str | os.PathLike[str] | None = None,
    tasks: Sequence[str] = (),
    usage: str = "name",
) -> ModelSource:
    """Find out which model is meant.

    Weights that say which model they hold decide; a name that contradicts them is an error. Others need the name,
    unless their tensors fit one model alone. Without weights, the default of the task is meant.

    Args:
        name: Name in the catalogue, or an address such as ``"hf-hub:OWNER/NAME"``, see `weights_at`; ``None`` or
            ``"auto"`` if it was not given.
        weights: Address, weight file, deployed model, exported file, or tag of a release of official weights. A file or folder
            of that name comes before a tag.
        tasks: What the model may be for, any of ``"pose"``, ``"bottom-up pose"`` and ``"detection"``; all unless given.
            The first one decides the default.
        usage: How the caller spells the name, for error messages; for example ``"--pose NAME"``.

    Raises:
        UnknownModelError: No such model.
        FileNotFoundError: Neither a file nor a release.
        DownloadError: Nothing could be fetched from the address.
        WrongModelError: The weights are of another model, or of one that cannot be told.
        CheckpointError: The file is damaged, or of another kind.
        ValueError: A model for another task; neither name nor weights nor a default.
    """
    name, weights = separate_address(None if name == defaults.AUTO else name, weights)
    if name is not None:
        get_config(name)
    if weights is None:
        source = ModelSource(name or _default(tasks, usage))
    elif not Path(weights).exists():
        source = _release(name or (_default(tasks, usage) if tasks else None), os.fspath(weights), usage)
    else:
        source = _source_of_file(name, Path(weights), tasks, usage)
    check_task(source, tasks)
    return source


def check_same_model(found: str, name: str | None, path: Path, usage: str) -> None:
    """Refuse weights of another model than the one that was asked for.

    Args:
        found: The model that the weights say they are of.
        name, usage: See `resolve_model`.

    Raises:
        WrongModelError: They contradict each other.
    """
    if name not in (None, defaults.AUTO, found):
        raise _contradiction(path, [found], str(name), usage)


def check_task(source: ModelSource, tasks: Sequence[str]) -> None:
    """Refuse a model for another task.

    Raises:
        ValueError: It is for none of the tasks.
    """
    task = get_config(source.name).task
    if tasks and task not in tasks:
        where = f"{source.path}: " if source.path is not None else ""
        raise ValueError(f"{where}{source.name} is not {_KINDS[tasks[0]]}, but {_KINDS[task]}")


def _default(tasks: Sequence[str], usage: str) -> str:
    if not tasks:
        raise ValueError(f"which model? pass {usage}, or weights that say which model they hold")
    return _DEFAULTS[tasks[0]]


def _release(name: str | None, tag: str, usage: str) -> ModelSource:
    """Official weights by their tag."""
    if Path(tag).suffix or Path(tag).name != tag:  # looks like a file
        raise FileNotFoundError(f"no weight file {tag!r}")
    if name is None:
        raise FileNotFoundError(f"no weight file {tag!r}; to choose a release of official weights, pass {usage}, too")
    releases = get_config(name).weights
    if tag not in releases:
        known = f"; its releases: {', '.join(releases)}" if releases else ", which has none"
        raise FileNotFoundError(f"no weight file {tag!r}, and no such release of {name}{known}")
    return ModelSource(name, release=tag)


def _source_of_file(name: str | None, path: Path, tasks: Sequence[str], usage: str) -> ModelSource:
    from tinypose_torch.runtime.exported import backend_of, open_exported  # needs the catalogue

    backend = backend_of(path) if path.is_file() else None
    if backend is not None:
        found = open_exported(path, backend, task=_wanted_task(name, tasks)).metadata.config.name
        check_same_model(found, name, path, usage)
        return ModelSource(found, path, backend=backend)
    if is_deployed(path):
        return _source_of_deployed(name, path, tasks, usage)
    metadata = read_metadata(path)
    if "model" not in metadata:
        metadata = read_description(path)
    stated = metadata.get("model") or _model_of_receipt(path)
    if stated is not None:
        check_same_model(_known(stated, path), name, path, usage)
        return ModelSource(stated, path, changes=carried_changes(path, stated, metadata))
    if name is not None:
        return ModelSource(name, path)
    checkpoint = read_checkpoint(path)
    fits = fitting_models(checkpoint, _models_for(tasks)) or fitting_models(checkpoint)
    return ModelSource(_only(fits, path, usage), path, checkpoint=checkpoint)


def _wanted_task(name: str | None, tasks: Sequence[str]) -> str | None:
    """Which network of a file that holds two is meant."""
    if name is not None:
        return get_config(name).task
    return tasks[0] if tasks else None


def _source_of_deployed(name: str | None, path: Path, tasks: Sequence[str], usage: str) -> ModelSource:
    """A deployed model is known by its ``infer_cfg.yml``, its tensors, and the name that the exporter gave its folder."""
    checkpoint = read_checkpoint(path)
    config = checkpoint.config
    if config is None:
        stated = _model_of_receipt(path)
        if stated is not None:
            check_same_model(_known(stated, path), name, path, usage)
        elif name is None:
            stated = _only(fitting_models(checkpoint, _models_for(tasks)), path, usage)
        return ModelSource(stated or str(name), path, checkpoint=checkpoint)
    alike = _models_of_architecture(config.arch)
    sized = [other for other in alike if config.input_size in (None, get_config(other).input_size)]
    if name in sized:
        return ModelSource(str(name), path, checkpoint=checkpoint)
    fits, changes = fitting_models(checkpoint, sized), {}
    if not fits:  # trained at another size
        fits, changes = fitting_models(checkpoint, alike), {"input_size": config.input_size}
    if name is not None and name not in fits:
        raise _contradiction(path, fits, name, usage, f"{config.arch} (infer_cfg.yml)")
    named = [fit for fit in fits if _exported_names(fit).intersection(checkpoint.folder_names)]
    found = name or _only(named if len(named) == 1 else fits, path, usage)
    return ModelSource(found, path, changes=changes, checkpoint=checkpoint)


def _models_of_architecture(arch: str) -> list[str]:
    families = ARCHITECTURES.get(arch, ())
    return [name for name, entry in model_configs().items() if entry.network.paddle_names in families]


def _exported_names(name: str) -> set[str]:
    """What PaddleDetection's exporter calls the folder of a model: as its configuration, and so its checkpoint."""
    return {name, *(Path(file.filename).stem for file in get_config(name).weights.values())}


def _models_for(tasks: Sequence[str]) -> list[str]:
    return [name for name, entry in model_configs().items() if not tasks or entry.task in tasks]


def _only(fits: list[str], path: Path, usage: str) -> str:
    if len(fits) == 1:
        return fits[0]
    reason = f"its tensors fit {', '.join(fits)}" if fits else "its tensors fit no model that could be told from them"
    raise WrongModelError(f"{path} does not say which model it holds; pass {usage} ({reason})")


def _contradiction(path: Path, found: list[str], name: str, usage: str, arch: str = "") -> WrongModelError:
    """The error about weights of other models than the one that was named; of an architecture if no model fits."""
    if not found:
        return WrongModelError(f"{path} holds a network of architecture {plain(arch)}, not {name}")
    right = usage.replace("NAME", found[0]) if "NAME" in usage else found[0]
    remedy = f"pass {right}" if usage in _NEEDS_NAME else f"pass {right}, or no name"
    return WrongModelError(f"{path} holds weights of {' or '.join(found)}, not of {name}; {remedy}")


def _known(stated: str, path: Path) -> str:
    """The name that a file states, if the catalogue has it."""
    try:
        return get_config(stated).name
    except UnknownModelError as error:
        raise UnknownModelError(f"{path}: {error}; your own model needs its file in {PLUGINS_VARIABLE}") from None


def _model_of_receipt(path: Path) -> str | None:
    """The model of a weight file by a receipt of training or conversion that lies beside it and has its checksum."""
    folder = path if path.is_dir() else path.parent
    receipts = [folder / "receipt.json", *sorted(folder.glob("*.receipt.json"))[:MAX_RECEIPTS]]
    contents = [content for content in map(_read_receipt, receipts) if content]
    if not contents:
        return None
    digest = hash_weights(path)
    left = MAX_MATCHING_RECEIPT_BYTES
    for content in contents:
        if digest.encode() not in content:
            continue
        left -= len(content)
        model = _described_files(content).get(digest) if left >= 0 else None
        if model is not None:
            return model
    return None


def _read_receipt(path: Path) -> bytes:
    """The contents of a receipt; nothing where it is absent or too large."""
    if not path.is_file() or path.stat().st_size > MAX_RECEIPT_BYTES:
        return b""
    return read_file(path, MAX_RECEIPT_BYTES)


def _described_files(receipt: bytes) -> dict[str, str]:
    """SHA-256 of the files that a receipt is about to the name of their model; nothing where it is no such receipt."""
    try:
        facts = json.loads(receipt)
        if "configuration" in facts:  # of training
            return {str(facts["sha256"]): str(facts["configuration"]["model"])}
        files = (facts["source"], facts["converted"])  # of conversion
        return {str(file["sha256"]): str(facts["model"]) for file in files}
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
