"""Models as folders and as repositories of the Hugging Face Hub: weights, configuration, model card, exported files."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tinypose_torch.checkpoints.errors import CheckpointError
from tinypose_torch.checkpoints.files import describe_changes, save_safetensors
from tinypose_torch.checkpoints.hub import (
    CONFIG_NAME,
    LIBRARY,
    WEIGHTS_NAME,
    describe_model,
    hub_reason,
)
from tinypose_torch.models.base import Network
from tinypose_torch.models.config import ModelConfig, config_of
from tinypose_torch.utils.addresses import FOLDER, REPOSITORY
from tinypose_torch.utils.atomic import replacing
from tinypose_torch.utils.hints import install_hint
from tinypose_torch.utils.table import format_table

FilePath = str | os.PathLike[str]
CARD_NAME = "README.md"
_FOLDERS = {"onnx": "onnx/"}  # where programs for ONNX on the Hub look
_PIPELINE_TAGS = {"pose": "keypoint-detection", "bottom-up pose": "keypoint-detection", "detection": "object-detection"}


@dataclass(frozen=True)
class ModelCard:
    """What a model's page says beside what the network says of itself.

    Attributes:
        metrics: Accuracies by name, for example ``{"AP": 0.58}``.
        dataset: What they were measured on.
        license: The licence's identifier, in lower case, as the Hub lists them.
        picture: An image for the top of the page.
        exports: Exported files, which are copied with the receipts beside them: ``.onnx`` to ``onnx/model.onnx``,
            ``.pte`` to ``model.pte``, ``.torchscript`` to ``model.torchscript``; with ``_fp16`` or ``_int8`` in other
            precisions than fp32.
        receipt: ``receipt.json`` of the training run, whose accuracy is used if there are no ``metrics``. It holds the
            run's configuration with the paths of its data.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    dataset: str | None = None
    license: str = "apache-2.0"
    picture: FilePath | None = None
    exports: Sequence[FilePath] = ()
    receipt: FilePath | None = None


def save_pretrained(
    network: Network, folder: FilePath, card: ModelCard | None = None, *, repo_id: str | None = None
) -> Path:
    """Write a network into a folder that `create_model` reads as ``local-dir:FOLDER``.

    The folder holds ``model.safetensors``, ``config.json`` and ``README.md``, the model card; an existing ``README.md``
    stays as it is.

    Args:
        network: A network that `create_model` made.
        folder: Made if it does not exist.
        card: What else the page says, and further files.
        repo_id: ``OWNER/NAME`` on the Hub for the commands on the page; the folder unless given.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: A file of the card does not exist.
        CheckpointError: An exported file of the card is damaged, or of another model; the receipt is damaged.
        OutputError: The folder cannot be written to.
    """
    folder, card, config = Path(folder), card or ModelCard(), config_of(network)
    copies = _files_to_copy(card, config)
    metrics = dict(card.metrics) or _accuracy_of(card.receipt)
    save_safetensors(network, folder / WEIGHTS_NAME, describe_changes(config))
    _write(folder / CONFIG_NAME, json.dumps(describe_model(config), indent=2) + "\n")
    for name, source in copies.items():
        with replacing(folder / name) as temporary:
            shutil.copyfile(source, temporary)
    if not (folder / CARD_NAME).exists():
        address = f"{REPOSITORY}{repo_id}" if repo_id else f"{FOLDER}{folder}"
        _write(folder / CARD_NAME, _page(config, card, metrics, address, sorted(copies)))
    return folder


def push_to_hub(
    network: Network,
    repo_id: str,
    card: ModelCard | None = None,
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    commit_message: str = "Upload model",
    create_pr: bool = False,
) -> str:
    """Upload what `save_pretrained` writes to a repository of the Hub, which is made if it does not exist.

    Args:
        repo_id: ``OWNER/NAME``.
        card: See `save_pretrained`.
        private: Whether a new repository is private; the owner's default unless given.
        token: Of a user who may write there; the one of ``hf auth login`` unless given.
        revision: The branch; ``main`` unless given.
        create_pr: Open a pull request instead of writing to the branch.

    Returns:
        The address of the commit.

    Raises:
        OSError: The Hub cannot be reached, or refuses; nothing is published then.
        RuntimeError: huggingface_hub is not installed.
        See `save_pretrained` for the others.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise RuntimeError(f"{error}; uploads need huggingface_hub: {install_hint('hub')}") from None
    api = HfApi(token=token, library_name=LIBRARY)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(network, folder, card, repo_id=repo_id)
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                revision=revision,
                commit_message=commit_message,
                create_pr=create_pr,
            )
        except Exception as error:  # of huggingface_hub and of the HTTP library beneath it
            raise OSError(f"{repo_id} was not published: {hub_reason(error)}") from None
    return str(commit.commit_url)


def _files_to_copy(card: ModelCard, config: ModelConfig) -> dict[str, Path]:
    """Files of the card by their names in the folder."""
    copies: dict[str, Path] = {}
    for export in map(Path, card.exports):
        name = _name_of_export(export, config)
        if name in copies:
            raise ValueError(f"{copies[name]} and {export} would both be {name}; pass one of them")
        copies[name] = export
        receipt = Path(f"{export}.receipt.json")
        if receipt.is_file():
            copies[f"{name}.receipt.json"] = receipt
    if card.picture is not None:
        copies[f"picture{Path(card.picture).suffix.lower()}"] = Path(card.picture)
    if card.receipt is not None:
        copies["receipt.json"] = Path(card.receipt)
    for path in copies.values():
        if not path.is_file():
            raise FileNotFoundError(f"no file {str(path)!r}")
    return copies


def _name_of_export(path: Path, config: ModelConfig) -> str:
    """The name that the users of its runtime expect; of an exported file of the same model only."""
    from tinypose_torch.runtime.exported import backend_of, open_exported

    backend = backend_of(path)
    if backend is None:
        raise ValueError(f"{path} is not an exported file; expected .onnx, .pte or .torchscript")
    metadata = open_exported(path, backend, task=config.task).metadata
    if metadata.config.name != config.name:
        raise CheckpointError(f"{path} holds {metadata.config.name}, not {config.name}")
    precision = "" if metadata.precision == "fp32" else f"_{metadata.precision}"
    return f"{_FOLDERS.get(backend, '')}model{precision}{path.suffix}"


def _accuracy_of(receipt: FilePath | None) -> dict[str, float]:
    """The accuracy in the receipt of a training run; nothing where the run was not evaluated."""
    if receipt is None:
        return {}
    try:
        accuracy = json.loads(Path(receipt).read_text(encoding="utf-8"))["accuracy"] or {}
        return {str(name): float(value) for name, value in accuracy.items() if name != "step"}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{receipt} is not a receipt of training: {error}") from None


def _page(config: ModelConfig, card: ModelCard, metrics: Mapping[str, float], address: str, files: list[str]) -> str:
    """The model card: YAML for the Hub, then Markdown for people."""
    height, width = config.input_size
    picture = next((f"![Predictions]({name})\n" for name in files if name.startswith("picture.")), None)
    exports = [name for name in files if name.endswith((".pte", ".onnx", ".torchscript"))]
    parts = [
        "---\n" + yaml.safe_dump(_front_matter(config, card, metrics), sort_keys=False) + "---\n",
        f"# {address.rpartition('/')[2] if address.startswith(REPOSITORY) else config.name}\n",
        picture,
        f"{config.name} of tinypose-torch, {config.kind}: {height} x {width} pixels, "
        f"{len(config.head_names)} {config.head_kind}: {', '.join(config.head_names)}.\n",
        _accuracy_table(metrics, card.dataset) if metrics else None,
        "## Use\n",
        _usage(config, address),
        "Exported files: " + ", ".join(f"[{name}]({name})" for name in exports) + ".\n" if exports else None,
    ]
    return "\n".join(part for part in parts if part is not None)


def _front_matter(config: ModelConfig, card: ModelCard, metrics: Mapping[str, float]) -> dict[str, Any]:
    tag = _PIPELINE_TAGS[config.task]
    facts: dict[str, Any] = {
        "library_name": LIBRARY,
        "license": card.license,
        "pipeline_tag": tag,
        "tags": [LIBRARY, config.name],
    }
    if metrics:  # the Hub's model-index: https://huggingface.co/docs/hub/model-cards#evaluation-results
        measured = [{"type": name, "name": name, "value": float(value)} for name, value in metrics.items()]
        dataset = card.dataset or "unnamed"
        result = {"task": {"type": tag}, "dataset": {"type": dataset, "name": dataset}, "metrics": measured}
        facts["model-index"] = [{"name": config.name, "results": [result]}]
    return facts


def _accuracy_table(metrics: Mapping[str, float], dataset: str | None) -> str:
    where = f" on {dataset}" if dataset else ""
    rows = [(name, f"{value:.3f}") for name, value in metrics.items()]
    return f"Accuracy{where}:\n\n```text\n{format_table(('measure', 'value'), rows, right=(1,))}\n```\n"


def _usage(config: ModelConfig, address: str) -> str:
    """The commands that use the model."""
    return "\n".join(
        (
            f"```sh\npip install '{LIBRARY}[hub]'",
            f"tinypose predict photo.jpg --{config.option} {address}",
            f"tinypose export {address}",
            "```\n",
            f'```python\nfrom tinypose_torch import create_model\n\nnetwork = create_model("{address}")\n```\n',
        )
    )


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
