"""Skeletons: what the K keypoints of a pose are called and how they belong together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Skeleton:
    """Names and relations of K keypoints.

    Attributes:
        name: Short name, for example ``"coco17"``.
        keypoint_names: The K names, in the order of the network's channels.
        flip_pairs: Index pairs that swap when the image is mirrored.
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
        if self.sigmas and len(self.sigmas) != count:
            raise ValueError(f"skeleton {self.name!r}: {len(self.sigmas)} sigmas for {count} keypoints")

    def __len__(self) -> int:
        return len(self.keypoint_names)

    @classmethod
    def unnamed(cls, num_keypoints: int) -> Skeleton:
        """A skeleton of which only the number of keypoints is known."""
        return cls(f"unnamed{num_keypoints}", tuple(f"keypoint_{i}" for i in range(num_keypoints)))


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
