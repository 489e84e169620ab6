"""Runs that are killed."""

import hashlib
import os
import subprocess
import sys

import pytest
from conftest import ROOT


def contents(folder):
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in folder.rglob("*")
        if path.name != "log" and "__pycache__" not in path.parts
    }


@pytest.mark.slow
def test_killed_at_random_moments(arguments, people, tmp_path, tmp_path_factory):
    """50 times kill -9: see kill_runs.py. Nothing outside the output folder changes."""
    arguments = [*arguments, "batch_size=2", "max_steps=3", "checkpoint_every=1", f"data.val={people / 'val.json'}"]
    (tmp_path / "home").mkdir()
    before = contents(people), contents(tmp_path), contents(ROOT / "train")
    command = [sys.executable, "-m", "tests.training.kill_runs", str(tmp_path / "run"), "50", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)}
    environment["MPLCONFIGDIR"] = str(tmp_path_factory.mktemp("matplotlib"))  # fonts are listed at the first import
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout
    words = done.stdout.split()
    assert words.count("killed") + 5 >= 50, "every tenth killed run was finished"
    assert words.count("finished") >= 5
    after = contents(people), {p: h for p, h in contents(tmp_path).items() if tmp_path / "run" not in (p, *p.parents)}
    assert (*after, contents(ROOT / "train")) == before
