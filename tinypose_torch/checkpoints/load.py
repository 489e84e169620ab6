"""From a weight file of any admitted kind to a network's state dict, strictly."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from tinypose_torch.checkpoints.deployed import (
    Convolution,
    DeployedModel,
    Program,
    link_convolutions,
    read_deployed,
)
from tinypose_torch.checkpoints.errors import CheckpointError, DamagedCheckpointError
from tinypose_torch.checkpoints.paddle_params import read_paddle_params
from tinypose_torch.checkpoints.renaming import rename_state
from tinypose_torch.checkpoints.torch_files import read_torch_file

# Every BN of the original has this epsilon, as in PyTorch.
BN_EPSILON = 1e-5
MAX_NAMED = 12


@dataclass
class Checkpoint:
    """Contents of a weight file.

    Attributes:
        tensors: Name to array or tensor.
        naming: Whose names they are: ``"tinypose_torch"`` or ``"paddle"``; ``"program"`` for a deployed model
            without state-dict names.
        model: The catalogue name that the file carries, if it does.
        deployed: The deployed model behind ``naming == "program"``.
    """

    tensors: Mapping[str, np.ndarray | Tensor]
    naming: str
    model: str | None = None
    deployed: DeployedModel | None = None


@dataclass
class LoadReport:
    """What `load_weights` did.

    Attributes:
        sources: This project's tensor names to the file's.
        dropped: The file's tensors without a counterpart, with the reasons.
        unfolded: Convolutions whose batch norm was folded into them.
        reset: Head tensors that keep their initial values, as asked.
    """

    sources: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    unfolded: list[str] = field(default_factory=list)
    reset: list[str] = field(default_factory=list)


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a weight file, recognised by its contents.

    Args:
        path: ``.pdparams``; ``.safetensors``; a PyTorch checkpoint; or a deployed Paddle model, given as its folder,
            its program (``.pdmodel``, ``.json``) or its tensors (``.pdiparams``).

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file is damaged, hostile or of another kind.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no weight file {str(path)!r}")
    try:
        if path.is_dir() or path.suffix in (".pdmodel", ".json", ".pdiparams"):
            return _read_deployed_files(path)
        with path.open("rb") as file:
            start = file.read(16)
        if start[:4] == b"PK\x03\x04":
            return Checkpoint(read_torch_file(path.read_bytes()), "tinypose_torch")
        if start[:1] == b"\x80":
            return Checkpoint(read_paddle_params(path.read_bytes()), "paddle")
        if start[8:9] == b"{":
            return _read_safetensors(path)
        raise CheckpointError(
            "is empty" if not start else "is neither .pdparams, .safetensors, a PyTorch checkpoint nor a deployed model"
        )
    except CheckpointError as error:
        raise type(error)(f"{path}: {error}") from None


def load_weights(
    network: nn.Module,
    path: str | os.PathLike[str],
    *,
    reset_head: bool = False,
    model: str | None = None,
) -> LoadReport:
    """Fill a network from a weight file; nothing is changed unless everything fits.

    Args:
        network: A network of the catalogue; it says itself which tensors are its head.
        path: See `read_checkpoint`.
        reset_head: Leave the head as it is, so that it may have another number of keypoints or classes.
        model: The catalogue name of the network, to warn of weights made for another one.

    Raises:
        CheckpointError: A tensor is missing, left over or of another shape; the message names each.
    """
    checkpoint = read_checkpoint(path)
    if model and checkpoint.model and checkpoint.model != model:
        warnings.warn(f"{path} holds weights of {checkpoint.model}, loaded into {model}", stacklevel=2)
    try:
        state, report = to_network_names(network, checkpoint)
        report.unfolded = _unfold_batch_norms(network, state)
        if reset_head:
            report.reset = [name for name in network.state_dict() if is_head(network, name)]
        load_strictly(network, state, report.reset)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    if report.unfolded:
        warnings.warn(
            f"{path}: batch normalisation was folded into {len(report.unfolded)} convolutions; the network predicts "
            "as before, but fine-tuning it wants the .pdparams, which has the statistics",
            stacklevel=2,
        )
    return report


def to_network_names(network: nn.Module, checkpoint: Checkpoint) -> tuple[dict[str, np.ndarray | Tensor], LoadReport]:
    """The checkpoint's tensors under the network's names."""
    if checkpoint.naming == "tinypose_torch":
        names = {name: name for name in checkpoint.tensors}
        return dict(checkpoint.tensors), LoadReport(sources=names)
    if checkpoint.deployed is not None:
        sources = _tensor_sources(network, checkpoint.deployed.program)
        state = {name: checkpoint.tensors[source] for name, source in sources.items()}
        unused = set(checkpoint.tensors) - set(sources.values())
        if unused:
            raise CheckpointError(f"parameters that no layer uses: {_listed(sorted(unused))}")
        return state, LoadReport(sources=sources)
    renamed = rename_state(type(network).__name__, checkpoint.tensors)  # type: ignore[arg-type]
    return dict(renamed.state), LoadReport(sources=renamed.sources, dropped=renamed.dropped)


def is_head(network: nn.Module, name: str) -> bool:
    """Whether a tensor depends on the number of keypoints or classes."""
    prefixes: tuple[str, ...] = network.head_prefixes()  # type: ignore[operator]
    return name.startswith(tuple(prefix + "." for prefix in prefixes))


def load_strictly(network: nn.Module, state: Mapping[str, np.ndarray | Tensor], keep: list[str]) -> None:
    """Copy tensors into the network after checking all of them.

    Args:
        keep: Names that stay as they are, whatever the file has for them.
    """
    own = network.state_dict()
    optional = {name for name in own if name.endswith("num_batches_tracked")}
    kept = set(keep)
    wanted = {name for name in own if name not in kept}
    missing = sorted(wanted - optional - set(state))
    left_over = sorted(set(state) - set(own))
    misshapen = [
        f"{name} is {tuple(state[name].shape)} in the file, {tuple(own[name].shape)} in the network"
        for name in sorted(wanted & set(state))
        if tuple(state[name].shape) != tuple(own[name].shape)
    ]
    problems = [
        f"{len(names)} {what}: {_listed(names)}"
        for what, names in (
            ("missing", missing),
            ("left over", left_over),
            ("of another shape", misshapen),
        )
        if names
    ]
    if problems:
        heads_only = (
            not missing and not left_over and all(is_head(network, text.split(" ", 1)[0]) for text in misshapen)
        )
        hint = "; pass reset_head=True to start with a new head" if heads_only else ""
        raise CheckpointError("does not fit the network: " + "; ".join(problems) + hint)
    with torch.no_grad():
        for name in sorted(wanted & set(state)):
            own[name].copy_(_as_tensor(name, state[name]))


def save_safetensors(network: nn.Module, path: str | os.PathLike[str], metadata: Mapping[str, str]) -> None:
    """Write a network's tensors atomically, with a description."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    try:
        safetensors.torch.save_file(state, temporary, dict(metadata))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _as_tensor(name: str, value: np.ndarray | Tensor) -> Tensor:
    tensor = value if isinstance(value, Tensor) else torch.from_numpy(value.astype(value.dtype.newbyteorder("=")))
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        raise CheckpointError(f"{name} holds values that are not finite")
    return tensor


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, RuntimeError, json.JSONDecodeError) as error:
        raise DamagedCheckpointError(f"damaged .safetensors file: {error}") from None
    return Checkpoint(tensors, "tinypose_torch", metadata.get("model"))


def _read_deployed_files(path: Path) -> Checkpoint:
    program, params = find_deployed_files(path)
    info = params.with_name(params.name + ".info")
    model = read_deployed(program.read_bytes(), params.read_bytes(), info.read_bytes() if info.is_file() else None)
    if model.structured_names:
        return Checkpoint(model.state_dict(), "paddle")
    return Checkpoint(model.tensors, "program", deployed=model)


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


def conv_norm_pairs(network: nn.Module) -> list[tuple[str, nn.Conv2d, str | None]]:
    """Convolutions in the order of creation, each with the batch norm that follows it."""
    pairs: list[tuple[str, nn.Conv2d, str | None]] = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            pairs.append((name, module, None))
        elif isinstance(module, nn.BatchNorm2d):
            pairs[-1] = (*pairs[-1][:2], name)
    return pairs


def match_convolutions(network: nn.Module, program: Program) -> list[tuple[str, str | None, Convolution]]:
    """The network's convolutions and batch norms beside the program's.

    Raises:
        CheckpointError: Their numbers, shapes or batch norms differ.
    """
    pairs = conv_norm_pairs(network)
    convolutions = link_convolutions(program)
    if len(pairs) != len(convolutions):
        raise CheckpointError(f"has {len(convolutions)} convolutions, the network {len(pairs)}: another network?")
    matched = []
    for (name, module, norm), convolution in zip(pairs, convolutions, strict=True):
        expected, shape = tuple(module.weight.shape), program.shapes[convolution.weight]
        if shape != expected:
            raise CheckpointError(
                f"{convolution.weight} is {shape}, {name} in the network {expected}: another network?"
            )
        if convolution.norm and norm is None:
            raise CheckpointError(f"batch norm after {convolution.weight}, none after {name}: another network?")
        matched.append((name, norm, convolution))
    return matched


def _tensor_sources(network: nn.Module, program: Program) -> dict[str, str]:
    """This project's tensor names to the exporter's parameter names."""
    sources: dict[str, str] = {}
    for name, norm, convolution in match_convolutions(network, program):
        sources[f"{name}.weight"] = convolution.weight
        if convolution.bias is not None:
            sources[f"{name}.bias"] = convolution.bias
        for role, parameter in convolution.norm.items():
            sources[f"{norm}.{role}"] = parameter
    return sources


def _unfold_batch_norms(network: nn.Module, state: dict[str, np.ndarray | Tensor]) -> list[str]:
    """Give folded convolutions a batch norm that adds their bias and does nothing else. Changes ``state``."""
    unfolded = []
    for name, module, norm in conv_norm_pairs(network):
        bias = state.get(f"{name}.bias")
        if norm is None or bias is None or f"{norm}.weight" in state:
            continue
        ones = np.ones(module.out_channels, np.float32)
        state[f"{norm}.weight"] = ones * np.float32(np.sqrt(1 + BN_EPSILON))
        state[f"{norm}.bias"] = bias
        state[f"{norm}.running_mean"] = np.zeros_like(ones)
        state[f"{norm}.running_var"] = ones
        del state[f"{name}.bias"]
        unfolded.append(name)
    return unfolded
