"""The numbers that a run logs, as CSV and for TensorBoard; kept when it is resumed, also after a crash."""

from __future__ import annotations

import csv
import importlib.util
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from tinypose_torch.utils.atomic import as_disc_full, output_errors, replacing
from train.preflight import METRICS

TENSORBOARD = "tensorboard"
_SAVE_EVERY = 100  # steps
Row = dict[str, float]


def read_log(output: Path) -> list[Row]:
    """The rows of a run's log: ``step``, counted from 0, and what was logged in that step.

    Rows that a crash or a power failure left incomplete are skipped.
    """
    path = output / METRICS
    if not path.is_file():
        return []
    lines = path.read_text(errors="replace").replace("\0", "").splitlines()
    rows = [_parse(row) for row in csv.DictReader(lines)]
    return [row for row in rows if "step" in row]


def _parse(row: Mapping[str | None, Any]) -> Row:
    """The numbers of a row; none where one of them is damaged."""
    try:
        return {name: float(value) for name, value in row.items() if name and value}
    except ValueError:
        return {}


class MetricsLog(Logger):
    """Writes what a run logs to a CSV file, a row per call.

    Args:
        output: The run's folder.
        steps: Optimizer steps that the checkpoint holds. Later rows of the file are left out, since the resumed run
            repeats those steps.
    """

    def __init__(self, output: Path, steps: int) -> None:
        super().__init__()
        self.output, self.path = output, output / METRICS
        self._pending = [{**row, "step": int(row["step"])} for row in read_log(output) if row["step"] < steps]
        self._columns: list[str] = []

    @property
    def name(self) -> str:
        return "logs"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Nothing: the receipt has the configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._pending.append({**metrics, "step": step or 0})
        if self._pending[-1]["step"] % _SAVE_EVERY == _SAVE_EVERY - 1:
            self.save()

    @rank_zero_only
    def save(self) -> None:
        """Append the new rows; write the file anew where they have new columns.

        Raises:
            OSError: The file cannot be written.
        """
        rows, columns = self._pending, sorted(set(self._columns).union(*self._pending))
        if not rows:
            return
        with output_errors(self.path):
            if columns == self._columns:
                with self.path.open("a", newline="") as file:
                    csv.DictWriter(file, columns).writerows(rows)
            else:
                rows = [*(read_log(self.output) if self._columns else []), *rows]
                with replacing(self.path) as temporary, temporary.open("w", newline="") as file:
                    writer = csv.DictWriter(file, columns)
                    writer.writeheader()
                    writer.writerows(rows)
        self._columns, self._pending = columns, []

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Save; a run that failed reports its own error."""
        try:
            self.save()
        except OSError:
            if status == "success":
                raise


def event_logs(output: Path) -> list[EventLog]:
    """TensorBoard's log; none if the package is not installed."""
    return [EventLog(output)] if importlib.util.find_spec("tensorboard") is not None else []


class EventLog(TensorBoardLogger):
    """TensorBoard's log, whose errors about a full disk name its folder."""

    def __init__(self, output: Path) -> None:
        super().__init__(output, TENSORBOARD, "")
        self.folder = output / TENSORBOARD

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The writer, which begins a file when it is made."""
        with output_errors(self.folder):
            return super().experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        with output_errors(self.folder):
            super().log_metrics(metrics, step)

    @rank_zero_only
    def log_image(self, name: str, image: np.ndarray, step: int) -> None:
        """Log an RGB image ``(H, W, 3)`` uint8."""
        with output_errors(self.folder):
            self.experiment.add_image(name, image, step, dataformats="HWC")

    @rank_zero_only
    def save(self) -> None:
        with output_errors(self.folder):
            super().save()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the files; a run that failed reports its own error."""
        try:
            with output_errors(self.folder):
                super().finalize(status)
        except OSError:
            if status == "success":
                raise


@contextmanager
def quiet_writer() -> Iterator[None]:
    """Do not print the traceback of a full disk in TensorBoard's thread, which the run's next call raises again."""
    usual = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is None or as_disc_full(arguments.exc_value, Path(TENSORBOARD)) is None:
            usual(arguments)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = usual
