"""Commands that are killed at random moments leave whole files or none, and can be repeated."""

import importlib.util
import subprocess
import sys

import pytest
from conftest import ROOT

KILLS = {
    "photos": 50,
    "video": 50,
    "torchscript": 17,
    "onnx": 17,
    "executorch": 17,
    "convert": 50,
    "download": 50,
    "connections": 50,
}
PACKAGES = {"onnx": "onnxscript", "executorch": "executorch"}


def kill(scenario, kills, folder):
    if scenario in PACKAGES and importlib.util.find_spec(PACKAGES[scenario]) is None:
        pytest.skip(f"{PACKAGES[scenario]} is not installed")
    command = [sys.executable, "-W", "ignore", str(ROOT / "tests/kills.py"), scenario, str(folder), str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr[-4000:]
    print(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", KILLS)
def test_killed(scenario, tmp_path):
    kill(scenario, KILLS[scenario], tmp_path)
