import json
import os
import runpy
import sys

import pytest
from conftest import ROOT

from tinypose_torch.cli import main
from tinypose_torch.timing.backends import BACKENDS, Backend
from tinypose_torch.timing.processes import TimedProcess, TimingError


@pytest.mark.slow
def test_table_plot_and_json(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(BACKENDS, "executorch", Backend("executorch", ("no_such_package",)))
    wanted = ["eager", "torchscript", "executorch", "executorch int8"]
    path, plot = tmp_path / "figures.json", tmp_path / "figures.svg"
    options = ["--backend", *wanted, "--threads", "1", "--rounds", "2", "--json", str(path), "--plot", str(plot)]
    assert main(["benchmark", "tinypose_128x96", *options]) == 0
    rows = json.loads(path.read_text())
    assert {row["backend"] for row in rows} == {"eager", "torchscript"}
    assert all(0 < row["median_ms"] <= row["p90_ms"] for row in rows)
    assert all(4e6 < row["bytes"] < 2e7 for row in rows)
    if sys.platform == "linux":
        assert all(row["bytes"] < row["peak_memory"] < 4e9 for row in rows)
    assert [row["median_ms"] for row in rows] == sorted(row["median_ms"] for row in rows)
    output = capsys.readouterr()
    assert "memory MB" in output.out
    assert "executorch: no_such_package not installed, left out" in output.err
    assert "executorch int8: needs --images" in output.err
    assert "tinypose_128x96, 1 thread" in plot.read_text()


@pytest.mark.slow
def test_end_to_end(tmp_path):
    path = tmp_path / "figures.json"
    options = ["--backend", "torchscript", "--threads", "1", "--rounds", "2", "--end-to-end", "--json", str(path)]
    assert main(["benchmark", *options]) == 0
    rows = [row for row in json.loads(path.read_text()) if "people" in row]
    assert [row["people"] for row in rows] == [1, 6]
    assert all(row["pose_ms"] < row["networks_ms"] < 1.5 * row["median_ms"] for row in rows)
    assert rows[1]["pose_ms"] > 2 * rows[0]["pose_ms"]


def broken():
    raise RuntimeError("of glass\nand more")


def mortal():
    return lambda: os._exit(3)


@pytest.mark.parametrize(("prepare", "message"), [(broken, "RuntimeError: of glass$"), (mortal, "status 3")])
def test_what_cannot_be_timed(prepare, message):
    process = TimedProcess(prepare)
    with pytest.raises(TimingError, match=message):
        process.wait_until_ready()
    process.close()


@pytest.mark.parametrize(
    "arguments",
    [
        ["tinypose_12"],
        ["--rounds", "0"],
        ["--threads", "0"],
        ["--backend", "onx"],
        ["--backend", "openvino"],
        ["--weights", "nowhere"],
        ["--plot", "x.doc"],
        ["--end-to-end", "tinypose_128x96"],
    ],
)
def test_wrong_arguments(arguments, capsys):
    assert main(["benchmark", *arguments]) == 2
    assert capsys.readouterr().err


def test_split_of_a_prediction_within_its_time(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["prediction.py", "--rounds", "100000", "--seconds", "0", "--threads", "1"])
    runpy.run_path(str(ROOT / "benchmarks/prediction.py"), run_name="__main__")
    output = capsys.readouterr()
    assert "median of 1 rounds" in output.out
    assert "DARK of 64 people" in output.out
    assert "building picodet_s_320_lcnet_pedestrian" in output.err, "progress before the first table"
