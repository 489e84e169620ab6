"""Commands that messages advise, in the form that works where they are printed."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys
from pathlib import Path

STAMP = "tinypose-setup.json"  # written by run.py into the environment that it set up
MARKER = "TINYPOSE_RUN"  # set by run.py for what it starts


def command_line(command: str) -> str:
    """The shell command that runs `command` in the environment of this process.

    It is prefixed by `python run.py` in a clone set up by it, unless that environment is active in the user's shell.
    """
    launcher = _launcher()
    return command if launcher is None or _is_active() else f"{launcher} {command}"


def print_next(*commands: list[str]) -> None:
    """Print the commands that usually follow, each given as its words."""
    print("next:")
    for words in commands:
        print(f"  {command_line(shlex.join(words))}")


def install_hint(extra: str) -> str:
    """The shell command that installs an extra, such as ``"export"``, into the environment of this process.

    `run.py --extras` in a clone set up by it, which knows the pinned versions; elsewhere pip, or uv if there is no pip.
    """
    launcher = _launcher()
    if launcher is not None:
        return f"{launcher} --extras {extra}"
    return f"{_installer()} 'tinypose-torch[{extra}]'"


def check_matplotlib(option: str) -> None:
    """Refuse an option for charts where matplotlib is not installed.

    Raises:
        ValueError: It is not; the message says how to install it.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ValueError(f"{option} needs matplotlib; {install_hint('plot')}") from None


def packages_hint(*packages: str) -> str:
    """The shell command that installs packages of others into the environment of this process."""
    return f"{_installer()} {shlex.join(packages)}"


def _installer() -> str:
    if importlib.util.find_spec("pip") is None:
        return f"uv pip install --python {shlex.quote(sys.executable)}"
    return "pip install" if _is_active() else f"{shlex.quote(sys.executable)} -m pip install"


def _launcher() -> str | None:
    """The command that starts run.py, if it set this environment up."""
    environment = Path(sys.prefix)
    launcher = environment.parent / "run.py"
    if not (environment / STAMP).is_file() or not launcher.is_file():
        return None
    path = "run.py" if launcher.parent.samefile(Path.cwd()) else shlex.quote(str(launcher))
    return f"python {path}"


def _is_active() -> bool:
    """Whether the user's shell finds the programs of this environment."""
    if MARKER in os.environ:  # run.py extended the search path for this process only
        return False
    found = shutil.which("python")
    return found is not None and Path(found).parent == Path(sys.executable).parent
