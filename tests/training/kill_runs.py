"""Kills short runs at random moments: `kill_runs.py RUN KILLS ARGUMENTS ...`, where RUN is their output folder.

Half of the moments are random times, the others just before one of the run's changes of files. After every kill the
checkpoint and the weights are whole or absent. A killed run is continued from its checkpoint by the next one; a finished
one is removed.
"""

import os
import random
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

from tests.training.forked import start, steps_of, wait

RUN, KILLS, ARGUMENTS = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
LOG = RUN.with_name("log")
CHANGES = ("open", "os.rename", "os.remove", "os.mkdir", "os.truncate")


def killed_before_change(number):
    """A hook that kills its process just before so many changes in the output folder."""
    counts = [0]

    def count(event, details):
        if event in CHANGES and details and str(RUN) in str(details[0]):
            counts[0] += 1
            if counts[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)

    return lambda: sys.addaudithook(count)


def run_and_kill(resume, seconds, change):
    """The exit status of a run that is killed after so many seconds, or just before one of its changes."""
    before = killed_before_change(change) if change else lambda: None
    child = start([*ARGUMENTS, f"resume={resume}"], LOG, before)
    if not change:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)  # a finished child is not yet awaited, so that its number is its own
    return wait(child)


def finish(resume):
    assert wait(start([*ARGUMENTS, f"resume={resume}"], LOG)) == 0, LOG.read_text()


if __name__ == "__main__":
    assert threading.active_count() == 1, "forked processes would wait for threads that they lack"
    generator = random.Random(0)
    began = time.monotonic()
    finish(resume=False)
    whole = time.monotonic() - began
    last_step = steps_of(RUN, ARGUMENTS)
    shutil.rmtree(RUN)
    kills = reached = 0
    while kills < KILLS:
        by_change = kills % 2 == 0
        status = run_and_kill(reached > 0, generator.uniform(0, whole), generator.randrange(1, 40) if by_change else 0)
        assert status in (0, -signal.SIGKILL), LOG.read_text()
        assert not LOG.read_text().count("error"), LOG.read_text()
        steps = steps_of(RUN, ARGUMENTS)
        assert steps >= reached, "the checkpoint is an older one"
        kills += status != 0
        if kills % 10 == 0 and status:
            finish(resume=steps > 0)
            assert steps_of(RUN, ARGUMENTS) == last_step
            assert not [path for path in RUN.rglob("*") if "tinypose-tmp" in path.name], "a killed run's file is left"
            status = 0
        if status == 0:
            shutil.rmtree(RUN)
        reached = steps if status else 0
        print("killed" if status else "finished", steps, flush=True)
