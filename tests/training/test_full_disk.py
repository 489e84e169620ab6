"""A full disk: one line that names the file, and a run that can be continued."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from tinypose_torch.utils.atomic import output_errors, replacing
from train.__main__ import main
from train.checkpoints import AtomicCheckpoints
from train.logs import MetricsLog, read_log
from train.preflight import LAST

from .conftest import step_of

FULL = Path("/dev/full")
needs_dev_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")


@needs_dev_full
def test_the_file_is_named():
    """Also where a library replaces the error by another."""
    state = {"x": torch.zeros(100_000)}
    path = Path("some/last.ckpt")
    with (
        pytest.raises(OSError, match=f"{path} cannot be written: the disc is full"),
        output_errors(path),
        FULL.open("wb") as file,
    ):
        torch.save(state, file)


@needs_dev_full
def test_earlier_files_stay(tmp_path):
    (tmp_path / "file").write_text("before")

    def write():
        with replacing(tmp_path / "file") as temporary:
            temporary.unlink()
            temporary.symlink_to(FULL)
            temporary.write_text("after")

    with pytest.raises(OSError, match=r"file cannot be written: the disc is full"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "before"


def test_other_errors_stay(tmp_path):
    with pytest.raises(OSError, match="No such file"), output_errors(tmp_path / "x"):
        (tmp_path / "gone").read_text()


@needs_dev_full
@pytest.mark.slow
def test_a_run_whose_disk_is_full(arguments, tmp_path, monkeypatch, capsys):
    """The second checkpoint does not fit. The first one is continued."""
    arguments = [*arguments, "max_steps=3", "checkpoint_every=1"]
    usual, saved = AtomicCheckpoints.save_checkpoint, []

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        saved.append(path)
        if len(saved) == 2:
            path.with_name(f".last.{os.getpid()}.tinypose-tmp.ckpt").symlink_to(FULL)
        usual(self, checkpoint, path, storage_options)

    monkeypatch.setattr(AtomicCheckpoints, "save_checkpoint", save_checkpoint)
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    last = tmp_path / "run" / LAST
    assert line.startswith(f"train: error: {last} cannot be written: the disc is full")
    assert line.endswith("; make space, then continue the run with resume=true")
    assert step_of(tmp_path / "run") == 1
    assert main([*arguments, "resume=true"]) == 0
    assert step_of(tmp_path / "run") == 3


@pytest.mark.parametrize("end", ["1.5e", "x,1\n", "\0\0\0\0", "\xff\n", ",,,,\n", '"'])
def test_damaged_logs(end, tmp_path):
    """A crash may leave half a row; the others stay."""
    log = MetricsLog(tmp_path, 0)
    for step in range(3):
        log.log_metrics({"loss": step / 4}, step)
    log.save()
    with log.path.open("a", encoding="latin-1") as file:
        file.write(end)
    rows = [{"loss": 0.0, "step": 0.0}, {"loss": 0.25, "step": 1.0}]
    assert read_log(tmp_path)[:2] == rows
    resumed = MetricsLog(tmp_path, 2)
    resumed.log_metrics({"AP": 0.5}, 2)
    resumed.save()
    assert read_log(tmp_path) == [*rows, {"AP": 0.5, "step": 2.0}]


@pytest.mark.slow
def test_full_at_any_moment(arguments, people, tmp_path):
    """24 sizes of a file system, from a page to almost enough: see fill_disks.py."""
    (tmp_path / "fill").mkdir()
    options = [*arguments, f"data.val={people / 'val.json'}", "batch_size=2", "max_steps=2", "checkpoint_every=1"]
    command = [sys.executable, "-m", "tests.training.fill_disks", str(tmp_path / "fill"), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout
    assert done.stdout.count("full ") >= 20, done.stdout
