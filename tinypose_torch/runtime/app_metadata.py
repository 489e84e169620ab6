"""What an app file says of itself: the frames that it takes, the people that it gives, and its two networks."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from tinypose_torch.checkpoints.descriptions import (
    check_count,
    check_list,
    check_mapping,
    check_number,
    parse_description,
    required,
)
from tinypose_torch.checkpoints.errors import CheckpointError, shown
from tinypose_torch.checkpoints.limits import FRAME_SIZES, MAX_SLOTS
from tinypose_torch.models.config import DetectorConfig, TopDownConfig, of_task
from tinypose_torch.runtime.metadata import APP_KEY, FORMAT, ExportMetadata, readable
from tinypose_torch.utils.defaults import PIXEL_FORMATS
from tinypose_torch.utils.hints import command_line
from tinypose_torch.utils.pixel_formats import PixelFormat, find_pixel_format

_OUTPUTS = {
    "boxes": "float32 (people, 4): x1, y1, x2, y2 in pixels of the frame",
    "scores": "float32 (people): highest first; 0 where there is no person",
    "keypoints": "float32 (people, keypoints, 3): x, y in pixels of the frame, and the score",
}


@dataclasses.dataclass(frozen=True)
class AppMetadata:
    """Description of an app file.

    Attributes:
        detector, pose: The networks.
        frame_size: (height, width) of the frames, pixels.
        max_people: Number of people that the file gives at most.
        threshold: Scores of people are higher.
        pixels: Pixel format of the frames; see `tinypose_torch.utils.pixel_formats`.
    """

    detector: ExportMetadata
    pose: ExportMetadata
    frame_size: tuple[int, int]
    max_people: int
    threshold: float
    pixels: str = "rgb"

    @property
    def pixel_format(self) -> PixelFormat:
        """The pixel format of the frames."""
        return find_pixel_format(self.pixels)

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of the array that holds a frame."""
        return self.pixel_format.frame_shape(self.frame_size)

    @property
    def detector_config(self) -> DetectorConfig:
        """The detector's config."""
        return of_task(self.detector.config, DetectorConfig)

    @property
    def pose_config(self) -> TopDownConfig:
        """The pose network's config."""
        return of_task(self.pose.config, TopDownConfig)

    def to_json(self) -> str:
        """The description as JSON; readable for other programs too."""
        facts: dict[str, Any] = {
            "frame": {"kind": self.pixel_format.kind, "size": list(self.frame_size)},
            "people": self.max_people,
            "person_threshold": self.threshold,
            "outputs": _OUTPUTS,
        }
        networks = {"detector": self.detector, "pose": self.pose}
        described = {name: json.loads(metadata.to_json()) for name, metadata in networks.items()}
        return json.dumps({"format": FORMAT, APP_KEY: facts, "networks": described})

    @classmethod
    def from_json(cls, text: str) -> AppMetadata:
        """The inverse of `to_json`.

        Raises:
            CheckpointError: Not such a description, or one of another version.
        """
        with readable():
            facts = parse_description(text)
        if APP_KEY not in facts:
            export = command_line("tinypose export POSE --with DETECTOR --frame HEIGHT WIDTH")
            raise CheckpointError(f"holds no app; make one with: {export}")
        with readable():
            app = check_mapping(facts[APP_KEY], APP_KEY)
            networks = check_mapping(required(facts, "networks"), "networks")
            frame = check_mapping(required(app, "frame"), "frame")
            pixels = _pixels_of_kind(required(frame, "kind"))
            size = check_list(required(frame, "size"), "frame size", 2)
            if len(size) != 2:
                raise CheckpointError(f"frame size {shown(size)}; expected height and width")
            people = check_count(required(app, "people"), "people", 1, MAX_SLOTS)
            threshold = check_number(required(app, "person_threshold"), "person_threshold", 0, 1)
            height, width = (check_count(side, "frame size", *FRAME_SIZES) for side in size)
            _check_size(pixels, (height, width))
        detector, pose = (ExportMetadata.from_json(json.dumps(networks.get(name, {}))) for name in ("detector", "pose"))
        with readable():
            if not (detector.config.gives_boxes and pose.config.takes_boxes):
                raise CheckpointError(f"networks for {detector.config.task} and {pose.config.task}")
        return cls(detector, pose, (height, width), people, threshold, pixels)


def _check_size(pixels: str, size: tuple[int, int]) -> None:
    try:
        find_pixel_format(pixels).check_size(size)
    except ValueError as error:
        raise CheckpointError(str(error)) from None


def _pixels_of_kind(kind: object) -> str:
    """The name of the pixel format that a description calls so."""
    for name in PIXEL_FORMATS:
        if find_pixel_format(name).kind == kind:
            return name
    raise CheckpointError(f"unknown frame kind {shown(kind)}; this version of tinypose-torch does not run such apps")
