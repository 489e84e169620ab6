"""Augmentation of a person in an image, as albumentations transforms (2.0.8) with PaddleDetection's distributions.

They take ``image``, ``(H, W, 3)`` uint8 in any colour order, and ``person``, a `PoseSample`:

    transform = PoseCompose([RandomHalfBody(range(11)), RandomScale(), RandomRotation(), RandomFlip(pairs), TopDownAffine((128, 96))])
    sample = transform(image=image, person=person)

Only `TopDownAffine` resamples, once; everything before it changes where it cuts, mirrors, or blackens pixels. What is drawn
depends on the image's size at most, so that it can be drawn before the image is there (`PoseCompose.presample`).
Distributions: PaddleDetection's TinyPose configurations. Information dropping: `tinypose_torch.data.information_dropping`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or importing it asks the network for news
from albumentations import BasicTransform, Compose

from tinypose_torch.data.pose_sample import PoseSample
from tinypose_torch.geometry.crops import PIXEL_STD, mirrored_inverse, person_matrix
from tinypose_torch.geometry.warp import warp

__all__ = [
    "BasicTransform",
    "Compose",
    "PoseCompose",
    "PoseTransform",
    "RandomFlip",
    "RandomHalfBody",
    "RandomRotation",
    "RandomScale",
    "RandomShift",
    "SampledTransforms",
    "Shape",
    "TopDownAffine",
    "is_mirrored",
]

Array = np.ndarray
Shape = tuple[int, ...]
HALF_BODY_MARGIN = 1.5


class PoseTransform(BasicTransform):
    """Base class of transforms of an image and one person."""

    _targets = ()

    @property
    def targets(self) -> dict[str, Callable[..., Any]]:
        return {"image": self.apply, "person": self.apply_to_sample}

    def presample(self, person: PoseSample, shape: Shape) -> tuple[PoseSample, dict[str, Any] | None]:
        """Sample the parameters of a call without the image.

        Args:
            shape: ``(height, width, 3)`` of the image.

        Returns:
            The transformed person, and the parameters of `apply`; ``None`` if the transform is skipped.
        """
        if not self.should_apply():
            return person, None
        params = {"shape": shape, **self.get_params()}
        params.update(self.get_params_dependent_on_data(params, {"person": person}))
        return self.apply_to_sample(person, **params), params

    def apply_with_params(self, params: dict[str, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Albumentations' own looks at every key that there may be, which costs more than most of these transforms."""
        image, person = self.apply(kwargs["image"], **params), self.apply_to_sample(kwargs["person"], **params)
        return {**kwargs, "image": image, "person": person}

    def apply(self, img: Array, *args: Any, **params: Any) -> Array:
        return img

    def apply_to_sample(self, person: PoseSample, **params: Any) -> PoseSample:
        """Return the transformed person; ``params`` are the sampled parameters."""
        return person


@dataclass(frozen=True, slots=True)
class SampledTransforms:
    """Sampled parameters of a composition; the image is not transformed yet.

    Attributes:
        person: The person in the crop's coordinates.
        steps: Transforms of pixels with their sampled parameters.
    """

    person: PoseSample
    steps: list[tuple[PoseTransform, dict[str, Any]]]

    def apply(self, image: Array) -> Array:
        """Apply the transforms to an image of the size that they were sampled for."""
        for transform, params in self.steps:
            image = transform.apply(image, **params)
        return image


class PoseCompose(Compose):
    """Transforms of a person, one after the other: called as every composition, or in two steps.

    Raises:
        TypeError: A transform is none of a person; those of colours belong to the crop.
    """

    def __init__(self, transforms: Sequence[PoseTransform]) -> None:
        for transform in transforms:
            if not isinstance(transform, PoseTransform):
                raise TypeError(f"{type(transform).__name__} is no PoseTransform; apply it to the crop")
        super().__init__(list(transforms))
        self._of_pixels = [type(transform).apply is not PoseTransform.apply for transform in transforms]

    def presample(self, person: PoseSample, shape: Shape) -> SampledTransforms:
        """Sample the parameters of all transforms without the image; `SampledTransforms.apply` applies them.

        Args:
            shape: ``(height, width, 3)`` of the image.
        """
        self.py_random.random()  # whether to do anything at all, which a call draws first
        steps = []
        for transform, of_pixels in zip(self.transforms, self._of_pixels, strict=True):
            person, params = transform.presample(person, shape)
            if of_pixels and params is not None:
                steps.append((transform, params))
        return SampledTransforms(person, steps)


class RandomHalfBody(PoseTransform):
    """Cut out the upper or the lower half of a body of which enough keypoints are labelled.

    The upper half is preferred if a standard normal draw falls below 0.5, that is in 69 of 100 cases; either needs more
    than two labelled keypoints.

    Args:
        upper: Indices of the upper body's keypoints; the others are the lower body's.
        aspect: Width by height of the network's input.
        min_keypoints: Labelled keypoints that a person needs.
    """

    def __init__(self, upper: Sequence[int], aspect: float = 0.75, min_keypoints: int = 9, p: float = 0.3) -> None:
        super().__init__(p=p)
        self.upper, self.aspect, self.min_keypoints = frozenset(upper), aspect, min_keypoints

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        labelled = data["person"].labelled
        if len(labelled) < self.min_keypoints:
            return {"chosen": None}
        return {"chosen": self.choose(labelled, self.random_generator.standard_normal() < 0.5)}

    def choose(self, labelled: Sequence[int], prefer_upper: bool) -> list[int] | None:
        """Which of the labelled keypoints are cut out; ``None`` if too few."""
        above = [index for index in labelled if index in self.upper]
        below = [index for index in labelled if index not in self.upper]
        if prefer_upper and len(above) > 2:
            chosen = above
        else:
            chosen = below if len(below) > 2 else above
        return chosen if len(chosen) >= 2 else None

    def apply_to_sample(self, person: PoseSample, chosen: Sequence[int] | None = None, **params: Any) -> PoseSample:
        if chosen is None:
            return person
        points = person.joints[chosen]
        # In float32, as PaddleDetection: a warp of large images shows that.
        width, height = (float(np.float32(max(side) - min(side))) for side in points.T.tolist())
        width, height = max(width, height * self.aspect), max(height, width / self.aspect)
        if width == 0:
            return person  # all chosen keypoints in one place
        center = np.add.reduce(points) / np.float32(len(points))
        scale = np.array([width / PIXEL_STD, height / PIXEL_STD], np.float32) * np.float32(HALF_BODY_MARGIN)
        return person.moved(center=center, scale=scale)


class RandomShift(PoseTransform):
    """Move the box along both axes by up to ``share`` of its sides, as PaddleDetection does for hands."""

    def __init__(self, share: float = 0.16, p: float = 0.3) -> None:
        super().__init__(p=p)
        self.share = share

    def get_params(self) -> dict[str, Any]:
        return {"shift": self.random_generator.uniform(-1, 1, 2)}

    def apply_to_sample(self, person: PoseSample, shift: Array | None = None, **params: Any) -> PoseSample:
        assert shift is not None
        moved = person.center + self.share * PIXEL_STD * person.scale * shift
        return person.moved(center=moved.astype(np.float32))


class RandomScale(PoseTransform):
    """Scale the box by ``1 + factor * z``, z standard normal, within ``1 - factor`` and ``1 + factor``."""

    def __init__(self, factor: float = 0.25, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.factor = factor

    def get_params(self) -> dict[str, Any]:
        drawn = self.random_generator.standard_normal() * self.factor + 1
        return {"scale_factor": min(max(drawn, 1 - self.factor), 1 + self.factor)}

    def apply_to_sample(self, person: PoseSample, scale_factor: float = 1.0, **params: Any) -> PoseSample:
        return person.moved(scale=person.scale * np.float32(scale_factor))


class RandomRotation(PoseTransform):
    """Turn the box by ``degrees * z``, z standard normal, within twice as much."""

    def __init__(self, degrees: float = 30.0, p: float = 0.6) -> None:
        super().__init__(p=p)
        self.degrees = degrees

    def get_params(self) -> dict[str, Any]:
        drawn = self.random_generator.standard_normal() * self.degrees
        return {"rotation": min(max(drawn, -2 * self.degrees), 2 * self.degrees)}

    def apply_to_sample(self, person: PoseSample, rotation: float = 0.0, **params: Any) -> PoseSample:
        return person.moved(rotation=rotation)


class RandomFlip(PoseTransform):
    """Mirror the image and swap left and right keypoints. Those not labelled move to (0, 0), as in PaddleDetection.

    The mirrored image is a view of the image: `TopDownAffine` reads it backwards without a copy.

    Args:
        pairs: Indices that swap.
    """

    def __init__(self, pairs: Sequence[tuple[int, int]], p: float = 0.5) -> None:
        super().__init__(p=p)
        self.pairs = dict(pairs) | {right: left for left, right in pairs}

    def apply(self, img: Array, *args: Any, **params: Any) -> Array:
        return img[:, ::-1]

    def apply_to_sample(self, person: PoseSample, shape: Shape = (), **params: Any) -> PoseSample:
        last = np.float32(shape[1] - 1)
        order = [self.pairs.get(index, index) for index in range(len(person))]
        joints, visible, center = person.joints[order], person.visible[order], person.center.copy()
        joints[:, 0] = last - joints[:, 0]
        joints *= visible[:, None]
        center[0] = last - center[0]
        return person.moved(joints, visible, center)


def is_mirrored(img: Array) -> bool:
    """Whether it is the view that `RandomFlip` makes."""
    return img.strides[1] < 0


class TopDownAffine(PoseTransform):
    """Cut the person out: the one warp, bilinear, black outside. Joints are then in pixels of the crop.

    Args:
        input_size: (height, width) of the network.
        udp: Unbiased (see `tinypose_torch.geometry.crops`), or the usual transform.
    """

    def __init__(self, input_size: tuple[int, int], udp: bool = True) -> None:
        super().__init__(p=1.0)
        self.input_size, self.udp = input_size, udp

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        person: PoseSample = data["person"]
        return {"matrix": person_matrix(person.center, person.scale, person.rotation, self.input_size, self.udp)}

    def apply(self, img: Array, *args: Any, matrix: Array | None = None, **params: Any) -> Array:
        assert matrix is not None
        if self.udp and is_mirrored(img):
            inverse = mirrored_inverse(matrix, img.shape[1])
            return warp(img[:, ::-1], inverse, self.input_size, inverse=True)
        return warp(np.ascontiguousarray(img), matrix, self.input_size)

    def apply_to_sample(self, person: PoseSample, matrix: Array | None = None, **params: Any) -> PoseSample:
        assert matrix is not None
        moved = (person.joints @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
        if not self.udp:  # PaddleDetection moves only what is labelled
            moved = np.where(person.visible[:, None] > 0, moved, person.joints)
        return person.moved(moved)
