"""The whole pipeline as one module: a camera frame in, people out.

It computes what ``PoseEstimator(resize="portable")`` computes; `tests/export/test_app_program.py` keeps the two equal.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tinypose_torch.export.app.columns import column_resize
from tinypose_torch.export.app.detection import DetectorPart, PeopleSelection, Taps
from tinypose_torch.export.app.following import NextTracks, PeopleOfTracks
from tinypose_torch.export.app.people import CropRule, Keypoints, PosePart, crop_pixels
from tinypose_torch.export.app.pixels import pixel_reader
from tinypose_torch.export.app.tracks import Tracks
from tinypose_torch.runtime.app_metadata import AppMetadata

# Example inputs of the methods, made of a frame and the description.
EXAMPLES: dict[str, Callable[[Tensor, AppMetadata], tuple[Tensor, ...]]] = {
    "forward": lambda frame, metadata: (frame,),
    "detect": lambda frame, metadata: (frame,),
    "pose": lambda frame, metadata: (frame, torch.zeros(metadata.max_people, 4), torch.ones(1, dtype=torch.int64)),
    "follow": lambda frame, metadata: (
        frame,
        torch.zeros(metadata.state_shape, dtype=torch.float64),
        torch.zeros(1, dtype=torch.float64),
    ),
}


class FrameProgram(nn.Module):
    """uint8 frames to the boxes ``(K, 4)``, scores ``(K,)`` and keypoints ``(K, J, 3)`` of K people.

    Coordinates are pixels of the frame. The person with the highest score is first; the rows behind the last person
    are zeros.

    Args:
        detector, pose: The networks, normalised float32 in; see `tinypose_torch.export.graphs.build_graph`.
        metadata: With a detector that has a person class.
    """

    def __init__(self, detector: nn.Module, pose: nn.Module, metadata: AppMetadata) -> None:
        super().__init__()
        self.metadata = metadata
        detector_config, pose_config = metadata.detector_config, metadata.pose_config
        frame_size, max_people = metadata.frame_size, metadata.max_people
        (height, width), (input_height, input_width) = frame_size, detector_config.input_size
        self.reader = pixel_reader(metadata.pixels, frame_size)
        self.columns, self.column_blend = column_resize(width, input_width, self.reader)
        self.rows = Taps(0, height, input_height)
        self.detector = DetectorPart(detector, detector_config, height)
        self.selection = PeopleSelection(detector_config, frame_size, max_people, metadata.threshold)
        low = metadata.tracker_settings.low_thresh
        self.candidates = PeopleSelection(detector_config, frame_size, max_people, low)
        self.crop_size = pose_config.input_size
        self.crop_rule = CropRule(frame_size, pose_config)
        self.pose_network = PosePart(pose, pose_config, self.reader)
        self.keypoints = Keypoints(pose_config)
        self.num_keypoints = len(pose_config.skeleton)
        self.next_tracks = NextTracks(metadata)
        self.people_of_tracks = PeopleOfTracks(metadata)

    def examples(self, frame: Tensor) -> dict[str, tuple[Tensor, ...]]:
        """Example inputs of the methods, by their names.

        Args:
            frame: ``(H, W, 3)`` uint8.
        """
        return {name: example(frame, self.metadata) for name, example in EXAMPLES.items()}

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        boxes, scores = self.detect(frame)
        return boxes, scores, self._pose(frame, boxes, scores > 0)

    def detect(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """The boxes and scores of `forward`."""
        people: tuple[Tensor, Tensor] = self.selection(*self._detector_output(frame))
        return people

    def _detector_output(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        output: tuple[Tensor, Tensor] = self.detector(*self.rows(self.column_blend(*self.columns(frame))))
        return output

    def pose(self, frame: Tensor, boxes: Tensor, count: Tensor) -> Tensor:
        """The keypoints ``(K, J, 3)`` of the first people.

        Args:
            boxes: ``(K, 4)`` float32 x1, y1, x2, y2 in pixels of the frame.
            count: ``(1,)`` int64, number of people.
        """
        return self._pose(frame, boxes, torch.arange(len(boxes)) < count)

    def follow(self, frame: Tensor, state: Tensor, time: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The people of the next frame of a video, with their identities and smoothed keypoints.

        The detector runs in every n-th frame. In between, boxes come from the keypoints of the frame before.

        Args:
            state: ``(1 + K, F)`` float64: zeros to start anew, else that of the call before; see
                `tinypose_torch.export.app.following`.
            time: ``(1,)`` float64, seconds, later than that of the frame before.

        Returns:
            Boxes ``(K, 4)``, scores ``(K,)``, keypoints ``(K, J, 3)`` and ids ``(K,)`` int64, from 1, ordered by id, with
            zeros behind the last person; and the next state.
        """
        rows = self.advance(frame, state)
        # Unpacked before the pose network runs: its conditionals reuse the memory of this one's result.
        header, tracks = rows[:1] + 0, Tracks.unpack(rows[1:])
        keypoints = self._pose(frame, tracks.boxes.to(torch.float32), tracks.tracked.squeeze(1))
        people: tuple[Tensor, Tensor, Tensor, Tensor, Tensor] = self.people_of_tracks(
            header, tracks, keypoints, state, time
        )
        return people

    def advance(self, frame: Tensor, state: Tensor) -> Tensor:
        """Tracks of the next frame; see `tinypose_torch.export.app.following.NextTracks`."""
        return self.advance_by_detection(frame, state) if self.is_due(state) else self.advance_by_poses(frame, state)

    def is_due(self, state: Tensor) -> Tensor:
        """``()`` bool: whether the detector runs."""
        assert self.metadata.detect_every is not None
        return torch.remainder(state[0, 0], self.metadata.detect_every) == 0

    def advance_by_detection(self, frame: Tensor, state: Tensor) -> Tensor:
        """Tracks of a frame in which the detector runs."""
        rows: Tensor = self.next_tracks.detect(state, *self.candidates(*self._detector_output(frame)))
        return rows

    def advance_by_poses(self, frame: Tensor, state: Tensor) -> Tensor:
        """Tracks of a frame in which the detector does not run."""
        rows: Tensor = self.next_tracks.carry(state)
        return rows

    def _pose(self, frame: Tensor, boxes: Tensor, present: Tensor) -> Tensor:
        crop = self.crop_rule(boxes)
        cells = self.estimate(frame, crop.taps, present)
        keypoints = torch.cat([cells[..., :2] * crop.scale + crop.offset, cells[..., 2:]], dim=2)
        return torch.where(present.reshape(-1, 1, 1), keypoints, torch.zeros_like(keypoints))

    def estimate(self, frame: Tensor, taps: Tensor, present: Tensor) -> Tensor:
        """Keypoints ``(K, J, 3)`` in heatmap cells; of those who are not present they are arbitrary."""
        keypoints: Tensor = self.keypoints(*self.pose_network(*self.crop_parts(frame, taps)))
        return keypoints

    def crop_parts(self, frame: Tensor, taps: Tensor) -> list[Tensor]:
        """What the warps of all people read, stacked; see `crop_pixels`."""
        people = [crop_pixels(frame, row, self.crop_size, self.reader) for row in taps.unbind(dim=0)]
        return [torch.stack(parts) for parts in zip(*people, strict=True)]
