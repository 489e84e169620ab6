"""`report.html` of a run: while it trains and at its end; and validation images for TensorBoard."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from tinypose_torch.cli import build_parser
from tinypose_torch.cli.evaluate import evaluate_network
from tinypose_torch.evaluation.report.charts import line_chart
from tinypose_torch.evaluation.report.keypoints import accuracy_section, keypoint_sections
from tinypose_torch.evaluation.report.page import ImagePair, Section, facts_table, image_pairs, write_page
from tinypose_torch.models.config import config_of
from tinypose_torch.utils.hints import check_matplotlib
from tinypose_torch.utils.messages import one_line
from train.config import Config
from train.curves import is_wide, read_curves
from train.lightning_module import Job, Training
from train.logs import EventLog
from train.predictions import prediction_pairs, prediction_sheet
from train.preflight import REPORT, WEIGHTS

if TYPE_CHECKING:
    from train.trainer import KeepBest, Run


class LiveReport(Callback):
    """Writes a page after every evaluation but the last, which a browser loads again every few seconds.

    Its images, which TensorBoard gets too, show the predictions of the best weights so far. An error ends the report
    and not the run.

    Args:
        keep_best: Comes before this callback, so that its weight file is that of the evaluation.
    """

    def __init__(self, config: Config, job: Job, keep_best: KeepBest) -> None:
        self.config, self.job, self.keep_best = config, job, keep_best
        self._pairs: list[ImagePair] = []
        self._step: int | None = None
        self._failed = False

    def on_validation_end(self, trainer: Trainer, pl_module: Training) -> None:  # type: ignore[override]
        last = trainer.global_step >= pl_module.total_steps
        if last or self._failed or trainer.sanity_checking or not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            logger.save()
        try:
            with torch.random.fork_rng(devices=[]):  # a network that is built draws its first weights
                self._write(trainer, pl_module)
        except Exception as error:  # the run is worth more
            self._failed = True
            print(f"no {REPORT} while the run goes on: {one_line(error)}", file=sys.stderr)

    def _write(self, trainer: Trainer, training: Training) -> None:
        check_matplotlib(REPORT)
        best = (self.keep_best.best or {}).get("step")
        if best != self._step:
            device = str(trainer.strategy.root_device)
            weights = Path(self.config.output) / WEIGHTS
            self._pairs, self._step = prediction_pairs(self.config, self.job, weights, device), int(best or 0)
            for logger in trainer.loggers:
                if isinstance(logger, EventLog):
                    logger.log_image("validation", prediction_sheet(self._pairs, self.job), trainer.global_step)
        facts = {"step": f"{trainer.global_step} of {training.total_steps}", **_configured(self.config)}
        sections = [Section("Run", facts_table(facts)), accuracy_section(training.accuracy)]
        sections += curve_sections(self.config, training.metric)
        note = f"The best weights so far, of step {self._step}: annotated on the left, predicted on the right."
        sections.append(Section("Validation images", image_pairs(self._pairs), note, wide=True))
        path = Path(self.config.output) / REPORT
        write_page(path, f"Training of {self.config.model}", sections, refresh=True)


def write_run_report(run: Run, receipt: dict[str, Any], evaluate: list[str] | None) -> Path:
    """Write the report of a finished run.

    Args:
        evaluate: The words of the command that evaluates its weights; ``None`` without validation data.

    Raises:
        ValueError, OSError: matplotlib is not installed, the weights cannot be evaluated again, or the page cannot be
            written.
    """
    check_matplotlib(REPORT)
    config, accuracy = run.config, receipt["accuracy"] or {}
    device = str(run.trainer.strategy.root_device)
    facts = {"steps": str(receipt["steps"]), "seconds": str(receipt["seconds"]), **_configured(config)}
    sections = [Section("Run", facts_table(facts))]
    if accuracy:
        sections.append(accuracy_section({name: value for name, value in accuracy.items() if name != "step"}))
    sections += curve_sections(config, run.training.metric)
    found = None
    if evaluate is not None and not config_of(run.job.network).gives_boxes:
        options = build_parser().parse_args([*evaluate[1:], "--device", device, "--backend", "eager"])
        with contextlib.redirect_stdout(io.StringIO()):  # the run has said what it does not use
            found = evaluate_network(options)[1].keypoints
    if found is not None:
        sections += keypoint_sections(found)
    else:
        pairs = prediction_pairs(config, run.job, run.weights, device)
        note = "Annotated on the left, predicted on the right."
        sections.append(Section("Images", image_pairs(pairs), note, wide=True))
    path = Path(config.output) / REPORT
    write_page(path, f"Training of {config.model}", sections)
    return path


def curve_sections(config: Config, metric: str) -> list[Section]:
    """A chart per logged quantity."""
    curves = read_curves(Path(config.output), metric)
    return [
        Section(
            title[0].upper() + title[1:], line_chart({title: points}, "optimizer steps", log=is_wide(title, points))
        )
        for title, points in curves.items()
    ]


def _configured(config: Config) -> dict[str, str]:
    """What the run was started with."""
    data = config.data
    facts = {
        "model": config.model,
        "starts from": config.weights or "random weights",
        "training data": data.train,
        "validation data": data.val,
        "output": config.output,
    }
    return {name: str(value) for name, value in facts.items() if value is not None}
