"""Weight files of every admitted kind, recognised by their contents."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from torch import Tensor, nn

from tinypose_torch.checkpoints.archives import is_archive, read_archive
from tinypose_torch.checkpoints.deployed import CONFIG_NAME, DeployedFiles, DeployedModel, read_deployed
from tinypose_torch.checkpoints.descriptions import (
    check_calibration,
    check_class_names,
    check_input_size,
    check_skeleton,
    parse_description,
)
from tinypose_torch.checkpoints.errors import CheckpointError, named_errors, plain, shown
from tinypose_torch.checkpoints.infer_config import InferConfig, read_infer_config
from tinypose_torch.checkpoints.limits import (
    MAX_CONFIG_BYTES,
    MAX_NAME_LENGTH,
    MAX_PROGRAM_BYTES,
    MAX_TENSORS,
    open_regular,
    read_file,
)
from tinypose_torch.checkpoints.paddle_params import read_paddle_params
from tinypose_torch.checkpoints.safetensors_files import check_safetensors, save_with_checksum
from tinypose_torch.checkpoints.torch_files import read_torch_file
from tinypose_torch.models.config import ModelConfig
from tinypose_torch.utils.atomic import replacing

CHANGES_KEY = "tinypose_torch"
DEPLOYED_SUFFIXES = (".pdmodel", ".json", ".pdiparams")


@dataclass
class Checkpoint:
    """Contents of a weight file.

    Attributes:
        tensors: Name to array or tensor.
        naming: Whose names they are: ``"tinypose_torch"`` or ``"paddle"``; ``"program"`` for a deployed model
            without state-dict names.
        path: The file.
        deployed: The deployed model behind ``naming == "program"``.
        config: What the ``infer_cfg.yml`` of a deployed model says.
        folder_names: What the folder of a deployed model, and the archive around it, are called.
    """

    tensors: Mapping[str, np.ndarray | Tensor]
    naming: str
    path: Path = Path()
    deployed: DeployedModel | None = None
    config: InferConfig | None = None
    folder_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.tensors) > MAX_TENSORS:
            raise CheckpointError(f"holds {len(self.tensors)} tensors; at most {MAX_TENSORS} are accepted")
        if any(len(name) > MAX_NAME_LENGTH for name in self.tensors):
            longest = max(self.tensors, key=len)
            raise CheckpointError(f"holds a tensor whose name has {len(longest)} characters: {shown(longest)}")


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a weight file, recognised by its contents.

    Args:
        path: ``.pdparams``; ``.safetensors``; a PyTorch checkpoint; or a deployed Paddle model, given as its folder,
            its program (``.pdmodel``, ``.json``), its tensors (``.pdiparams``), or an archive of them (``.tar``,
            ``.tar.gz``, ``.zip``).

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file is damaged, hostile or of another kind.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no weight file {str(path)!r}")
    deployed = is_deployed(path)
    with named_errors(path):
        if deployed:
            return _parse_deployed(path)
        with open_regular(path) as file:
            start = file.read(16)
        if start[:4] == b"PK\x03\x04":
            return Checkpoint(read_torch_file(read_file(path)), "tinypose_torch", path)
        # The length that a safetensors file begins with may begin as pickles do, with 0x80.
        header_fits = int.from_bytes(start[:8], "little") < path.stat().st_size
        if start[:1] == b"\x80" and not header_fits:
            return Checkpoint(read_paddle_params(read_file(path)), "paddle", path)
        if start[8:9] == b"{":
            return _read_safetensors(path)
        if not start:
            raise CheckpointError("is empty")
        raise CheckpointError(
            "is neither .pdparams, .safetensors, a PyTorch checkpoint nor a deployed model (exported programs need "
            "their own suffix: .torchscript, .pte or .onnx)"
        )


def is_deployed(path: Path) -> bool:
    """Whether a path is a deployed Paddle model: a folder, one of its files, or an archive."""
    if path.is_dir() or path.suffix in DEPLOYED_SUFFIXES:
        return True
    with named_errors(path):
        return is_archive(path)


def find_weights(folder: Path, name: str) -> Path:
    """A model's file in a folder of weights: ``NAME.safetensors``, else ``NAME.pdparams``."""
    converted, official = (folder / f"{name}{suffix}" for suffix in (".safetensors", ".pdparams"))
    return converted if converted.is_file() else official


def hash_weights(path: Path) -> str:
    """SHA-256, hexadecimal, of a weight file; of a deployed model's tensors if it is not in an archive.

    Raises:
        CheckpointError: It is no regular file, too large, or incomplete.
    """
    try:
        file = find_deployed_files(path)[1] if path.is_dir() or path.suffix in DEPLOYED_SUFFIXES else path
        return hashlib.sha256(read_file(file)).hexdigest()
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def save_safetensors(network: nn.Module, path: str | os.PathLike[str], metadata: Mapping[str, str]) -> None:
    """Write a network's tensors atomically, with a description."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with replacing(Path(path)) as temporary:
        # Not save_file, whose files only their owner may read.
        temporary.write_bytes(save_with_checksum(state, metadata))


def describe_changes(config: ModelConfig) -> dict[str, str]:
    """Metadata for `save_safetensors` from which `carried_changes` learns how a network differs from the catalogue."""
    facts = {"input_size": list(config.input_size), **config.describe_head()}
    calibration = getattr(config, "calibration", None)  # top-down pose networks
    if calibration is not None:
        facts["calibration"] = dataclasses.asdict(calibration)
    return {"model": config.name, CHANGES_KEY: json.dumps(facts)}


def read_metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says of its network; nothing for other files.

    Raises:
        CheckpointError: A safetensors file that cannot be read.
    """
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        if file.read(9)[8:] != b"{":
            return {}
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (safetensors.SafetensorError, OSError, RuntimeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: damaged .safetensors file: {plain(error)}") from None


def carried_changes(
    path: str | os.PathLike[str], model: str, metadata: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What a weight file says of its network, if it is a ``model`` that this project trained: arguments of `create_model`.

    Args:
        metadata: Of the file, if it was read before; see `read_metadata`.

    Raises:
        CheckpointError: The file says something that cannot be.
    """
    metadata = read_metadata(Path(path)) if metadata is None else metadata
    text = metadata.get(CHANGES_KEY)
    if text is None or metadata.get("model") != model:
        return {}
    changes: dict[str, Any] = {}
    try:
        facts = parse_description(text)
        if "input_size" in facts:
            changes["input_size"] = check_input_size(facts["input_size"])
        if "skeleton" in facts:
            changes["skeleton"] = check_skeleton(facts["skeleton"])
        if "class_names" in facts:
            changes["class_names"] = check_class_names(facts["class_names"])
        if "calibration" in facts:
            changes["calibration"] = check_calibration(facts["calibration"], changes.get("skeleton"))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: its description of the network is damaged: {error}") from None
    return changes


def find_deployed_files(path: Path) -> tuple[Path, Path]:
    """Program and tensors of a deployed model, from its folder or either of them."""
    if path.is_dir():
        found = sorted(path.glob("*.pdiparams"))
        if len(found) != 1:
            raise CheckpointError(f"holds {len(found)} .pdiparams files; name the one you want")
        path = found[0]
    params = path.with_suffix(".pdiparams")
    programs = [path.with_suffix(suffix) for suffix in (".pdmodel", ".json")]
    program = path if path in programs else next((p for p in programs if p.is_file()), None)
    if program is None:
        raise CheckpointError("needs its program, a .pdmodel or .json of the same name, beside it")
    if not params.is_file():
        raise CheckpointError(f"needs its tensors, {params.name}, beside it")
    return program, params


def _read_safetensors(path: Path) -> Checkpoint:
    check_safetensors(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, RuntimeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"damaged .safetensors file: {plain(error)}") from None
    return Checkpoint(tensors, "tinypose_torch", path)


def _parse_deployed(path: Path) -> Checkpoint:
    separate = path.is_dir() or path.suffix in DEPLOYED_SUFFIXES
    files = _read_deployed_files(path) if separate else read_archive(path)
    model = read_deployed(files.program, files.params, files.info)
    config = read_infer_config(files.config) if files.config is not None else None
    if model.structured_names:
        return Checkpoint(model.state_dict(), "paddle", path, None, config, files.names)
    return Checkpoint(model.tensors, "program", path, model, config, files.names)


def _first_bytes(path: Path, count: int) -> bytes:
    with open_regular(path) as file:
        return file.read(count)


def _read_deployed_files(path: Path) -> DeployedFiles:
    program, params = find_deployed_files(path)
    info, config = params.with_name(params.name + ".info"), params.with_name(CONFIG_NAME)
    return DeployedFiles(
        read_file(program, MAX_PROGRAM_BYTES),
        read_file(params),
        read_file(info, MAX_PROGRAM_BYTES) if info.is_file() else None,
        _first_bytes(config, MAX_CONFIG_BYTES + 1) if config.is_file() else None,
        (params.absolute().parent.name,),
    )
