"""One run at a time in an output folder, and what killed runs leave in it."""

import signal
import subprocess
import sys

import pytest
from conftest import ROOT

from tinypose_torch.utils.atomic import replacing, temporaries_of
from train.__main__ import main
from train.config import ConfigError
from train.locking import OutputLock
from train.preflight import LAST, WEIGHTS

# Holds the lock, leaves half a checkpoint and half a weight file, and waits.
_HOLDS = """
import sys
from pathlib import Path
from tinypose_torch.utils.atomic import replacing
from train.locking import OutputLock
folder = Path(sys.argv[1])
with OutputLock(folder) as lock:
    lock.acquire()
    with replacing(folder / "last.ckpt") as one, replacing(folder / "weights.safetensors") as two:
        one.write_text("half")
        two.write_text("half")
        print("holding", flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of ``run``."""
    command = [sys.executable, "-c", _HOLDS, tmp_path / "run"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "holding\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("options", [[], ["resume=true"]], ids=["new", "resume"])
def test_a_second_run_ends_at_once(options, holder, arguments, tmp_path, capsys):
    """Before the checkpoint is looked for and the data are read; nothing in the folder changes."""
    before = sorted((tmp_path / "run").iterdir())
    assert main([*arguments, *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"train: error: {tmp_path / 'run'}: another run (process {holder.pid} on ")
    assert "stop it, or pass another output=..." in line
    assert sorted((tmp_path / "run").iterdir()) == before


@pytest.mark.slow
def test_a_check_needs_no_lock(holder, arguments, tmp_path):
    assert main([*arguments, "--check"]) == 0
    assert (tmp_path / "run/samples.png").is_file()


def test_a_killed_run_leaves_no_lock(holder, arguments, tmp_path):
    """Its temporary files are removed, those of others are kept."""
    run = tmp_path / "run"
    others = [
        run / ".mine.123.tmp.ckpt",
        run / ".last.abc.tinypose-tmp.ckpt",
        run / ".last.123.tinypose-tmp.ckpt.bak",
        run / "model.pte",
    ]
    for path in others:
        path.write_text("kept")
    (run / ".last.77.tinypose-tmp.ckpt").symlink_to(run / "model.pte")
    assert [len(temporaries_of(run / name)) for name in (LAST, WEIGHTS)] == [1, 1]
    holder.kill()
    holder.wait()
    assert main([*arguments, "max_steps=1"]) == 0
    assert [temporaries_of(run / name) for name in (LAST, WEIGHTS)] == [[], []]
    assert [path.read_text() for path in others] == ["kept"] * len(others)


def test_a_run_that_fails_releases_the_lock(arguments, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    for _ in range(2):
        assert main([*arguments, "freeze=[nothing]"]) == 2
        assert "nothing begins with" in capsys.readouterr().err


def test_a_run_that_ends_in_the_meantime(arguments, tmp_path, monkeypatch, capsys):
    """Two runs begin in a new folder; one is done before the other one locks it."""
    usual = OutputLock.acquire

    def acquire(self):
        monkeypatch.setattr(OutputLock, "acquire", usual)
        self.folder.mkdir()
        (self.folder / LAST).touch()
        usual(self)

    monkeypatch.setattr(OutputLock, "acquire", acquire)
    assert main([*arguments, "max_steps=1"]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert (tmp_path / "run" / LAST).read_bytes() == b""


def test_only_the_first_process_of_a_run_locks(holder, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="another run"), OutputLock(tmp_path / "run"):
        pass
    for variable in ("RANK", "LOCAL_RANK"):
        with monkeypatch.context() as patched:
            patched.setenv(variable, "1")
            with OutputLock(tmp_path / "run") as lock:
                lock.acquire()


# Locks a folder and forks a process that waits until its standard input is closed.
_FORKS = """
import os, signal, sys
from pathlib import Path
from train.locking import OutputLock
lock = OutputLock(Path(sys.argv[1]))
lock.acquire()
if os.fork() == 0:
    print("forked", flush=True)
    sys.stdin.read()
else:
    signal.pause()
"""


def test_forked_processes_do_not_hold_the_lock(tmp_path):
    """Those that load samples outlive a killed run by some seconds."""
    command = [sys.executable, "-c", _FORKS, tmp_path / "run"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "forked\n"
        run.send_signal(signal.SIGKILL)
        run.wait()
        with OutputLock(tmp_path / "run"):
            pass


def test_unusable_lock_files(tmp_path):
    (tmp_path / ".lock").mkdir()
    with pytest.raises(OSError, match=r"\.lock"), OutputLock(tmp_path):
        pass


def test_temporaries_of_long_names(tmp_path):
    path = tmp_path / f"{'x' * 230}.ckpt"
    with replacing(path) as temporary:
        temporary.touch()
        assert temporaries_of(path) == [temporary]
    assert temporaries_of(path) == []
