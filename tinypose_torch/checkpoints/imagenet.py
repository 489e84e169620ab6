"""Backbones trained on ImageNet by timm, loaded into networks of this project, strictly.

PaddleDetection starts from its own ImageNet weights; these are timm's for the same structure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from tinypose_torch.checkpoints.download import DownloadError
from tinypose_torch.checkpoints.errors import CheckpointError
from tinypose_torch.checkpoints.load import load_strictly
from tinypose_torch.models.base import Network
from tinypose_torch.models.config import config_of
from tinypose_torch.utils.hints import install_hint

_Rule = tuple[str, str | Callable[[re.Match[str]], str]]


class TimmBackbone(NamedTuple):
    """A timm model whose tensors fit a backbone.

    Attributes:
        model: timm's name.
        left_out: Pattern of its tensors that have no counterpart, such as the classifier's.
        rules: Patterns and replacements, applied in order, from timm's names to this project's.
        own: Pattern of the backbone's tensors that timm's model lacks and that keep their values.
    """

    model: str
    left_out: str
    rules: tuple[_Rule, ...]
    own: str | None = None


_HRNET_RULES: tuple[_Rule, ...] = (
    (r"^(conv\d)\.", r"\1.conv."),
    (r"^bn(\d)\.", r"conv\1.norm."),
    (r"^(transition\d\.\d)(?:\.0)?\.0\.weight$", r"\1.conv.weight"),
    (r"^(transition\d\.\d)(?:\.0)?\.1\.", r"\1.norm."),
)
# The last module fuses into the finest branch alone; the others lead to the classifier.
_HRNET_REST = r"^(incre_modules|downsamp_modules|final_layer|classifier|stage4\.2\.fuse_layers\.[123])\."
_RESNET_RULES: tuple[_Rule, ...] = (
    (r"^conv1\.", "stem.0."),
    (r"^bn1\.", "stem.1."),
    (r"^layer4\.(\d)\.conv2\.", r"stages.3.\1.conv2.conv."),
    (r"^layer1\.", "stages.0."),
    (r"^layer2\.", "stages.1."),
    (r"^layer3\.", "stages.2."),
    (r"^layer4\.", "stages.3."),
)
_LCNET_RULES: tuple[_Rule, ...] = (
    (r"^conv_stem\.", "conv1.conv."),
    (r"^bn1\.", "conv1.norm."),
    # timm cuts the stage of stride 16 in two after its second block
    (r"^blocks\.4\.(\d)\.", lambda match: f"blocks5.{int(match[1]) + 2}."),
    (r"^blocks\.5\.", "blocks6."),
    (r"^blocks\.3\.", "blocks5."),
    (r"^blocks\.2\.", "blocks4."),
    (r"^blocks\.1\.", "blocks3."),
    (r"^blocks\.0\.", "blocks2."),
    (r"\.conv_dw\.", ".depthwise.conv."),
    (r"(blocks.*)\.bn1\.", r"\1.depthwise.norm."),
    (r"\.conv_pw\.", ".pointwise.conv."),
    (r"(blocks.*)\.bn2\.", r"\1.pointwise.norm."),
    (r"\.conv_reduce\.", ".conv1."),
    (r"\.conv_expand\.", ".conv2."),
)
# By what `Network.timm_backbone` returns.
_BACKBONES = {
    source.model: source
    for source in (
        TimmBackbone("hrnet_w32", _HRNET_REST, _HRNET_RULES),
        TimmBackbone("resnet50d", r"^fc\.", _RESNET_RULES, own=r"\.conv2\.offset\."),
        TimmBackbone("lcnet_075", r"^(conv_head|classifier)\.", _LCNET_RULES),
    )
}


def imagenet_backbone(network: Network) -> TimmBackbone:
    """The timm model that a network's backbone can start from.

    Raises:
        ValueError: timm has no ImageNet weights for this backbone.
    """
    source = _BACKBONES.get(network.timm_backbone() or "")
    if source is not None:
        return source
    raise ValueError(
        f"weights=imagenet: timm has no ImageNet weights for the backbone of {config_of(network).name}, only for HRNet-w32, "
        "HigherHRNet-w32, PP-YOLOv2 and PicoDet-S with LCNet; pass weights=null for random weights, or a weight file"
    )


def load_imagenet_backbone(network: Network) -> str:
    """Fill a network's backbone with timm's ImageNet weights, which timm downloads and caches; returns timm's model name.

    Raises:
        ValueError: See `imagenet_backbone`.
        RuntimeError: timm is not installed.
        DownloadError: The weights cannot be fetched.
        MismatchedCheckpointError: timm's model has another structure than the backbone.
    """
    source = imagenet_backbone(network)
    try:
        import timm
    except ImportError as error:
        raise RuntimeError(f"weights=imagenet: {error}; {install_hint('hrnet')}") from None
    try:
        state = timm.create_model(source.model, pretrained=True).state_dict()
    except OSError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DownloadError(
            f"weights=imagenet: cannot download timm's {source.model}: {reason} Pass weights=null for random weights, "
            "or a weight file"
        ) from None
    load_timm_backbone(network, state)
    return source.model


def load_timm_backbone(network: Network, state: Mapping[str, Tensor]) -> None:
    """Fill a network's backbone with the tensors of the timm model that `imagenet_backbone` names.

    Nothing is changed unless every tensor has a counterpart of the same shape.

    Raises:
        MismatchedCheckpointError: Tensors are missing, left over or of another shape.
        ValueError: See `imagenet_backbone`.
    """
    source = imagenet_backbone(network)
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if re.search(source.left_out, name):
            continue
        target = name
        for pattern, replacement in source.rules:
            target = re.sub(pattern, replacement, target)
        renamed[f"backbone.{target}"] = tensor
    keep = [
        name
        for name in network.state_dict()
        if not name.startswith("backbone.") or (source.own is not None and re.search(source.own, name))
    ]
    try:
        load_strictly(network, renamed, keep)
    except CheckpointError as error:
        error.args = (f"timm's {source.model}: {error}",)
        raise
