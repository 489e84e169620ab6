"""Base classes of the networks: what a network declares about itself.

Code outside `tinypose_torch.models` calls these methods and never asks which class a network has. A new network subclasses
`TopDownNetwork`, `BottomUpNetwork` or `Detector`, implements what is abstract, and overrides what differs from the default.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

if TYPE_CHECKING:
    from tinypose_torch.hub import ModelCard
    from tinypose_torch.losses.assigners import Targets
    from tinypose_torch.models.config import ModelConfig

Decoder = Callable[[Any], tuple[Tensor, ...]]
_PRIOR_PROBABILITY = 0.01


class Network(nn.Module, ABC):
    """A network that can be registered.

    Attributes:
        config: What its weights need; set by `create_model`.
        mobile_limitation: Why it cannot be an ExecuTorch file or have reduced precision; ``None`` if it can.
        paddle_names: Key of the rules in `tinypose_torch.checkpoints.renaming` that translate PaddleDetection's names of
            its tensors; ``None`` if PaddleDetection does not have this network.
    """

    config: ModelConfig
    mobile_limitation: ClassVar[str | None] = None
    paddle_names: ClassVar[str | None] = None

    @abstractmethod
    def forward(self, x: Tensor) -> Any:
        """Raw outputs for normalised RGB images ``(N, 3, H, W)``."""

    @abstractmethod
    def head_prefixes(self) -> tuple[str, ...]:
        """Names of the modules whose shape depends on the number of keypoints or classes."""

    @abstractmethod
    def decode(self, outputs: Any) -> tuple[Tensor, ...]:
        """What `forward` returns, as the tensors of the task. Must not use parameters.

        Returns:
            Top-down: heatmaps ``(N, K, h, w)``. Bottom-up: heatmaps and tags ``(N, K, H/2, W/2)``. Detectors: scores
            ``(N, A, C)`` in [0, 1], boxes ``(N, A, 4)`` x1, y1, x2, y2 in input pixels, and embeddings ``(N, A, D)`` if
            the config says so.
        """

    def predict(self, x: Tensor) -> Any:
        """`decode` of `forward` of normalised RGB images ``(N, 3, H, W)``."""
        return self.decode(self(x))

    def is_head(self, name: str) -> bool:
        """Whether a tensor's shape depends on the number of keypoints or classes."""
        return name.startswith(tuple(f"{prefix}." for prefix in self.head_prefixes()))

    def head_rows(self, index: int) -> list[int]:
        """Rows of the head's tensors that belong to a keypoint or class."""
        return [index]

    def init_head(self) -> None:
        """Initialise the head for training: heatmaps start near zero (Sun et al., "HRNet", CVPR 2019)."""
        for _, parameter in self._head_parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.001)
            else:
                nn.init.zeros_(parameter)

    def no_weight_decay(self) -> Collection[str]:
        """Names of the parameters that training does not decay."""
        return ()

    def timm_backbone(self) -> str | None:
        """Name of the timm model whose ImageNet weights fit the backbone, if there is one."""
        return None

    def export_form(self, format_name: str, precision: str) -> Network:
        """The network rewritten for an export format, with equal outputs.

        Called on a copy in evaluation mode whose batch norms are folded into the convolutions; may change it.

        Args:
            format_name: ``"torchscript"``, ``"executorch"`` or ``"onnx"``.
            precision: ``"fp32"``, ``"fp16"`` or ``"int8"``.
        """
        return self

    def export_decoder(self, input_size: tuple[int, int]) -> Decoder:
        """`decode` for exported files: a function, or a module with buffers for a fixed (height, width)."""
        return self.decode

    def outputs_of_layers(self, layers: Mapping[str, Tensor]) -> Any:
        """What `forward` returns, from recorded outputs of convolutions and batch norms by module name.

        Raises:
            NotImplementedError: The network does not support this.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement outputs_of_layers to be compared by layers")

    def save_pretrained(self, folder: str | os.PathLike[str], card: ModelCard | None = None) -> Path:
        """Write ``model.safetensors``, ``config.json`` and a model card; see `tinypose_torch.hub.save_pretrained`."""
        from tinypose_torch.hub import save_pretrained

        return save_pretrained(self, folder, card)

    def push_to_hub(self, repo_id: str, card: ModelCard | None = None, **options: Any) -> str:
        """Upload to ``OWNER/NAME`` on the Hugging Face Hub; see `tinypose_torch.hub.push_to_hub` for the options."""
        from tinypose_torch.hub import push_to_hub

        return push_to_hub(self, repo_id, card, **options)

    def _head_parameters(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, parameter) for name, parameter in self.named_parameters() if self.is_head(name)]


class TopDownNetwork(Network):
    """A pose network for crops of one person: `forward` returns heatmaps ``(N, K, h, w)``."""

    def decode(self, outputs: Tensor) -> tuple[Tensor, ...]:
        return (outputs,)

    def outputs_of_layers(self, layers: Mapping[str, Tensor]) -> Tensor:
        """The output of the head, which must be one convolution."""
        (head,) = self.head_prefixes()
        return layers[head]


class BottomUpNetwork(Network):
    """A pose network for whole images. Training needs a `forward` that returns `BottomUpStages`."""


class Detector(Network):
    """A detector."""

    def loss(
        self, outputs: Any, targets: Targets, image_size: tuple[int, int], *, use_atss: bool, atss_topk: int
    ) -> dict[str, Tensor]:
        """Loss of what `forward` returns in training: ``"loss"``, which is minimised, and its terms for the log.

        Args:
            targets: Boxes in input pixels, and their classes.
            image_size: (height, width) of the batch, pixels.
            use_atss: Whether the epoch is one of the first, in which a static assigner is used if there is one.
            atss_topk: Candidates per level of the static assigner.

        Raises:
            NotImplementedError: The network cannot be trained here.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement loss to be trained")

    def prior_rows(self) -> list[int]:
        """Rows of the head's biases that start at the logit of a rare class."""
        return [row for index in range(len(self.config.head_names)) for row in self.head_rows(index)]

    def init_head(self) -> None:
        """Initialise the head for training: classes start as rare (Lin et al., "Focal Loss", ICCV 2017)."""
        for _, parameter in self._head_parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.01)
            else:
                nn.init.zeros_(parameter)
                parameter.data[self.prior_rows()] = -math.log((1 - _PRIOR_PROBABILITY) / _PRIOR_PROBABILITY)


def implements_layers(network: type[Network]) -> bool:
    """Whether a class of networks can be compared with PaddleDetection by layers."""
    return network.outputs_of_layers is not Network.outputs_of_layers


def implements_loss(network: type[nn.Module]) -> bool:
    """Whether a class of detectors can be trained."""
    return issubclass(network, Detector) and network.loss is not Detector.loss
