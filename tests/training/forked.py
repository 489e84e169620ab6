"""Training runs in processes that are forked from one that has imported everything and computed nothing.

A start of Python and its imports take several times as long as a run of one step.
"""

import os
import sys
from pathlib import Path

import train.check
import train.report
from tinypose_torch import create_model
from train.__main__ import main
from train.config import load_config
from train.live_report import LiveReport
from train.preflight import LAST, WEIGHTS
from train.resuming import read_checkpoint
from train.trainer import write_weights

assert train.check
assert write_weights
train.report.draw_pictures = lambda *_: None
LiveReport._write = lambda *_: None


def start(arguments, log, before=lambda: None):
    """Start a run; returns the process.

    Args:
        log: File for its standard error.
        before: Called in the process before the run starts.
    """
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        before()
        status = main(arguments)
    finally:
        sys.stderr.flush()
        os._exit(status)


def wait(child):
    """The exit status of a process; negative for the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def steps_of(run, arguments):
    """Steps of the run's checkpoint, 0 without one. Checkpoint and weights must be whole."""
    run = Path(run)
    if (run / WEIGHTS).exists():
        create_model("tinypose_128x96", weights=run / WEIGHTS)
    config = load_config(arguments[0], arguments[1:])
    return read_checkpoint(run / LAST, config).steps if (run / LAST).exists() else 0
