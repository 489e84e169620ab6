"""Networks by name, with the knowledge that their weights need."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

from tinypose_torch.checkpoints.descriptions import INPUT_DIVISOR, check_config
from tinypose_torch.checkpoints.download import fetch_pretrained
from tinypose_torch.checkpoints.errors import CheckpointError, MismatchedCheckpointError
from tinypose_torch.checkpoints.identity import ModelSource, resolve_model
from tinypose_torch.checkpoints.limits import MAX_CLASSES, MAX_KEYPOINTS
from tinypose_torch.checkpoints.load import load_weights
from tinypose_torch.geometry.skeletons import Skeleton
from tinypose_torch.models.base import Network
from tinypose_torch.models.config import ModelConfig
from tinypose_torch.models.registry import get_config


def create_model(
    name: str | None,
    pretrained: bool | str = False,
    weights: str | os.PathLike[str] | None = None,
    *,
    num_keypoints: int | None = None,
    skeleton: Skeleton | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    input_size: tuple[int, int] | None = None,
    reset_head: bool = False,
) -> Network:
    """Build a registered network, in evaluation mode.

    Args:
        name: See `list_models`; or ``"hf-hub:OWNER/NAME"`` (``@REVISION`` behind it) or ``"local-dir:FOLDER"``, which
            bring their own weights, see `tinypose_torch.hub`. ``None`` or ``"auto"``: the model that the weights say they hold; see `resolve_model`.
        pretrained: ``True`` for the official weights, or the tag of one of several (``config.weights``).
        weights: A weight file instead: ``.pdparams``, a deployed Paddle model or an archive of it, ``.safetensors``, or
            a PyTorch checkpoint of this project. What training wrote carries its skeleton, class names and input size,
            which hold unless others are asked for.
        num_keypoints, skeleton: Other keypoints than the config's; pose networks only.
        num_classes, class_names: Other classes than the config's; detectors only.
        input_size: Another (height, width), each divisible by 32.
        reset_head: Start with a new head and take all other tensors from the weights.

    Returns:
        The network; ``network.config`` is its registered config with the changes asked for here.

    Raises:
        UnknownModelError: No such model.
        ValueError: An override that does not suit the model; ``pretrained`` and ``weights`` together.
        CheckpointError: The weights do not fit, or say that they are of another model.
        DownloadError: The official weights cannot be fetched.
    """
    if pretrained and weights is not None:
        raise ValueError("pass pretrained=True or weights=..., not both")
    source = resolve_model(name, weights)
    network = build_network(
        source,
        num_keypoints=num_keypoints,
        skeleton=skeleton,
        num_classes=num_classes,
        class_names=class_names,
        input_size=input_size,
    )
    if source.path is not None:
        load_weights(network, source.checkpoint or source.path, reset_head=reset_head)
    elif pretrained or source.release:
        tag = pretrained if isinstance(pretrained, str) else source.release
        _load_pretrained(network, get_config(source.name), tag, reset_head)
    return network


def load_model(source: ModelSource, input_size: tuple[int, int] | None = None) -> Network:
    """A network with the weights of its source: the official ones where it names no file.

    Args:
        input_size: Another (height, width), each divisible by 32.

    Raises:
        CheckpointError, DownloadError: See `create_model`.
    """
    network = build_network(source, input_size=input_size)
    if source.path is not None:
        load_weights(network, source.checkpoint or source.path)
    else:
        _load_pretrained(network, get_config(source.name), source.release, reset_head=False)
    return network


def build_network(
    source: ModelSource,
    *,
    num_keypoints: int | None = None,
    skeleton: Skeleton | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    input_size: tuple[int, int] | None = None,
) -> Network:
    """The network that the weights of a source need, in evaluation mode, without them. See `create_model`.

    Raises:
        CheckpointError: The source is an exported file.
        ValueError: An override that does not suit the model.
    """
    if source.backend is not None:
        raise CheckpointError(f"{source.path} is an exported file, which can be run, but holds no weights to load")
    carried = source.changes
    if num_keypoints is None and skeleton is None:
        skeleton = carried.get("skeleton")
    if num_classes is None and class_names is None:
        class_names = carried.get("class_names")
    input_size = input_size or carried.get("input_size")
    config = get_config(source.name)
    if input_size is not None:
        if len(input_size) != 2 or any(size < INPUT_DIVISOR or size % INPUT_DIVISOR for size in input_size):
            raise ValueError(f"input_size {input_size}: height and width must be multiples of {INPUT_DIVISOR}")
        config = dataclasses.replace(config, input_size=(input_size[0], input_size[1]))
    for name, count, limit in (("keypoints", num_keypoints, MAX_KEYPOINTS), ("classes", num_classes, MAX_CLASSES)):
        if count is not None and not 1 <= count <= limit:
            raise ValueError(f"num_{name}={count}; expected 1 to {limit}")
    config = config.with_head(
        num_keypoints=num_keypoints, skeleton=skeleton, num_classes=num_classes, class_names=class_names
    )
    as_carried = carried.get("skeleton") == skeleton and carried.get("input_size") == input_size
    if as_carried and "calibration" in carried:  # it holds for these keypoints at this size
        config = dataclasses.replace(config, calibration=carried["calibration"])  # type: ignore[call-arg]
    check_config(config)
    network = config.build()
    network.config = config
    return network.eval()


def _load_pretrained(network: Network, official: ModelConfig, tag: str | None, reset_head: bool) -> None:
    """Load official weights; a cached file that went bad is made anew once."""
    path = fetch_pretrained(official, tag)
    try:
        load_weights(network, path, reset_head=reset_head)
    except MismatchedCheckpointError:
        raise
    except CheckpointError:
        path.unlink(missing_ok=True)
        load_weights(network, fetch_pretrained(official, tag), reset_head=reset_head)
