"""run.py runs the programs of its own environment, as if they had been started directly."""

import importlib.util
import json
import os
import signal
import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.fixture
def launcher(tmp_path, monkeypatch):
    """run.py as a module, with an environment in a temporary folder and with what it would run kept in a list."""
    spec = importlib.util.spec_from_file_location("launcher", ROOT / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    monkeypatch.setattr(module, "ENVIRONMENT", programs.parent)
    monkeypatch.setattr(module, "BIN", programs)
    monkeypatch.setattr(module, "PYTHON", programs / "python")
    monkeypatch.setattr(module, "STAMP", programs.parent / "tinypose-setup.json")
    module.installed, module.started = [], []
    monkeypatch.setattr(module, "install_with_uv", lambda uv, project: module.installed.append(project))
    module.real_install_with_pip = module.install_with_pip
    monkeypatch.setattr(module, "install_with_pip", module.installed.append)

    def start(command, environment):
        module.started.append((command, environment))
        return 7

    monkeypatch.setattr(module, "start", start)
    for name in ("python", "pytest", "tinypose"):
        make_program(programs, name)
    others = tmp_path / "others"
    others.mkdir()
    for name in ("pip", "pip3", "python3", "ruff", "pytest"):
        make_program(others, name)
    monkeypatch.setenv("PATH", str(others))
    return module


def make_program(folder, name):
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)


def test_programs_of_the_environment(launcher):
    for name, program in (("pytest", "pytest"), ("python", "python"), ("python3", "python")):
        assert launcher.main([name, "-q"]) == 7
        command, environment = launcher.started.pop()
        assert command == [str(launcher.BIN / program), "-q"]
        assert environment["VIRTUAL_ENV"] == str(launcher.ENVIRONMENT)
        assert environment["PATH"].startswith(f"{launcher.BIN}{os.pathsep}")


@pytest.mark.parametrize("name", ["ruff", "ls", "bin/pytest", "../others/pip", sys.executable])
def test_other_programs(name, launcher, capsys):
    assert launcher.main([name]) == 2
    assert f"no command {name!r} in {launcher.BIN}" in capsys.readouterr().err
    assert launcher.started == []


@pytest.mark.parametrize("name", ["pip", "pip3"])
def test_pip_is_that_of_the_environment(name, launcher, capsys):
    """It is absent where uv made the environment; the one found on the path belongs to another Python."""
    assert launcher.main([name, "list"]) == 2
    assert "no pip in" in capsys.readouterr().err
    make_program(launcher.ENVIRONMENT.parent / "others", "uv")
    assert launcher.main([name, "list"]) == 7
    command, environment = launcher.started.pop()
    assert command == [str(launcher.ENVIRONMENT.parent / "others/uv"), "pip", "list"]
    assert environment["VIRTUAL_ENV"] == str(launcher.ENVIRONMENT), "which uv installs into"
    make_program(launcher.BIN, name)
    assert launcher.main([name, "list"]) == 7
    assert launcher.started.pop()[0] == [str(launcher.PYTHON), "-m", "pip", "list"]


def test_extras(launcher):
    """They are kept: what is installed once is installed again after a change of the pinned versions."""
    assert launcher.main(["--extras", "track,plot"]) == 0
    assert launcher.main(["--extras=plot", "tinypose", "models"]) == 7
    assert launcher.installed == [f"{ROOT}[plot,track]"]
    stamp = json.loads(launcher.STAMP.read_text())
    launcher.STAMP.write_text(json.dumps({**stamp, "key": "older"}))
    assert launcher.main(["tinypose", "models"]) == 7
    assert launcher.installed == [f"{ROOT}[plot,track]"] * 2
    assert launcher.main(["pytest"]) == 7
    assert launcher.installed[-1] == f"{ROOT}[dev,export,paddle,plot,track,train]"


def test_prediction_alone(launcher):
    assert launcher.main(["tinypose", "models"]) == 7
    assert launcher.installed == [str(ROOT)]


@pytest.mark.parametrize(
    ("command", "extras"),
    [
        ("tinypose models", []),
        ("python -m convert --help", []),
        ("python -m train.demo", ["executorch"]),
        ("python3 -m train.synthetic", []),
        ("python -m train finetune", ["train"]),
        ("--extras track python -m train finetune", ["track", "train"]),
        ("python script.py", ["dev", "export", "paddle", "train"]),
        ("pytest", ["dev", "export", "paddle", "train"]),
    ],
)
def test_a_command_gets_its_extras(command, extras, launcher):
    assert launcher.main(command.split()) == 7
    assert launcher.installed == [f"{launcher.ROOT}[{','.join(extras)}]" if extras else str(launcher.ROOT)]


@pytest.mark.parametrize("arguments", [["--extras"], ["--extras="], ["--extras", "no_such"], ["--extras", "track,x"]])
def test_wrong_extras(arguments, launcher, capsys):
    assert launcher.main(arguments) == 2
    assert (
        "expected names joined by commas, of batch, dev, docs, executorch, export, hrnet, hub, paddle"
        in capsys.readouterr().err
    )
    assert launcher.installed == []


def test_environment_without_pip_gets_it(launcher, monkeypatch, capsys):
    """One that uv made, or whose creation failed because the system's Python lacks ensurepip."""

    def create(folder, with_pip):
        raise subprocess.CalledProcessError(1, ["python", "-m", "ensurepip"])

    monkeypatch.setattr(launcher.venv, "create", create)
    monkeypatch.setattr(launcher, "install_with_pip", lambda project: launcher.make_environment())
    assert launcher.main(["tinypose", "models"]) == 2
    assert "python -m ensurepip; install uv, or the system's package python3-venv" in capsys.readouterr().err
    make_program(launcher.BIN, "pip")
    assert launcher.main(["tinypose", "models"]) == 7


@pytest.mark.parametrize("compiled", [False, True])
def test_pip_compiles_only_where_imports_cannot(compiled, launcher, monkeypatch):
    commands = []

    def run(*command):
        commands.append(command)
        if "--report" in command:
            command[command.index("--report") + 1].write_text(json.dumps({"install": []}))

    make_program(launcher.BIN, "pip")
    monkeypatch.setattr(launcher, "run", run)
    monkeypatch.setattr(launcher, "must_compile", lambda: compiled)
    launcher.real_install_with_pip(str(ROOT))
    (pinned,) = [command for command in commands if "--require-hashes" in command]
    assert ("--no-compile" in pinned) is not compiled


def test_help(launcher, capsys):
    assert launcher.main(["--help"]) == 0
    assert "--extras" in capsys.readouterr().out
    assert launcher.main([]) == 2


# run.py without its set-up, in front of a command of these tests.
_RUN = "import sys, run; run.set_up = lambda extras: None; sys.exit(run.main(sys.argv[1:]))"
# Takes its time to stop on Ctrl-C, as training does.
_SLOW_TO_STOP = """
import os, sys, time
try:
    print("started", os.environ.get("TINYPOSE_RUN"), flush=True)
    time.sleep(30)
except KeyboardInterrupt:
    time.sleep(0.6)
    print("saved")
    sys.exit(130)
"""


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C reaches processes in another way")
@pytest.mark.parametrize("to_all", [True, False], ids=["to the group, as a terminal does", "to run.py alone"])
def test_interrupted_command_ends_by_itself(to_all):
    command = [sys.executable, "-c", _RUN, "python", "-c", _SLOW_TO_STOP]
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stdout.readline() == "started 1\n"
        (os.killpg if to_all else os.kill)(process.pid, signal.SIGINT)
        assert process.communicate(timeout=20)[0] == "saved\n"
    finally:
        process.kill()
    assert process.returncode == 130


def test_exit_status():
    command = [sys.executable, "-c", _RUN, "python", "-c", "raise SystemExit(3)"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 3
