"""Skeletons: keypoint names, flip pairs, links and OKS sigmas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tinypose_torch.geometry.flip_pairs import side_of


@dataclass(frozen=True)
class Skeleton:
    """Names and relations of K keypoints.

    Attributes:
        name: Short name, for example ``"coco17"``.
        keypoint_names: The K names, in the order of the network's channels.
        flip_pairs: Index pairs that swap when the image is mirrored; a keypoint paired with itself swaps with none.
        links: Index pairs to draw as bones.
        sigmas: K per-keypoint constants of the object keypoint similarity; empty where none are known.
    """

    name: str
    keypoint_names: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...] = ()
    links: tuple[tuple[int, int], ...] = ()
    sigmas: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.keypoint_names)
        for kind, pairs in (("flip pair", self.flip_pairs), ("link", self.links)):
            for pair in pairs:
                if len(pair) != 2 or not all(0 <= index < count for index in pair):
                    raise ValueError(f"skeleton {self.name!r}: {kind} {pair} does not fit its {count} keypoints")
        swapped = [index for pair in self.flip_pairs for index in set(pair)]
        twice = [index for index in swapped if swapped.count(index) > 1]
        if twice:
            raise ValueError(f"skeleton {self.name!r}: keypoint {twice[0]} is in more than one flip pair")
        if self.sigmas and len(self.sigmas) != count:
            raise ValueError(f"skeleton {self.name!r}: {len(self.sigmas)} sigmas for {count} keypoints")

    def mirrored_order(self) -> list[int]:
        """Index of each keypoint's opposite in a mirrored image."""
        order = list(range(len(self)))
        for left, right in self.flip_pairs:
            order[left], order[right] = right, left
        return order

    def unpaired_names(self) -> tuple[str, ...]:
        """Names of left or right keypoints without a flip pair."""
        paired = {index for pair in self.flip_pairs for index in pair}
        return tuple(name for index, name in enumerate(self.keypoint_names) if side_of(name) and index not in paired)

    def __len__(self) -> int:
        return len(self.keypoint_names)

    @classmethod
    def from_json(cls, parts: Mapping[str, Any]) -> Skeleton:
        """The inverse of ``dataclasses.asdict`` and JSON, whose lists become tuples again.

        Raises:
            TypeError, ValueError: Other parts, or such as do not belong together.
        """
        return cls(**{name: _tuples(value) for name, value in parts.items()})

    @classmethod
    def unnamed(cls, num_keypoints: int) -> Skeleton:
        """A skeleton with generated names, for weights of unknown keypoints."""
        return cls(f"unnamed{num_keypoints}", tuple(f"keypoint_{i}" for i in range(num_keypoints)))

    def subset(self, names: Sequence[str]) -> Skeleton:
        """The skeleton of some of these keypoints, in the given order.

        Raises:
            ValueError: A name that this skeleton does not have.
        """
        unknown = [name for name in names if name not in self.keypoint_names]
        if unknown:
            raise ValueError(f"skeleton {self.name!r} has no keypoint {unknown[0]!r}")
        place = {self.keypoint_names.index(name): index for index, name in enumerate(names)}

        def kept(pairs: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
            return tuple((place[a], place[b]) for a, b in pairs if a in place and b in place)

        sigmas = tuple(self.sigmas[index] for index in place) if self.sigmas else ()
        return Skeleton(f"{self.name}-{len(names)}", tuple(names), kept(self.flip_pairs), kept(self.links), sigmas)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


# Names, links and sigmas of the COCO keypoint task (Lin et al., ECCV 2014; sigmas: cocodataset.org/#keypoints-eval).
COCO17 = Skeleton(
    name="coco17",
    keypoint_names=(
        "nose",
        "left_eye",
        "right_eye",
        "left_ear",
        "right_ear",
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
        "left_wrist",
        "right_wrist",
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
    ),
    flip_pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    links=(
        (0, 1),
        (0, 2),
        (1, 3),
        (2, 4),
        (5, 6),
        (5, 7),
        (7, 9),
        (6, 8),
        (8, 10),
        (5, 11),
        (6, 12),
        (11, 12),
        (11, 13),
        (13, 15),
        (12, 14),
        (14, 16),
    ),
    sigmas=(
        *(0.026, 0.025, 0.025, 0.035, 0.035),
        *(0.079, 0.079, 0.072, 0.072, 0.062, 0.062),
        *(0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
    ),
)

# Andriluka et al., CVPR 2014. MPII has no OKS constants; its measure is PCKh.
MPII16 = Skeleton(
    name="mpii16",
    keypoint_names=(
        "right_ankle",
        "right_knee",
        "right_hip",
        "left_hip",
        "left_knee",
        "left_ankle",
        "pelvis",
        "thorax",
        "upper_neck",
        "head_top",
        "right_wrist",
        "right_elbow",
        "right_shoulder",
        "left_shoulder",
        "left_elbow",
        "left_wrist",
    ),
    flip_pairs=((0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)),
    links=(
        (0, 1),
        (1, 2),
        (2, 6),
        (6, 3),
        (3, 4),
        (4, 5),
        (6, 7),
        (7, 8),
        (8, 9),
        (10, 11),
        (11, 12),
        (12, 7),
        (7, 13),
        (13, 14),
        (14, 15),
    ),
)
