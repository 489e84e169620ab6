"""The arguments of `PoseEstimator`: checked, and refused where they have no effect."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from tinypose_torch.utils import defaults

Weights = str | os.PathLike[str] | None


@dataclass(frozen=True)
class EstimatorArguments:
    """Arguments of `PoseEstimator`, with their defaults.

    Raises:
        ValueError: One is out of range or unknown.
    """

    detector: str | None = defaults.AUTO
    pose: str = defaults.AUTO
    detector_weights: Weights = None
    pose_weights: Weights = None
    backend: str = "auto"
    device: str = "cpu"
    detection_threshold: float | None = None
    person_class: str | None = None
    crop: str | None = None
    decoding: str | None = None
    flip: bool | None = None
    resize: str | None = None
    uncertainty: bool | None = None
    batch_size: int = defaults.BATCH_SIZE

    def __post_init__(self) -> None:
        if self.detection_threshold is not None and not 0 <= self.detection_threshold <= 1:
            raise ValueError(f"detection_threshold={self.detection_threshold}; expected 0 to 1")
        if self.crop not in (None, *defaults.CROP_RULES):
            raise ValueError(f"unknown crop rule {self.crop!r}; choose one of {', '.join(defaults.CROP_RULES)}")
        if self.decoding not in (None, "dark", "plain"):
            raise ValueError(f"unknown decoding {self.decoding!r}; choose 'dark' or 'plain'")
        if self.resize not in (None, *defaults.RESIZES):
            raise ValueError(f"unknown resize {self.resize!r}; choose one of {', '.join(defaults.RESIZES)}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size}; at least 1 is needed")

    def refuse(self, names: Sequence[str], what: str) -> None:
        """Refuse arguments that were given but have no effect on a network, or on an app file."""
        default = EstimatorArguments()
        for name in names:
            value = getattr(self, name)
            if value != getattr(default, name):
                raise ValueError(f"{name}={value!r} has no effect on {what}; leave it out")
