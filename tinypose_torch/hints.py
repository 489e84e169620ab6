"""Commands that messages advise, in the form that works where they are printed."""

from __future__ import annotations

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
    environment = Path(sys.prefix)
    launcher = environment.parent / "run.py"
    if not (environment / STAMP).is_file() or not launcher.is_file() or _is_active():
        return command
    path = "run.py" if launcher.parent.samefile(Path.cwd()) else shlex.quote(str(launcher))
    return f"python {path} {command}"


def _is_active() -> bool:
    """Whether the user's shell finds the programs of this environment."""
    if MARKER in os.environ:  # run.py extended the search path for this process only
        return False
    found = shutil.which("python")
    return found is not None and Path(found).parent == Path(sys.executable).parent
