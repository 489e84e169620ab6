"""Commands in messages work in the shell of the user who reads them."""

import sys
from pathlib import Path

import pytest

from tinypose_torch.hints import MARKER, STAMP, command_line


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone that run.py set up, and this process as one of its environment."""
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    for name in ("python", "tinypose"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    (tmp_path / "run.py").touch()
    (tmp_path / ".venv" / STAMP).write_text("{}")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv(MARKER, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_environment_that_is_not_active(clone):
    assert command_line("tinypose models") == "python run.py tinypose models"


def test_started_by_run_py(clone, monkeypatch):
    """run.py puts the environment first on the path of the process, not of the user's shell."""
    monkeypatch.setenv("PATH", f"{clone / '.venv/bin'}:/usr/bin")
    monkeypatch.setenv(MARKER, "1")
    assert command_line("tinypose models") == "python run.py tinypose models"


def test_active_environment(clone, monkeypatch):
    monkeypatch.setenv("PATH", f"{clone / '.venv/bin'}:/usr/bin")
    assert command_line("tinypose models") == "tinypose models"


def test_another_working_folder(clone, monkeypatch):
    monkeypatch.chdir("/")
    assert command_line("tinypose models") == f"python {clone / 'run.py'} tinypose models"


@pytest.mark.parametrize("missing", ["run.py", f".venv/{STAMP}"])
def test_environment_made_otherwise(clone, missing):
    Path(clone / missing).unlink()
    assert command_line("tinypose models") == "tinypose models"
