#!/usr/bin/env python3
"""Set up the environment on the first call, then run a command in it: `python run.py COMMAND ...`.

`python run.py tinypose predict photo.jpg` installs what prediction needs; any other command, such as
`python run.py pytest`, what development needs. Versions and hashes come from constraints.txt. It uses uv where it is
installed, else pip, and needs nothing but Python itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
STAMP = ENVIRONMENT / "tinypose-setup.json"
CONSTRAINTS = ROOT / "constraints.txt"
OLDEST_PYTHON = (3, 11)
PREDICTION_COMMANDS = ("tinypose",)
DEVELOPMENT_EXTRAS = ("dev", "export", "paddle", "train")


def main(arguments: list[str]) -> int:
    """Set up, then run; returns the command's exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    if sys.version_info < OLDEST_PYTHON:
        print(f"Python {sys.version.split()[0]} is too old; 3.11 or newer is needed", file=sys.stderr)
        return 2
    extras = () if arguments[0] in PREDICTION_COMMANDS else DEVELOPMENT_EXTRAS
    try:
        set_up(extras)
    except subprocess.CalledProcessError as error:
        print(f"set-up failed: {' '.join(map(str, error.cmd))}", file=sys.stderr)
        return 2
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
        "VIRTUAL_ENV": str(ENVIRONMENT),
    }
    if os.environ.get("VIRTUAL_ENV") != str(ENVIRONMENT):
        # Commands in messages then begin with `python run.py`: see tinypose_torch/hints.py.
        environment["TINYPOSE_RUN"] = "1"
    command = shutil.which(arguments[0], path=environment["PATH"])
    if command is None:
        print(f"no command {arguments[0]!r} in {ENVIRONMENT}", file=sys.stderr)
        return 2
    if os.name == "posix":  # the command takes this process's place, and so receives Ctrl-C and SIGTERM itself
        os.execve(command, [command, *arguments[1:]], environment)  # noqa: S606  no shell is wanted
    return subprocess.run([command, *arguments[1:]], env=environment, check=False).returncode


def set_up(extras: tuple[str, ...]) -> None:
    """Install the project and its pinned dependencies, unless that has been done."""
    sources = [CONSTRAINTS, ROOT / "pyproject.toml"]
    key = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    done = json.loads(STAMP.read_text()) if STAMP.is_file() else {}
    if done.get("key") == key and set(extras) <= set(done.get("extras", [])):
        return
    print(f"setting up {ENVIRONMENT} (once; PyTorch is large) ...", file=sys.stderr)
    project = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
    uv = shutil.which("uv")
    if uv:
        install_with_uv(uv, project)
    else:
        install_with_pip(project)
    STAMP.write_text(json.dumps({"key": key, "extras": sorted({*extras, *done.get("extras", [])})}))


def install_with_uv(uv: str, project: str) -> None:
    """uv checks the hashes that the constraints file gives.

    It leaves compiling to the first import. Where Python may write no bytecode (`PYTHONDONTWRITEBYTECODE`, as in many
    containers) every start would compile PyTorch anew, two seconds of it; then all is compiled here, as pip does.
    """
    if not PYTHON.exists():
        run(uv, "venv", "--quiet", "--python", sys.executable, ENVIRONMENT)
    compiling = ("--compile-bytecode",) if sys.flags.dont_write_bytecode else ()
    run(uv, "pip", "install", "--quiet", "--python", PYTHON, *compiling, "-c", CONSTRAINTS, "-e", project)


def install_with_pip(project: str) -> None:
    """pip checks hashes only of requirements that are pinned one by one: resolve first, then install the pins."""
    if not PYTHON.exists():
        venv.create(ENVIRONMENT, with_pip=True)
    pip = (PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    pins = dict(read_constraints())
    plain, report, pinned = (ENVIRONMENT / name for name in ("plain.txt", "resolved.json", "pinned.txt"))
    plain.write_text("\n".join(line.split(" \\")[0] for line in CONSTRAINTS.read_text().splitlines() if "==" in line))
    run(*pip, "--dry-run", "--ignore-installed", "--report", report, "-c", plain, project)
    chosen = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    wanted = [(canonical(package["name"]), package["version"]) for package in chosen]
    pinned.write_text("\n".join(pins[pin] for pin in wanted if pin in pins))
    unpinned = [name for name, version in wanted if (name, version) not in pins and name != "tinypose-torch"]
    if unpinned:
        raise SystemExit(f"not in {CONSTRAINTS.name}: {', '.join(unpinned)}; see CONTRIBUTING.md")
    run(*pip, "--require-hashes", "--no-deps", "-r", pinned)
    run(*pip, "--no-deps", "--no-build-isolation", "-e", ROOT)


def read_constraints() -> list[tuple[tuple[str, str], str]]:
    """Every pin as ((name, version), its lines with the hashes)."""
    blocks = re.findall(
        r"^(([A-Za-z0-9._-]+)==([^ \\;]+)(?:.*\\\n)(?:    .*\n)+)", CONSTRAINTS.read_text(), re.MULTILINE
    )
    return [((canonical(name), version), block) for block, name, version in blocks]


def canonical(name: str) -> str:
    """A distribution's name as packaging tools compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def run(*command: object) -> None:
    """Run a command; its failure is an exception."""
    subprocess.run([str(part) for part in command], check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
