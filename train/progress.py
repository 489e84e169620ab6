"""What a run shows while it trains: a bar on a terminal, a few lines in a log file."""

from __future__ import annotations

import sys
import time
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from tqdm import tqdm

from train.lightning_module import Training

LINE_SECONDS = 60.0
_FIRST_LINE_SECONDS = 10.0
_BAR_SECONDS = 0.5  # between looks at the loss, which wait for the accelerator


class Progress(Callback):
    """Writes progress to stderr, in one process only.

    On a terminal it is one bar, and a line per evaluation; elsewhere a line per evaluation, and otherwise per minute.

    Args:
        total_steps: Optimizer steps of the run.
        step_samples: Samples per optimizer step, of all processes.
    """

    def __init__(self, total_steps: int, step_samples: int) -> None:
        self.total_steps, self.step_samples = total_steps, step_samples
        self._bar: tqdm[Any] | None = None
        self._started = self._line_at = self._bar_at = self._validation_started = 0.0
        self._interval_started = self._evaluation_seconds = 0.0
        self._first_step = self._interval_step = self._step = self._loss_count = 0
        self._loss: Tensor | float = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: Training) -> None:  # type: ignore[override]
        now = time.monotonic()
        self._started, self._first_step = now, trainer.global_step
        self._line_at = now + _FIRST_LINE_SECONDS
        self._forget_interval(trainer.global_step)
        self._bar_at = now
        if trainer.is_global_zero and sys.stderr.isatty():
            self._bar = tqdm(
                total=self.total_steps, initial=trainer.global_step, desc="training", unit="step", dynamic_ncols=True
            )

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._loss = self._loss + trainer.callback_metrics["loss"].detach()
        self._loss_count += 1
        step = trainer.global_step
        if step == self._step or not trainer.is_global_zero:
            return
        self._step = step
        now = time.monotonic()
        if self._bar is not None:
            if now >= self._bar_at:
                self._bar_at = now + _BAR_SECONDS
                self._bar.set_postfix_str(f"loss {float(trainer.callback_metrics['loss']):.3g}", refresh=False)
            self._bar.update(step - self._bar.n)
        elif now >= self._line_at:
            self._write(self._training_line(trainer))

    def on_validation_start(self, trainer: Trainer, pl_module: Training) -> None:  # type: ignore[override]
        self._validation_started = time.monotonic()

    def on_validation_batch_end(self, trainer: Trainer, *arguments: Any) -> None:
        batch = arguments[3]
        if self._bar is not None:
            self._bar.set_description_str(f"evaluating {batch + 1}/{int(trainer.num_val_batches[0])}")

    def on_validation_end(self, trainer: Trainer, pl_module: Training) -> None:  # type: ignore[override]
        self._evaluation_seconds += time.monotonic() - self._validation_started
        if trainer.is_global_zero:
            accuracy = ", ".join(f"{name} {value:.3f}" for name, value in list(pl_module.accuracy.items())[:3])
            self._write(f"{self._training_line(trainer)}; {accuracy}")
        if self._bar is not None:
            self._bar.set_description_str("training")

    def on_train_end(self, trainer: Trainer, pl_module: Training) -> None:  # type: ignore[override]
        if trainer.is_global_zero and self._loss_count and self._bar is None:
            self._write(self._training_line(trainer))
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: Training, exception: BaseException) -> None:  # type: ignore[override]
        self._close()

    def _training_line(self, trainer: Trainer) -> str:
        """Step, mean loss and speed since the last line, learning rate, time left; begins a new interval."""
        now, step = time.monotonic(), trainer.global_step
        seconds = now - self._interval_started - self._evaluation_seconds
        parts = [f"step {step}/{self.total_steps}: loss {float(self._loss) / max(1, self._loss_count):.3g}"]
        parts.append(f"lr {trainer.optimizers[0].param_groups[0]['lr']:.3g}")
        parts.append(f"{(step - self._interval_step) * self.step_samples / max(seconds, 1e-3):.3g} samples/s")
        if step < self.total_steps:
            per_step = (now - self._started) / max(1, step - self._first_step)
            parts.append(f"{format_duration(per_step * (self.total_steps - step))} left")
        self._forget_interval(step)
        return ", ".join(parts)

    def _forget_interval(self, step: int) -> None:
        self._interval_started, self._interval_step, self._step = time.monotonic(), step, step
        self._evaluation_seconds, self._loss, self._loss_count = 0.0, 0.0, 0

    def _write(self, line: str) -> None:
        self._line_at = time.monotonic() + LINE_SECONDS
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def format_duration(seconds: float) -> str:
    """A duration in its two largest units, such as ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
