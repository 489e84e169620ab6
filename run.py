#!/usr/bin/env python3
"""Set up the environment on the first call, then run a command in it: `python run.py [--extras NAMES] COMMAND ...`.

`python run.py tinypose predict photo.jpg` installs what prediction needs, `python run.py python -m train.demo` what the
demo needs, and so on; other commands, such as `python run.py pytest`, install what development needs. `--extras export,track` installs these extras of pyproject.toml as well,
and does nothing else if no command follows. COMMAND is a program of the environment; others are refused.
Versions and hashes come from constraints.txt. run.py uses uv where it is installed, else pip, and needs nothing but
Python itself.
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
from typing import Any

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
STAMP = ENVIRONMENT / "tinypose-setup.json"
CONSTRAINTS = ROOT / "constraints.txt"
OLDEST_PYTHON = (3, 11)
DEVELOPMENT_EXTRAS = ("dev", "export", "paddle", "train")
# By the first words of a command; development's extras for all others.
EXTRAS = {
    ("tinypose",): (),
    ("python", "-m", "convert"): (),
    ("python", "-m", "train.demo"): ("executorch",),
    ("python", "-m", "train.synthetic"): (),
    ("python", "-m", "train"): ("train",),
}


def main(arguments: list[str]) -> int:
    """Set up, then run; returns the command's exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    if sys.version_info < OLDEST_PYTHON:
        print(f"Python {sys.version.split()[0]} is too old; 3.11 or newer is needed", file=sys.stderr)
        return 2
    try:
        command = prepare(arguments)
    except subprocess.CalledProcessError as error:
        failed = " ".join(map(str, error.cmd))
        remedy = "; install uv, or the system's package python3-venv" if "ensurepip" in failed else ""
        print(f"set-up failed: {failed}{remedy}", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f"run.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("run.py: interrupted; the next call continues the set-up", file=sys.stderr)
        return 130
    return start(command, activated()) if command else 0


def start(command: list[str], environment: dict[str, str]) -> int:
    """Run a program; returns its exit status, unless it takes this process's place."""
    if os.name == "posix":  # so that it receives Ctrl-C and SIGTERM itself
        os.execve(command[0], command, environment)  # noqa: S606  no shell is wanted
    return subprocess.run(command, env=environment, check=False).returncode


def prepare(arguments: list[str]) -> list[str]:
    """Set up what the arguments need.

    Returns:
        The command to run; empty if only extras are to be installed.
    """
    extras, arguments = split_extras(arguments)
    if arguments and (not arguments[0] or arguments[0].startswith("-")):
        raise ValueError(f"{arguments[0]!r} is no command; see python run.py --help")
    set_up((*extras, *extras_of(arguments)))
    return [*find_command(arguments[0]), *arguments[1:]] if arguments else []


def extras_of(command: list[str]) -> tuple[str, ...]:
    """The extras that a command needs."""
    words = ("python", *command[1:]) if command[:1] == ["python3"] else tuple(command)
    for prefix, extras in EXTRAS.items():
        if words[: len(prefix)] == prefix:
            return extras
    return DEVELOPMENT_EXTRAS if command else ()


def activated() -> dict[str, str]:
    """The environment variables of this process, changed as the environment's activation would."""
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
        "VIRTUAL_ENV": str(ENVIRONMENT),
    }
    if os.environ.get("VIRTUAL_ENV") != str(ENVIRONMENT):
        # Commands in messages then begin with `python run.py`: see tinypose_torch/utils/hints.py.
        environment["TINYPOSE_RUN"] = "1"
    return environment


def split_extras(arguments: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """The names after `--extras`, and the command that follows.

    Raises:
        ValueError: Names are missing, or are not extras of pyproject.toml.
    """
    option, _, names = arguments[0].partition("=")
    if option != "--extras":
        return (), arguments
    rest = arguments[1:]
    if not names and rest:
        names, rest = rest[0], rest[1:]
    import tomllib  # new in Python 3.11, and older ones must reach the message above

    known = sorted(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    extras = tuple(name for name in names.split(",") if name)
    if not extras or not set(extras) <= set(known):
        raise ValueError(f"--extras {names!r}; expected names joined by commas, of {', '.join(known)}")
    return extras, rest


def find_command(name: str) -> list[str]:
    """The program of the environment with this name, and the arguments that it needs first.

    Programs elsewhere, such as another Python's pip, would read or change another environment.

    Raises:
        ValueError: The environment has no such program.
    """
    program = shutil.which(name, path=str(BIN)) if Path(name).name == name else None
    if name in ("python", "python3"):
        return [str(PYTHON)]
    if name not in ("pip", "pip3"):
        if program is None:
            raise ValueError(f"no command {name!r} in {BIN}; run other programs without run.py")
        return [program]
    if program is not None:
        return [str(PYTHON), "-m", "pip"]
    uv = shutil.which("uv")  # it makes environments without pip
    if uv is None:
        raise ValueError(f"no pip in {ENVIRONMENT}, which uv made; install uv, or delete {ENVIRONMENT}")
    return [uv, "pip"]


def set_up(extras: tuple[str, ...]) -> None:
    """Install the project and its pinned dependencies, unless that has been done."""
    sources = [CONSTRAINTS, ROOT / "pyproject.toml"]
    key = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    done = read_stamp()
    if done.get("key") == key and set(extras) <= set(done.get("extras", [])):
        return
    print(f"setting up {ENVIRONMENT} (once; PyTorch is large) ...", file=sys.stderr)
    wanted = sorted({*extras, *done.get("extras", [])})
    project = f"{ROOT}[{','.join(wanted)}]" if wanted else str(ROOT)
    uv = shutil.which("uv")
    if uv:
        install_with_uv(uv, project)
    else:
        install_with_pip(project)
    STAMP.write_text(json.dumps({"key": key, "extras": wanted}))


def read_stamp() -> dict[str, Any]:
    """What the last set-up wrote; nothing if there was none, or if its file is damaged."""
    try:
        done = json.loads(STAMP.read_bytes())
    except (OSError, ValueError):
        return {}
    return done if isinstance(done, dict) else {}


def install_with_uv(uv: str, project: str) -> None:
    """uv checks the hashes that the constraints file gives."""
    if not PYTHON.exists():
        run(uv, "venv", "--quiet", "--python", sys.executable, ENVIRONMENT)
    compiling = ("--compile-bytecode",) if must_compile() else ()
    run(uv, "pip", "install", "--quiet", "--python", PYTHON, *compiling, "-c", CONSTRAINTS, "-e", project)


def install_with_pip(project: str) -> None:
    """pip checks hashes only of requirements that are pinned one by one: resolve first, then install the pins."""
    make_environment()
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
    compiling = () if must_compile() else ("--no-compile",)  # saves 40 seconds
    run(*pip, *compiling, "--require-hashes", "--no-deps", "-r", pinned)
    run(*pip, "--no-deps", "--no-build-isolation", "-e", ROOT)


def must_compile() -> bool:
    """Whether to compile all packages now instead of each module at its first import.

    Where Python may write no bytecode (`PYTHONDONTWRITEBYTECODE`, as in many containers), every start would compile
    PyTorch anew, which takes two seconds.
    """
    return bool(sys.flags.dont_write_bytecode)


def make_environment() -> None:
    """An environment with pip; uv leaves it out, and so does a creation that failed half-way."""
    if not PYTHON.exists() or shutil.which("pip", path=str(BIN)) is None:
        venv.create(ENVIRONMENT, with_pip=True)


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
