"""Progress of exports: a bar that knows its end on a terminal, lines elsewhere."""

import os
import re
import subprocess
import sys

import pytest
import torch

from tinypose_torch import create_model
from tinypose_torch.cli import main
from tinypose_torch.export import ExportOptions, export_model
from tinypose_torch.export.progress import export_stages, show_progress

from .conftest import POSE, StageRecorder

STAGES = {"a": 1.0, "b": 8.0, "c": 1.0}


JOB = """
from tinypose_torch.export.progress import show_progress
with show_progress("job", {"a": 1.0, "b": 8.0, "c": 1.0}) as progress:
    for stage, share in (("a", 0), ("b", 0), ("b", 0.5), ("c", 0)):
        progress(stage, share)
"""


def test_bar_on_a_terminal():
    """One that does not say how wide it is."""
    reader, terminal = os.openpty()
    subprocess.run([sys.executable, "-c", JOB], stderr=terminal, check=True)
    text = os.read(reader, 10_000).decode()
    os.close(reader)
    os.close(terminal)
    percent = [int(number) for number in re.findall(r"job: [abc]: +(\d+)%", text)]
    assert percent == [0, 10, 50, 90]


def test_lines_elsewhere(capsys):
    with show_progress("job", STAGES) as progress:
        for stage, share in (("a", 0), ("b", 0), ("b", 0.5), ("c", 0)):
            progress(stage, share)
    assert capsys.readouterr().err.splitlines() == ["job: a (1 of 3)", "job: b (2 of 3)", "job: c (3 of 3)"]


def test_stages_of_a_file(tmp_path):
    recorder = StageRecorder()
    export_model(create_model(POSE), tmp_path / "x", ExportOptions("torchscript"), progress=recorder)
    assert list(recorder.shares) == list(export_stages([POSE], "torchscript", "fp32"))


@pytest.mark.slow
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
