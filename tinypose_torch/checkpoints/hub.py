"""Models in repositories of the Hugging Face Hub, and in folders of the same layout: ``config.json``, ``model.safetensors``.

`tinypose_torch.hub` writes them.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from tinypose_torch.checkpoints.descriptions import check_text, parse_description, required
from tinypose_torch.checkpoints.download import DownloadError
from tinypose_torch.checkpoints.errors import CheckpointError, named_errors, plain
from tinypose_torch.checkpoints.files import CHANGES_KEY
from tinypose_torch.checkpoints.limits import MAX_DESCRIPTION_LENGTH, read_file
from tinypose_torch.models.config import ModelConfig
from tinypose_torch.utils.addresses import FOLDER, REPOSITORY, is_address
from tinypose_torch.utils.atomic import output_errors
from tinypose_torch.utils.hints import install_hint

CONFIG_NAME, WEIGHTS_NAME = "config.json", "model.safetensors"
LIBRARY = "tinypose-torch"
_CHANGES = ("input_size", "skeleton", "class_names")


def weights_at(address: str) -> Path:
    """The weight file that an address names; of a repository in huggingface_hub's cache, downloaded at first use.

    Raises:
        FileNotFoundError: The folder has no ``model.safetensors``.
        DownloadError: No such repository, revision or file; no access, or no network.
        OutputError: The cache cannot be written to.
        RuntimeError: huggingface_hub is not installed.
    """
    if address.startswith(REPOSITORY):
        return _download(address)
    path = Path(address.removeprefix(FOLDER)) / WEIGHTS_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{address}: no file {str(path)!r}")
    return path


def separate_address(name: str | None, weights: Any, usage: str = "weights") -> tuple[str | None, Any]:
    """Name and weights of a model, where either may be an address.

    Args:
        usage: How the caller spells the weights, for error messages.

    Returns:
        The name, ``None`` where it was an address; the weights, a file where they were one.

    Raises:
        ValueError: Two sources of weights.
        See `weights_at` for the others.
    """
    if name is not None and is_address(name):
        if weights is not None:
            raise ValueError(f"{name} brings its own weights; leave {usage} {weights} out")
        name, weights = None, name
    return name, weights_at(weights) if is_address(weights) else weights


def describe_model(config: ModelConfig) -> dict[str, Any]:
    """What ``config.json`` says of a network."""
    return {
        "architecture": config.name,
        "library_name": LIBRARY,
        "task": config.task,
        "input_size": list(config.input_size),
        "mean": list(config.mean),
        "std": list(config.std),
        **config.describe_head(),
    }


def read_description(weights: Path) -> dict[str, str]:
    """What the ``config.json`` beside a ``model.safetensors`` says, in the form of `read_metadata`; nothing without one.

    Raises:
        CheckpointError: It is damaged, or not of this project.
    """
    path = weights.with_name(CONFIG_NAME)
    if weights.name != WEIGHTS_NAME or not path.is_file():
        return {}
    with named_errors(path):
        facts = parse_description(read_file(path, MAX_DESCRIPTION_LENGTH).decode("utf-8", "replace"))
        if facts.get("library_name") != LIBRARY:
            raise CheckpointError(f"library_name {plain(facts.get('library_name'))}; expected {LIBRARY}")
        name = check_text(required(facts, "architecture"), "architecture")
    return {"model": name, CHANGES_KEY: json.dumps({key: facts[key] for key in _CHANGES if key in facts})}


def _download(address: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError
    except ImportError as error:
        raise RuntimeError(f"{error}; {address} is read by huggingface_hub: {install_hint('hub')}") from None
    repository, _, revision = address.removeprefix(REPOSITORY).partition("@")
    try:
        with output_errors(Path(WEIGHTS_NAME)):
            weights = hf_hub_download(repository, WEIGHTS_NAME, revision=revision or None, library_name=LIBRARY)
            with contextlib.suppress(EntryNotFoundError):  # the weights may say themselves what they are
                hf_hub_download(repository, CONFIG_NAME, revision=revision or None, library_name=LIBRARY)
    except (OSError, ValueError) as error:
        raise DownloadError(f"{address}: {hub_reason(error)}") from None
    return Path(weights)


def hub_reason(error: Exception) -> str:
    """Why a request to the Hub failed, and what to do."""
    from huggingface_hub import errors

    reasons: tuple[tuple[type[Exception], str], ...] = (
        (errors.GatedRepoError, "its owner must give you access: ask on its page, and log in with `hf auth login`"),
        (errors.RepositoryNotFoundError, "no such repository, or a private one: log in with `hf auth login`"),
        (errors.RevisionNotFoundError, "no such revision"),
        (
            errors.LocalEntryNotFoundError,
            "the Hub cannot be reached, and the model is not in the cache of huggingface_hub; try again with a network, "
            f"or copy the repository's files into a folder and name it {FOLDER}FOLDER",
        ),
        (errors.EntryNotFoundError, f"no {WEIGHTS_NAME}; expected a repository that push_to_hub made"),
    )
    for kind, reason in reasons:
        if isinstance(error, kind):
            return reason
    return plain(next(iter(str(error).splitlines()), type(error).__name__))
