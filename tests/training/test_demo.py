"""The README's first command, but for the export, which tests/export has."""

import pytest
from PIL import Image

from tinypose_torch.export import ExportError
from train import demo


def test_finds_rendered_people(tmp_path, monkeypatch, capsys):
    def no_export(*_):
        raise ExportError("not here")

    monkeypatch.setattr(demo, "export_pair", no_export)
    assert demo.main(["--output", str(tmp_path), "--seed", "77"]) == 0
    output = capsys.readouterr().out
    assert "no .pte: not here" in output
    found, drawn, right, visible = (
        int(word) for word in output.replace("\n", " ").split("PyTorch:")[1].split() if word.isdigit()
    )
    assert found >= 0.8 * drawn > 0
    assert right >= 0.8 * visible > 0
    assert Image.open(tmp_path / "demo.png").size[0] > 1000


def test_help(capsys):
    with pytest.raises(SystemExit):
        demo.main(["--help"])
    assert "whole way" in capsys.readouterr().out
