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
from tinypose_torch.checkpoints.limits import FRAME_SIZES, MAX_COUNT, MAX_SLOTS
from tinypose_torch.models.config import DetectorConfig, TopDownConfig, of_task
from tinypose_torch.runtime.metadata import APP_KEY, FORMAT, ExportMetadata, check_format, readable
from tinypose_torch.tracking.tracker import TrackerSettings, bytetrack_settings
from tinypose_torch.utils.defaults import FRAME, INTERFACES, PIXEL_FORMATS, REACT_NATIVE
from tinypose_torch.utils.hints import command_line
from tinypose_torch.utils.pixel_formats import PixelFormat, find_pixel_format

_REACT_NATIVE_KIND = "float32 NCHW RGB from 0 to 1"  # what `forward` takes there
_OUTPUTS = {
    "boxes": "float32 (people, 4): x1, y1, x2, y2 in pixels of the frame",
    "scores": "float32 (people): highest first; 0 where there is no person",
    "keypoints": "float32 (people, keypoints, 3): x, y in pixels of the frame, and the score",
}
_FOLLOW_INPUTS = {
    "frame": "as for forward",
    "state": "float64: zeros to start anew, else the state of the call before",
    "time": "float64 (1): seconds, later than that of the frame before",
}
_FOLLOW_OUTPUTS = {
    "ids": "int64 (people): from 1, in ascending order; 0 where there is no person",
    "state": "float64: for the next call",
}


@dataclasses.dataclass(frozen=True)
class AppMetadata:
    """Description of an app file.

    Attributes:
        detector, pose: The networks.
        frame_size: (height, width) of the frames, pixels.
        max_people: Number of people that the file gives at most.
        threshold: Scores of people are higher.
        detect_every: The method ``follow`` runs the detector in every n-th frame; ``None`` of files without this method.
        interface: ``"frame"``, or ``"react-native"``: one method, ``forward``, with the signature that
            react-native-executorch expects of a keypoint model.
        pixels: Pixel format of the frames; see `tinypose_torch.utils.pixel_formats`.
    """

    detector: ExportMetadata
    pose: ExportMetadata
    frame_size: tuple[int, int]
    max_people: int
    threshold: float
    detect_every: int | None = None
    interface: str = FRAME
    pixels: str = "rgb"

    @property
    def pixel_format(self) -> PixelFormat:
        """The pixel format of the frames."""
        return find_pixel_format(self.pixels)

    @property
    def _frame_kind(self) -> str:
        return _REACT_NATIVE_KIND if self.interface == REACT_NATIVE else self.pixel_format.kind

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

    @property
    def state_shape(self) -> tuple[int, int]:
        """Shape of the state of ``follow``, float64."""
        return 1 + self.max_people, 33 + 5 * len(self.pose_config.skeleton)

    @property
    def tracker_settings(self) -> TrackerSettings:
        """The settings with which `PoseTracker` does what ``follow`` does."""
        return bytetrack_settings(self.threshold, greedy=True, max_tracks=self.max_people)

    def to_json(self) -> str:
        """The description as JSON; readable for other programs too."""
        facts: dict[str, Any] = {
            "interface": self.interface,
            "frame": {"kind": self._frame_kind, "size": list(self.frame_size)},
            "people": self.max_people,
            "person_threshold": self.threshold,
            "outputs": _OUTPUTS,
        }
        if self.detect_every is not None:
            facts["follow"] = {
                "detect_every": self.detect_every,
                "state": list(self.state_shape),
                "inputs": _FOLLOW_INPUTS,
                "outputs": _OUTPUTS | _FOLLOW_OUTPUTS,
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
        check_format(facts)
        with readable():
            app = check_mapping(facts[APP_KEY], APP_KEY)
            networks = check_mapping(required(facts, "networks"), "networks")
            interface = app.get("interface", FRAME)
            if interface not in INTERFACES:
                raise CheckpointError(f"interface {shown(interface)}; expected {' or '.join(INTERFACES)}")
            frame = check_mapping(required(app, "frame"), "frame")
            pixels = _pixels_of_kind(required(frame, "kind"), interface)
            size = check_list(required(frame, "size"), "frame size", 2)
            if len(size) != 2:
                raise CheckpointError(f"frame size {shown(size)}; expected height and width")
            people = check_count(required(app, "people"), "people", 1, MAX_SLOTS)
            threshold = check_number(required(app, "person_threshold"), "person_threshold", 0, 1)
            detect_every = _check_follow(app)
            height, width = (check_count(side, "frame size", *FRAME_SIZES) for side in size)
            _check_size(pixels, (height, width))
        detector, pose = (ExportMetadata.from_json(json.dumps(networks.get(name, {}))) for name in ("detector", "pose"))
        with readable():
            if not (detector.config.gives_boxes and pose.config.takes_boxes):
                raise CheckpointError(f"networks for {detector.config.task} and {pose.config.task}")
        metadata = cls(detector, pose, (height, width), people, threshold, detect_every, interface, pixels)
        if detect_every is not None and app["follow"].get("state") != list(metadata.state_shape):
            raise CheckpointError(
                f"a state of shape {shown(app['follow'].get('state'))}; expected {metadata.state_shape}"
            )
        return metadata


def _check_follow(app: Any) -> int | None:
    """In how many frames the detector runs once; ``None`` without the method ``follow``."""
    if "follow" not in app:
        return None
    return check_count(required(check_mapping(app["follow"], "follow"), "detect_every"), "detect_every", 1, MAX_COUNT)


def _check_size(pixels: str, size: tuple[int, int]) -> None:
    try:
        find_pixel_format(pixels).check_size(size)
    except ValueError as error:
        raise CheckpointError(str(error)) from None


def _pixels_of_kind(kind: object, interface: str) -> str:
    """The name of the pixel format that a description calls so."""
    if interface == REACT_NATIVE and kind == _REACT_NATIVE_KIND:
        return PIXEL_FORMATS[0]
    for name in PIXEL_FORMATS:
        if find_pixel_format(name).kind == kind:
            return name
    raise CheckpointError(f"unknown frame kind {shown(kind)}; this version of tinypose-torch does not run such apps")
