"""Keypoint options shared by top-down and bottom-up training."""

from __future__ import annotations

import dataclasses

from tinypose_torch.data.errors import DatasetError
from tinypose_torch.data.formats.coco import CocoFile
from tinypose_torch.geometry.skeletons import Skeleton
from train.config import Augmentation, Config, ConfigError, Data


def configured_skeleton(skeleton: Skeleton, data: Data) -> Skeleton:
    """Return the skeleton with the configured OKS sigmas and flip pairs.

    Raises:
        ConfigError: They do not fit its keypoints.
    """
    if data.sigmas is not None:
        if len(data.sigmas) != len(skeleton):
            raise ConfigError(f"data.sigmas: {len(data.sigmas)} numbers for {len(skeleton)} keypoints")
        skeleton = dataclasses.replace(skeleton, sigmas=data.sigmas)
    if data.flip_pairs is None:
        return skeleton
    left_right = [(_index(skeleton, left), _index(skeleton, right)) for left, right in data.flip_pairs]
    indices = [index for pair in left_right for index in pair]
    for index in indices:
        if indices.count(index) > 1:
            raise ConfigError(f"data.flip_pairs: {skeleton.keypoint_names[index]!r} occurs more than once")
    skeleton = dataclasses.replace(skeleton, flip_pairs=tuple(left_right))
    # A left or right keypoint without an opposite is stored as its own pair, which marks it as intended.
    own = [(index, index) for index in map(skeleton.keypoint_names.index, skeleton.unpaired_names())]
    return dataclasses.replace(skeleton, flip_pairs=(*left_right, *own))


def _index(skeleton: Skeleton, keypoint: str | int) -> int:
    """Index of a keypoint given by name or index."""
    names = skeleton.keypoint_names
    if keypoint in names:
        return names.index(str(keypoint))
    if isinstance(keypoint, int) and 0 <= keypoint < len(names):
        return keypoint
    raise ConfigError(f"data.flip_pairs: no keypoint {keypoint!r} among {', '.join(names)}")


def configured_augmentation(config: Config, skeleton: Skeleton) -> Augmentation:
    """Return the configured augmentation, without flips if the flip pairs are unknown.

    Raises:
        ConfigError: See `check_flip_pairs`.
    """
    check_flip_pairs(config, skeleton)
    if skeleton.flip_pairs or config.data.flip_pairs is not None:
        return config.augmentation
    return config.augmentation.model_copy(update={"flip": 0.0})


def may_mirror(config: Config, skeleton: Skeleton) -> bool:
    """Whether it is known which keypoints swap when an image is mirrored."""
    return config.data.flip_pairs is not None or bool(skeleton.flip_pairs and not skeleton.unpaired_names())


def check_flip_pairs(config: Config, skeleton: Skeleton) -> None:
    """Raise an error if images are flipped although left or right keypoints have no opposite.

    Raises:
        ConfigError: It names the keypoints and what to do.
    """
    unpaired = skeleton.unpaired_names()
    mirrors = {
        "augmentation.flip=0": config.augmentation.flip > 0,
        "flip_test=false": config.flip_test and config.data.val is not None,
    }
    remedies = [remedy for remedy, needed in mirrors.items() if needed]
    if unpaired and remedies and config.data.flip_pairs is None:
        raise ConfigError(
            f"left or right keypoints without an opposite: {', '.join(unpaired)}; name all pairs with "
            f"data.flip_pairs='[[LEFT, RIGHT], ...]' ([] if none swaps), or do not mirror: {' '.join(remedies)}"
        )


def check_same_keypoints(one: CocoFile, two: CocoFile) -> None:
    """Raise an error if two files have different keypoints.

    Raises:
        DatasetError: They are different.
    """
    if one.skeleton.keypoint_names != two.skeleton.keypoint_names:
        raise DatasetError(f"{one.path} has other keypoints than {two.path}: {', '.join(one.skeleton.keypoint_names)}")
