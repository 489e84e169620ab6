"""The tutorial's commands run one after the other, as they stand, and say what comes next."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from manual import blocks

pytest.importorskip("lightning")
pytest.importorskip("executorch")

TUTORIAL = blocks(ROOT / "docs/tutorials/your_keypoints.md")
COMMANDS = [line for block in TUTORIAL if block.language == "bash" and not block.why for line in block.commands()]
PYTHON_COMMANDS = [command for command in COMMANDS if command.startswith(("python ", "tinypose "))]
CPP_COMMANDS = [command for command in COMMANDS if command not in PYTHON_COMMANDS]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Folder in which the tutorial was followed, and what each of its Python commands printed."""
    folder = tmp_path_factory.mktemp("tutorial")
    for name in ("weights", "deploy"):
        (folder / name).symlink_to(ROOT / name)
    return folder, {command: run(command, folder) for command in PYTHON_COMMANDS}


def run(command, folder):
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TINYPOSE_CACHE": str(folder / "cache"),
        "TINYPOSE_MIRROR": "http://127.0.0.1:9",  # nothing is downloaded
        "TINYPOSE_BACKEND": "auto",
    }
    done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    assert "Warning" not in done.stderr, f"{command}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_the_commands_lead_to_one_another(outputs):
    folder, printed = outputs
    accuracies = [
        float(text.splitlines()[3].split()[0]) for command, text in printed.items() if " evaluate " in command
    ]
    eager, exported, int8 = accuracies
    assert eager > 0.3
    assert exported == pytest.approx(eager, abs=0.002)
    assert int8 == pytest.approx(eager, abs=0.05)
    for command, text in printed.items():
        if not any(f" {last} " in command for last in ("train.synthetic", "predict")):
            assert "\nnext:\n" in text, command
    for name in (
        "output/mine/curves.png",
        "output/mine/predictions.png",
        "output/mine/report.html",
        "overlays/000009.png",
        "mine.pte.receipt.json",
    ):
        assert (folder / name).stat().st_size > 1000, name


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
@pytest.mark.skipif(not Path("/usr/include/opencv4").is_dir(), reason="needs OpenCV's headers (libopencv-dev)")
def test_the_cpp_program_finds_the_same_poses(outputs):
    folder, _ = outputs
    for command in CPP_COMMANDS:
        run(command, folder)
    predict = next(command for command in PYTHON_COMMANDS if " predict " in command)
    run(f"{predict} --json python.json", folder)
    cpp, python = (json.loads((folder / name).read_text())[0]["poses"] for name in ("poses.json", "python.json"))
    scores = [pose["score"] for pose in cpp]
    assert [pose["score"] for pose in python][: len(scores)] == pytest.approx(scores, abs=0.02)
