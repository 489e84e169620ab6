"""Runs that are stopped by Ctrl-C or SIGTERM."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from tinypose_torch.utils.messages import one_line
from train.__main__ import main
from train.lightning_module import Training
from train.logs import read_log
from train.pose import PoseTraining
from train.preflight import LAST

from .conftest import differing, free_port, step_of, trained


@pytest.fixture(autouse=True)
def heeded_interrupts():
    """Ctrl-C has an effect although the tests may have been started in the background, where it has none."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _signalled(step, signum, times=1):
    """A step during which the process receives a signal, so many times."""
    usual, sent = Training.training_step, []

    def training_step(self, batch, index):
        while self.global_step == step and len(sent) < times:
            sent.append(signum)
            os.kill(os.getpid(), signum)
        return usual(self, batch, index)

    return training_step


@pytest.mark.parametrize(
    ("options", "signum", "status"),
    [
        pytest.param([], signal.SIGINT, 130, id="Ctrl-C"),
        pytest.param(
            ["ema=0.9", "accumulate=2"],
            signal.SIGTERM,
            143,
            id="SIGTERM, averaged, accumulated",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_stopped_by_a_signal(arguments, tmp_path, options, signum, status, monkeypatch, capsys):
    """Saves the step in which it comes, says how to continue, and loses nothing."""
    arguments = [*arguments, *options, "max_steps=3"]
    assert main([*arguments, f"output={tmp_path / 'whole'}"]) == 0
    parts = [*arguments, f"output={tmp_path / 'parts'}"]
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patched:
        patched.setattr(Training, "training_step", _signalled(1, signum))
        assert main(parts) == status
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert step_of(tmp_path / "parts") == 2
    error = capsys.readouterr().err
    assert f"stopped after step 2; continue from {tmp_path / 'parts' / LAST} with:" in error
    command = shlex.split(error.splitlines()[-1])
    assert command[-1] == "resume=true"
    assert main(command[command.index("train") + 1 :]) == 0
    assert differing(trained(tmp_path / "whole"), trained(tmp_path / "parts")) == []


@pytest.mark.slow
def test_stopped_during_an_evaluation(arguments, people, tmp_path, monkeypatch, capsys):
    """The evaluation is finished first, so that the resumed run neither repeats nor skips it; the log has everything."""
    arguments = [*arguments, f"data.val={people / 'val.json'}", "evaluate_every=0.12", "max_steps=5", "ema=0.9"]
    assert main([*arguments, f"output={tmp_path / 'whole'}"]) == 0
    parts = [*arguments, f"output={tmp_path / 'parts'}"]
    usual = PoseTraining.find

    def find(self, batch):
        monkeypatch.setattr(PoseTraining, "find", usual)
        os.kill(os.getpid(), signal.SIGINT)
        return usual(self, batch)

    monkeypatch.setattr(PoseTraining, "find", find)
    assert main(parts) == 130
    assert "step 2/5: loss" in capsys.readouterr().err
    assert step_of(tmp_path / "parts") == 2
    assert main([*parts, "resume=true"]) == 0
    assert differing(trained(tmp_path / "whole"), trained(tmp_path / "parts")) == []
    assert read_log(tmp_path / "parts") == read_log(tmp_path / "whole")
    receipts = [json.loads((tmp_path / name / "receipt.json").read_text()) for name in ("whole", "parts")]
    assert receipts[0]["accuracy"] == receipts[1]["accuracy"]
    assert [row["step"] for row in read_log(tmp_path / "parts") if "AP" in row] == [1, 3, 4], "also after the last step"


def test_second_signal_stops_at_once(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Training, "training_step", _signalled(1, signal.SIGINT, times=2))
    assert main([*arguments, "max_steps=3", "checkpoint_every=1"]) == 130
    assert step_of(tmp_path / "run") == 1
    assert "train: interrupted; continue from" in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["_parse", "load_config", "check_inputs", "check_devices", "_prepare"])
def test_interrupted_before_training(stage, arguments, tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"train.__main__.{stage}", interrupted)
    assert main(arguments) == 130
    assert capsys.readouterr().err == "train: interrupted before training began\n"
    assert not (tmp_path / "run").exists()


def test_interrupted_while_importing(arguments):
    code = "import sys; sys.modules['train.config'] = None; import builtins; usual = builtins.__import__\n"
    code += "def importing(name, *rest):\n"
    code += "    if name == 'train.config': raise KeyboardInterrupt\n"
    code += "    return usual(name, *rest)\n"
    code += "builtins.__import__ = importing; import train.__main__"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "train: interrupted before training began\n")


@pytest.mark.parametrize(
    "error",
    [
        ImportError("no such module"),
        *(
            pytest.param(error, marks=pytest.mark.slow)
            for error in (OSError(5, "disk failed"), ValueError("x"), KeyError("x"), MemoryError(), RuntimeError("x"))
        ),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_during_training(error, arguments, monkeypatch, capsys):
    """One line and status 1; 2 is for errors before training."""

    def training_step(*_):
        raise error

    monkeypatch.setattr(Training, "training_step", training_step)
    assert main([*arguments, "max_steps=1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"train: error: {one_line(error)}"


@pytest.mark.slow
def test_two_processes_stop_together(arguments, tmp_path):
    """Only the first process is told to stop; the other one stops after the same step."""
    options = ["batch_size=2", "devices=2", "max_steps=100000", "epochs=100000", "checkpoint_every=1"]
    command = [sys.executable, "-m", "train", *arguments, *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_PORT": str(free_port())}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        while not (tmp_path / "run" / LAST).is_file():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)  # until both have closed stderr
    finally:
        process.kill()
    assert process.returncode == 130, error
    assert error.count("stopped after step") == 1
    assert f"stopped after step {step_of(tmp_path / 'run')}; continue from" in error
    assert "Traceback" not in error
