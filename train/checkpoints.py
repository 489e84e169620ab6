"""When a run saves its checkpoint, and how it stops on Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO

from tinypose_torch.utils.atomic import replacing

FIRST_SECONDS = 300.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):  # noqa: N818  an order of the user, not an error
    """The run was stopped by a signal, after its checkpoint was saved.

    Attributes:
        signum: The signal that this process received; SIGINT where only another process received one.
        step: Optimizer steps that the checkpoint holds.
    """

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(f"stopped after step {step}")
        self.signum, self.step = signum, step


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints that appear only when they are complete, also when the process is killed."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        with replacing(Path(path)) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)  # to a path, PyTorch's error would not say that the disc is full


class SaveLast(Callback):
    """Saves the last state of a run, regularly and when a signal asks the run to stop.

    The first checkpoint is saved after the first evaluation, or after five minutes. Where an evaluation follows a step,
    the checkpoint is saved after the evaluation, so that a resumed run neither repeats nor skips it. The last step is
    always evaluated.

    Args:
        path: Of the checkpoint.
        every: Optimizer steps between checkpoints.
        last_step: Optimizer step after which the run ends.
        evaluates: Whether the run evaluates every ``trainer.val_check_batch`` batches.
    """

    def __init__(self, path: Path, every: int, last_step: int, evaluates: bool) -> None:
        self.path, self.every, self.last_step, self.evaluates = path, every, last_step, evaluates
        self._signum: int | None = None
        self._saved = False
        self._started = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.monotonic()
        self._signum = signal.SIGTERM if trainer.received_sigterm else None
        if threading.current_thread() is threading.main_thread():
            for signum in _SIGNALS:  # Lightning has set its own handlers by now
                if signal.getsignal(signum) != signal.SIG_IGN:
                    signal.signal(signum, self._request_stop)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        batches = trainer.fit_loop.total_batch_idx + 1
        if batches % trainer.accumulate_grad_batches:
            return
        step = trainer.global_step
        if self.evaluates and step == self.last_step:
            trainer.should_stop = True  # Lightning evaluates before it stops
            return
        if self.evaluates and batches % int(trainer.val_check_batch or 1) == 0:
            return  # `on_validation_end` follows
        self._save_or_stop(trainer, due=step % self.every == 0 or step == self.last_step)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step = trainer.global_step
        self._save_or_stop(trainer, due=not self._saved or step % self.every == 0 or step == self.last_step)

    def _save_or_stop(self, trainer: Trainer, due: bool) -> None:
        late = not self._saved and time.monotonic() - self._started >= FIRST_SECONDS
        # Processes may see signals and the time differently, but save and stop together.
        wanted = trainer.strategy.reduce_boolean_decision(late or self._signum is not None, all=False)
        if not (due or wanted):
            return
        stop = trainer.strategy.reduce_boolean_decision(self._signum is not None, all=False)
        trainer.save_checkpoint(self.path, weights_only=False)
        self._saved = True
        for logger in trainer.loggers:
            logger.save()
        if stop:
            raise Interrupted(self._signum or signal.SIGINT, trainer.global_step)

    def _request_stop(self, signum: int, frame: Any) -> None:
        if self._signum is not None:
            raise KeyboardInterrupt
        self._signum = signum
        if int(os.environ.get("LOCAL_RANK", 0)) == 0:
            os.write(2, b"\nstopping after this step or evaluation; Ctrl-C again stops at once\n")


@contextmanager
def restored_signals() -> Iterator[None]:
    """Restore the signal handlers of before when the block ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.getsignal(signum) for signum in _SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
