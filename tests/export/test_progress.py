"""Progress of exports: a bar that knows its end on a terminal, lines elsewhere."""

import io
import re
import sys

import numpy as np
import pytest
import torch

from tinypose_torch import create_model
from tinypose_torch.cli import main
from tinypose_torch.export import ExportOptions, export_model
from tinypose_torch.export.progress import export_stages, show_progress

from .conftest import POSE

STAGES = {"a": 1.0, "b": 8.0, "c": 1.0}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_bar_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with show_progress("job", STAGES) as progress:
        for stage, share in (("a", 0), ("b", 0), ("b", 0.5), ("c", 0)):
            progress(stage, share)
    text = terminal.getvalue()
    percent = [int(number) for number in re.findall(r"job: [abc]: +(\d+)%", text)]
    assert percent == [0, 10, 50, 90]


def test_lines_elsewhere(capsys):
    with show_progress("job", STAGES) as progress:
        for stage, share in (("a", 0), ("b", 0), ("b", 0.5), ("c", 0)):
            progress(stage, share)
    assert capsys.readouterr().err.splitlines() == ["job: a (1 of 3)", "job: b (2 of 3)", "job: c (3 of 3)"]


class Recorder:
    """The stages in their order; the shares of each must not go back."""

    def __init__(self):
        self.shares = {}

    def __call__(self, stage, share):
        assert 0 <= share < 1
        assert share >= self.shares.get(stage, [0])[-1]
        assert not self.shares or stage == list(self.shares)[-1] or stage not in self.shares
        self.shares.setdefault(stage, []).append(share)


def test_stages_of_a_file(tmp_path):
    recorder = Recorder()
    export_model(create_model(POSE), tmp_path / "x", ExportOptions("torchscript"), progress=recorder)
    assert list(recorder.shares) == list(export_stages([POSE], "torchscript", "fp32"))


def test_stages_of_int8(tmp_path):
    """Observed batches and measured layers are shares of their stages."""
    pytest.importorskip("executorch")
    recorder = Recorder()
    images = np.random.default_rng(0).integers(0, 256, (17, 128, 96, 3), dtype=np.uint8)
    torch.manual_seed(0)
    network = create_model(POSE)
    options = ExportOptions(precision="int8", error_budget=1e-9)  # which no layer keeps: the file is soon made
    export_model(network, tmp_path / "x.pte", options, images, recorder)
    assert list(recorder.shares) == list(export_stages([POSE], "executorch", "int8"))
    assert len(recorder.shares[f"{POSE}: calibrate"]) == 2
    assert len(recorder.shares[f"{POSE}: measure layers"]) > 100


def test_command_shows_them(tmp_path, capsys):
    torch.save(create_model(POSE).state_dict(), tmp_path / "w.pt")
    arguments = ["export", POSE, "--weights", str(tmp_path / "w.pt"), "--format", "torchscript"]
    assert main([*arguments, "--output", str(tmp_path / "x")]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("export: ")]
    assert lines == [
        f"export: {POSE}: prepare (1 of 4)",
        "export: trace (2 of 4)",
        "export: write (3 of 4)",
        "export: compare (4 of 4)",
    ]
