"""run.py starts commands as if they had been started directly."""

import os
import signal
import subprocess
import sys

import pytest
from conftest import ROOT

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
