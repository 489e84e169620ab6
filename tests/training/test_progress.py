"""What a run shows while it trains."""

import io
import re
import sys

import pytest

from train import progress
from train.__main__ import main
from train.progress import format_duration

LINE = r"step {}/4: loss [\d.e-]+, lr [\d.e-]+, [\d.e+]+ samples/s"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def options(arguments, people):
    return [*arguments, "max_steps=4", f"data.val={people / 'val.json'}", "evaluate_every=0.12"]


@pytest.mark.slow
def test_lines_in_a_file(options, monkeypatch, capsys):
    """A line per evaluation, and one when a minute has passed since the last."""
    assert main(options) == 0
    two, four = capsys.readouterr().err.splitlines()
    assert re.fullmatch(LINE.format(2) + r", \d+ s left; AP \d\.\d+, AP50 \d\.\d+, AP75 \d\.\d+", two)
    assert re.fullmatch(LINE.format(4) + r"; AP \d\.\d+, AP50 \d\.\d+, AP75 \d\.\d+", four)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0)
    assert main([*options, "data.val=null", "resume=true", "max_steps=6"]) == 0
    lines = capsys.readouterr().err.replace("/6", "/4").splitlines()
    assert re.fullmatch(LINE.format(6), lines[-1])


@pytest.mark.slow
def test_one_bar_on_a_terminal(options, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main(options) == 0
    shown = re.split("[\r\n]+", terminal.getvalue())
    assert [line for line in shown if line.startswith("step ")] == [line for line in shown if "samples/s" in line]
    assert sum(line.startswith("step ") for line in shown) == 2, "evaluations"
    assert any(line.startswith("evaluating 1/") for line in shown)
    assert "4/4" in [line for line in shown if line.startswith("training")][-1]
    assert "\x1b[A" not in terminal.getvalue(), "a second bar below the first"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min"), (3599, "1 h 0 min"), (7500, "2 h 5 min")]
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text
