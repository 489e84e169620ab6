"""What training of top-down and of bottom-up pose networks has in common."""

from __future__ import annotations

import dataclasses

import albumentations as A

from tinypose_torch.data.coco import CocoFile
from tinypose_torch.data.errors import DatasetError
from tinypose_torch.data.transforms import Compose
from tinypose_torch.geometry.skeletons import Skeleton
from train.config import Augmentation, ConfigError


def build_colour(options: Augmentation) -> Compose | None:
    """Albumentations transforms of pixels, by name.

    Raises:
        ConfigError: No such transform, or arguments that it does not take.
    """
    chosen = []
    for item in options.colour:
        arguments = dict(item)
        name = str(arguments.pop("name", None))
        kind = getattr(A, name, None)
        if not (isinstance(kind, type) and issubclass(kind, A.ImageOnlyTransform)):
            raise ConfigError(f"augmentation.colour: {name!r} is not one of albumentations' pixel transforms")
        try:
            chosen.append(kind(**arguments, strict=True))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"augmentation.colour: {name}: {error}") from None
    return Compose(chosen) if chosen else None


def with_sigmas(skeleton: Skeleton, sigmas: tuple[float, ...] | None) -> Skeleton:
    """A skeleton with the configured OKS constants instead of its own.

    Raises:
        ConfigError: Their number is not the keypoints'.
    """
    if sigmas is None:
        return skeleton
    if len(sigmas) != len(skeleton):
        raise ConfigError(f"data.sigmas: {len(sigmas)} numbers for {len(skeleton)} keypoints")
    return dataclasses.replace(skeleton, sigmas=sigmas)


def check_same_keypoints(one: CocoFile, two: CocoFile) -> None:
    """Refuse files of different keypoints.

    Raises:
        DatasetError: They are different.
    """
    if one.skeleton.keypoint_names != two.skeleton.keypoint_names:
        raise DatasetError(f"{one.path} has other keypoints than {two.path}: {', '.join(one.skeleton.keypoint_names)}")
