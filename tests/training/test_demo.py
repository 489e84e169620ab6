"""The README's first command: people are found by both networks, and by their export."""

import re

import numpy as np
import pytest
from PIL import Image

from tinypose_torch.export import ExportError
from train import demo


def counts(output, name):
    """People found, people drawn, keypoints found and keypoints visible by one of the two."""
    (words,) = re.findall(rf"{name}: (\d+) of (\d+) people and (\d+) of (\d+) visible keypoints found", output)
    return [int(word) for word in words]


def check_accuracy(output, name):
    found, drawn, right, visible = counts(output, name)
    assert found >= 0.8 * drawn > 0
    assert right >= 0.8 * visible > 0


def test_finds_rendered_people(tmp_path, monkeypatch, capsys):
    """Also where ExecuTorch is not installed; `test_manual_commands.py` runs the whole demo."""

    def no_export(*_):
        raise ExportError("not here")

    monkeypatch.setattr(demo, "export_pair", no_export)
    monkeypatch.setattr(demo, "_PICTURES", 4)
    assert demo.main(["--output", str(tmp_path), "--seed", "77"]) == 0
    output = capsys.readouterr().out
    assert "no .pte: not here" in output
    check_accuracy(output, "PyTorch")
    assert Image.open(tmp_path / "demo.png").size[0] > 1000


class Found:
    """Poses of a picture."""

    def __init__(self, keypoints):
        self.keypoints = np.array(keypoints, np.float32)

    def __len__(self):
        return len(self.keypoints)


@pytest.mark.parametrize(
    ("exported", "status", "line"),
    [
        ([Found([[1, 2]]), Found([[5, 6.25]])], 0, "the two agree within 0.2500 pixel"),
        ([Found([[1, 2]]), Found([])], 1, "the two found different people"),
    ],
)
def test_comparison(exported, status, line, tmp_path, monkeypatch, capsys):
    """An export that finds other people is an error."""
    results = [[Found([[1, 2]]), Found([[5, 6]])], exported]
    monkeypatch.setattr(demo, "_draw_scenes", lambda seed: [])
    monkeypatch.setattr(demo, "_build", lambda *_: None)
    monkeypatch.setattr(demo, "_estimate", lambda *_: results.pop(0))
    monkeypatch.setattr(demo, "_contact_sheet", lambda *_: np.zeros((4, 4, 3), np.uint8))
    monkeypatch.setattr(demo, "export_pair", lambda *arguments: arguments[2].write_bytes(b"exported"))
    assert demo.main(["--output", str(tmp_path)]) == status
    assert line in capsys.readouterr().out


def test_help(capsys):
    with pytest.raises(SystemExit):
        demo.main(["--help"])
    assert "whole way" in capsys.readouterr().out
