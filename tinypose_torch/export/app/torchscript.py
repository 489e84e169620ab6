"""The frame program as a TorchScript file. A trace has no conditions, so a script chooses whether the detector runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tinypose_torch.export.app.program import FrameProgram
from tinypose_torch.export.formats import save_torchscript
from tinypose_torch.export.progress import TRACE, WRITE, Progress
from tinypose_torch.export.warning_filters import ignore_exporter_warnings
from tinypose_torch.runtime.app_metadata import AppMetadata


class TracedProgram(FrameProgram):
    """The program whose ``follow`` can be traced after `trace_advance`."""

    def __init__(self, detector: nn.Module, pose: nn.Module, metadata: AppMetadata) -> None:
        super().__init__(detector, pose, metadata)
        self.choice: Any = None

    def advance(self, frame: Tensor, state: Tensor) -> Tensor:
        rows: Tensor = super().advance(frame, state) if self.choice is None else self.choice(frame, state)
        return rows

    def trace_advance(self, frame: Tensor, state: Tensor) -> None:
        """Trace both branches of `advance`, and script the condition."""
        assert self.metadata.detect_every is not None
        inputs = frame, state
        branches = {"advance_by_detection": inputs, "advance_by_poses": inputs}
        traced = torch.jit.trace_module(self, branches, check_trace=False)
        self.choice = torch.jit.script(_Choice(traced, self.metadata.detect_every))


class _Choice(nn.Module):
    def __init__(self, traced: Any, detect_every: int) -> None:
        super().__init__()
        self.traced, self.detect_every = traced, detect_every

    def forward(self, frame: Tensor, state: Tensor) -> Tensor:
        if int(state[0, 0]) % self.detect_every == 0:
            return self.traced.advance_by_detection(frame, state)
        return self.traced.advance_by_poses(frame, state)


def write(program: TracedProgram, frame: Tensor, description: str, path: Path, progress: Progress) -> None:
    """Write a program as a TorchScript file with its methods, traced and frozen."""
    examples = program.examples(frame)
    with ignore_exporter_warnings(), torch.no_grad():
        progress(TRACE, 0)
        program.trace_advance(*examples["follow"][:2])
        traced = torch.jit.trace_module(program, examples, check_trace=False)
        frozen = torch.jit.freeze(traced, preserved_attrs=[name for name in examples if name != "forward"])
        progress(WRITE, 0)
        save_torchscript(frozen, description, path)
