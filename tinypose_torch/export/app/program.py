"""The whole pipeline as one module: a camera frame in, people out.

It computes what ``PoseEstimator(resize="portable")`` computes; `tests/export/test_app_program.py` keeps the two equal.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tinypose_torch.export.app.columns import column_resize
from tinypose_torch.export.app.detection import DetectorPart, PeopleSelection, Taps
from tinypose_torch.export.app.people import CropRule, Keypoints, PosePart, crop_pixels
from tinypose_torch.export.app.pixels import pixel_reader
from tinypose_torch.models.config import DetectorConfig, TopDownConfig

Size = tuple[int, int]

# Example inputs of the methods, made of a frame and the number of slots.
EXAMPLES: dict[str, Callable[[Tensor, int], tuple[Tensor, ...]]] = {
    "forward": lambda frame, people: (frame,),
    "detect": lambda frame, people: (frame,),
    "pose": lambda frame, people: (frame, torch.zeros(people, 4), torch.ones(1, dtype=torch.int64)),
}


class FrameProgram(nn.Module):
    """uint8 frames to the boxes ``(K, 4)``, scores ``(K,)`` and keypoints ``(K, J, 3)`` of K people.

    Coordinates are pixels of the frame. The person with the highest score is first; the rows behind the last person
    are zeros.

    Args:
        detector, pose: The networks, normalised float32 in; see `tinypose_torch.export.graphs.build_graph`.
        detector_config: With a person class.
        frame_size: (height, width) of the frames, pixels.
        max_people: Number of slots K.
        threshold: Scores of people must be higher.
        pixels: Pixel format of the frames; see `tinypose_torch.utils.pixel_formats`.
    """

    def __init__(
        self,
        detector: nn.Module,
        pose: nn.Module,
        detector_config: DetectorConfig,
        pose_config: TopDownConfig,
        frame_size: Size,
        max_people: int,
        threshold: float,
        pixels: str = "rgb",
    ) -> None:
        super().__init__()
        self.max_people = max_people
        (height, width), (input_height, input_width) = frame_size, detector_config.input_size
        self.reader = pixel_reader(pixels, frame_size)
        self.columns, self.column_blend = column_resize(width, input_width, self.reader)
        self.rows = Taps(0, height, input_height)
        self.detector = DetectorPart(detector, detector_config, height)
        self.selection = PeopleSelection(detector_config, frame_size, max_people, threshold)
        self.crop_size = pose_config.input_size
        self.crop_rule = CropRule(frame_size, pose_config)
        self.pose_network = PosePart(pose, pose_config, self.reader)
        self.keypoints = Keypoints(pose_config)
        self.num_keypoints = len(pose_config.skeleton)

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        boxes, scores = self.detect(frame)
        return boxes, scores, self._pose(frame, boxes, scores > 0)

    def detect(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """The boxes and scores of `forward`."""
        rows = self.rows(self.column_blend(*self.columns(frame)))
        people: tuple[Tensor, Tensor] = self.selection(*self.detector(*rows))
        return people

    def pose(self, frame: Tensor, boxes: Tensor, count: Tensor) -> Tensor:
        """The keypoints ``(K, J, 3)`` of the first people.

        Args:
            boxes: ``(K, 4)`` float32 x1, y1, x2, y2 in pixels of the frame.
            count: ``(1,)`` int64, number of people.
        """
        return self._pose(frame, boxes, torch.arange(len(boxes)) < count)

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
