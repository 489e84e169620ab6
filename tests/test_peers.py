"""`python -m benchmarks.peers`: the package's files beside other runtimes."""

import json
import re

import pytest
from conftest import REAL, ROOT

from benchmarks.peers.__main__ import main
from benchmarks.peers.runtimes import peers

PEERS = peers(REAL / "exported")


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_no_other_runtime_in_the_package():
    imported = set()
    for path in (ROOT / "tinypose_torch").rglob("*.py"):
        imported.update(re.findall(r"^ *(?:import|from) (\w+)", path.read_text(), re.M))
    assert "executorch" in imported
    assert not imported & {"paddle", "openvino", "ncnn", "pnnx"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "paddel"], "there are 'eager', 'torchscript', .*'paddle'"),
        (["tinypose_12"], "tinypose_12"),
        (["--rounds", "0"], "--rounds 0"),
        (["--paddle-model", "nowhere"], "--paddle-model nowhere; expected a folder of deployed models"),
    ],
)
def test_wrong_arguments(arguments, message, capsys):
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("peers: error: ")
    assert error.count("\n") == 1
    assert re.search(message, error)


@pytest.mark.slow
@pytest.mark.needs_reference
@pytest.mark.parametrize("backend", ["paddle", "ncnn", "openvino"])
def test_a_row_beside_eager(backend, tmp_path, capsys):
    if PEERS[backend].missing:
        pytest.skip(f"{backend} is not installed")
    path = tmp_path / "figures.json"
    wanted = ["--backend", "eager", backend, "--threads", 1, "--rounds", 1, "--json", path]
    assert run("tinypose_128x96", *wanted, "--paddle-model", REAL / "exported") == 0
    rows = json.loads(path.read_text())
    assert {row["backend"] for row in rows} == {"eager", backend}
    assert all(row["bytes"] > 2e6 for row in rows)
    assert PEERS[backend].version in capsys.readouterr().out


@pytest.mark.slow
def test_paddle_without_its_models(tmp_path, capsys):
    if PEERS["paddle"].missing:
        pytest.skip("paddle is not installed")
    common = ["tinypose_128x96", "--backend", "eager", "paddle", "--threads", 1, "--rounds", 1]
    assert run(*common) == 0
    assert "paddle: needs --paddle-model" in capsys.readouterr().err
    assert run(*common, "--paddle-model", tmp_path) == 0
    assert f"paddle: no deployed model in {tmp_path}/tinypose_128x96; left out" in capsys.readouterr().err
