import json

import pytest

from tinypose_torch.cli import main
from tinypose_torch.commands import benchmark


def test_table_and_json(tmp_path, capsys, monkeypatch):
    forms = {
        "torchscript": ("torchscript", "fp32", ()),
        "executorch": ("executorch", "fp32", ("no_such_package",)),
        "executorch int8": ("executorch", "int8", ()),
    }
    monkeypatch.setattr(benchmark, "_FORMS", forms)
    monkeypatch.setattr(benchmark.torch, "set_num_threads", lambda _: None)
    path = tmp_path / "figures.json"
    assert main(["benchmark", "tinypose_128x96", "--threads", "1", "--rounds", "2", "--json", str(path)]) == 0
    rows = json.loads(path.read_text())
    assert {row["backend"] for row in rows} == {"eager", "torchscript"}
    assert all(0 < row["median_ms"] <= row["p90_ms"] for row in rows)
    assert [row["median_ms"] for row in rows] == sorted(row["median_ms"] for row in rows)
    output = capsys.readouterr()
    assert "backend" in output.out
    assert "executorch: not installed, left out" in output.err
    assert "executorch int8: needs --images" in output.err


def test_only_some_backends(tmp_path):
    path = tmp_path / "figures.json"
    options = ["--backend", "torchscript", "--threads", "1", "--rounds", "1", "--json", str(path)]
    assert main(["benchmark", *options, "tinypose_128x96"]) == 0
    assert [row["backend"] for row in json.loads(path.read_text())] == ["torchscript"]


@pytest.mark.parametrize(
    "arguments", [["tinypose_12"], ["--rounds", "0"], ["--backend", "onx"], ["--weights", "nowhere"]]
)
def test_wrong_arguments(arguments, capsys):
    assert main(["benchmark", *arguments]) == 2
    assert capsys.readouterr().err
