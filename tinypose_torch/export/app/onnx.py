"""The frame program as an ONNX file, whose pose network runs on a batch of the people who are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tinypose_torch.export.app.program import FrameProgram
from tinypose_torch.export.formats import save_onnx
from tinypose_torch.export.progress import TRACE, WRITE, Progress
from tinypose_torch.export.warning_filters import ignore_exporter_warnings

_OPSET = 20


class BatchOfPeople(FrameProgram):
    """The program of which the pose network takes as many crops as there are people: from none to the number of slots."""

    def estimate(self, frame: Tensor, taps: Tensor, present: Tensor) -> Tensor:
        count: Any = present.sum().item()  # a size that the exporter leaves open
        torch._check(count >= 0)
        torch._check(count <= self.metadata.max_people)
        parts = (part[:count] for part in self.crop_parts(frame, taps))
        keypoints = self.keypoints(*self.pose_network(*parts))
        slots = keypoints.new_zeros(self.metadata.max_people, self.num_keypoints, 3)
        return torch.cat([keypoints, slots])[: self.metadata.max_people]


def write(program: FrameProgram, frame: Tensor, description: str, path: Path, progress: Progress) -> dict[str, Any]:
    """Write a program, an instance of `BatchOfPeople`, as an ONNX file with its method ``forward``."""
    progress(TRACE, 0)
    with ignore_exporter_warnings():
        made = torch.onnx.export(
            program,
            (frame,),
            dynamo=True,
            opset_version=_OPSET,
            input_names=["frame"],
            output_names=["boxes", "scores", "keypoints"],
            verbose=False,
        )
    assert made is not None
    progress(WRITE, 0)
    save_onnx(made.model_proto, description, path)
    return {}
