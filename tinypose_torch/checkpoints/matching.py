"""A checkpoint's tensors under the names of a network, and where the two differ."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn

from tinypose_torch.checkpoints.conv_bn import tensor_sources
from tinypose_torch.checkpoints.errors import CheckpointError, plain
from tinypose_torch.checkpoints.files import Checkpoint
from tinypose_torch.checkpoints.renaming import rename_state
from tinypose_torch.models.base import Network

MAX_NAMED = 5  # tensors in a message; the exception has all
_NAME_LENGTH = 80  # of a tensor in a message


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


def to_network_names(network: Network, checkpoint: Checkpoint) -> tuple[dict[str, np.ndarray | Tensor], LoadReport]:
    """The checkpoint's tensors under the network's names."""
    if checkpoint.naming == "tinypose_torch":
        names = {name: name for name in checkpoint.tensors}
        return dict(checkpoint.tensors), LoadReport(sources=names)
    if checkpoint.deployed is not None:
        sources = tensor_sources(network, checkpoint.deployed.program)
        state = {name: checkpoint.tensors[source] for name, source in sources.items()}
        unused = set(checkpoint.tensors) - set(sources.values())
        if unused:
            raise CheckpointError(f"parameters that no layer uses: {listed(sorted(unused))}")
        return state, LoadReport(sources=sources)
    if network.paddle_names is None:
        raise CheckpointError(
            f"holds tensors under PaddleDetection's names, which {type(network).__name__} does not declare (paddle_names)"
        )
    renamed = rename_state(network.paddle_names, checkpoint.tensors)  # type: ignore[arg-type]
    return dict(renamed.state), LoadReport(sources=renamed.sources, dropped=renamed.dropped)


@dataclass
class Differences:
    """Names of the tensors in which a state dict and a network differ: missing and left over in the state dict."""

    missing: list[str]
    left_over: list[str]
    misshapen: list[str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.left_over or self.misshapen)


def find_differences(
    network: nn.Module, state: Mapping[str, np.ndarray | Tensor], keep: Collection[str] = ()
) -> Differences:
    """Compare names and shapes; counters of batches may be missing.

    Args:
        keep: Names of the network that are not compared.
    """
    own = network.state_dict()
    wanted = set(own).difference(keep)
    optional = {name for name in own if name.endswith("num_batches_tracked")}
    return Differences(
        missing=sorted(wanted - optional - set(state)),
        left_over=sorted(set(state) - set(own)),
        misshapen=[name for name in sorted(wanted & set(state)) if tuple(state[name].shape) != tuple(own[name].shape)],
    )


def only_heads_differ(network: Network, differences: Differences) -> bool:
    """Whether all but the number of keypoints or classes fits."""
    return (
        not differences.missing
        and not differences.left_over
        and all(network.is_head(name) for name in differences.misshapen)
    )


def listed(names: list[str], count: int = MAX_NAMED) -> str:
    """The first of the names, for a message."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(plain(name, _NAME_LENGTH) for name in names[:count]) + more
