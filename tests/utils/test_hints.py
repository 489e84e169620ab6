"""Commands in messages work in the shell of the user who reads them."""

import importlib.util
import re
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT

from tinypose_torch.utils.hints import MARKER, STAMP, command_line, install_hint


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


def test_extras_of_a_clone(clone, monkeypatch):
    """run.py installs them whether or not the environment is active: it knows the pinned versions."""
    assert install_hint("export") == "python run.py --extras export"
    monkeypatch.setenv("PATH", f"{clone / '.venv/bin'}:/usr/bin")
    assert install_hint("export") == "python run.py --extras export"


def test_extras_of_another_environment(clone, monkeypatch):
    (clone / "run.py").unlink()
    python = clone / ".venv/bin/python"
    assert install_hint("track") == f"{python} -m pip install 'tinypose-torch[track]'"
    monkeypatch.setenv("PATH", f"{python.parent}:/usr/bin")
    assert install_hint("track") == "pip install 'tinypose-torch[track]'"


def test_extras_of_an_environment_without_pip(clone, monkeypatch):
    (clone / "run.py").unlink()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert install_hint("track") == f"uv pip install --python {clone / '.venv/bin/python'} 'tinypose-torch[track]'"


def test_extras_that_messages_name_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    sources = [file for folder in ("tinypose_torch", "train", "convert") for file in (ROOT / folder).rglob("*.py")]
    named = {name for file in sources for name in re.findall(r"install_hint\(['\"](\w+)['\"]\)", file.read_text())}
    assert {"export", "train", "hrnet"} <= named <= set(extras)


def test_no_message_advises_another_command():
    """Messages take commands from ``hints``; model cards are read on other machines."""
    for folder in ("tinypose_torch", "train", "convert"):
        for file in (ROOT / folder).rglob("*.py"):
            assert file.name in ("hints.py", "hub.py") or "pip install" not in file.read_text(), file
