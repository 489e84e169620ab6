"""A whole run: prepare, train, keep what came out."""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import signal
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.utilities import rank_zero_only
from torch import nn
from torch.utils.data import DataLoader

from tinypose_torch.checkpoints.files import describe_changes, hash_weights, save_safetensors
from tinypose_torch.data.pose.dataset import Sample
from tinypose_torch.models.config import ModelConfig, config_of
from tinypose_torch.models.registry import get_config
from tinypose_torch.utils.atomic import replacing
from train.bottom_up import bottom_up_job
from train.checkpoints import AtomicCheckpoints, Interrupted, SaveLast, restored_signals
from train.config import Config
from train.detection import detection_job
from train.ema import EMA
from train.lightning_module import Job, Training, describe_rate
from train.live_report import LiveReport
from train.locking import OutputLock
from train.logs import MetricsLog, event_logs, quiet_writer
from train.pose import pose_job
from train.preflight import LAST, RECEIPT, REPORT, WEIGHTS, find_checkpoint, write_configuration
from train.progress import Progress
from train.resuming import cannot_resume, read_checkpoint
from train.sampler import BatchSampler, batches_per_epoch, evaluation_loader, training_loader

JOBS = {"pose": pose_job, "bottom-up pose": bottom_up_job, "detection": detection_job}
_PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed", "64": "64-true"}


class KeepBest(Callback):
    """Writes the weights as a plain file whenever an evaluation is the best so far, averaged ones where they are kept.

    Attributes:
        best: Accuracy of what was written; ``None`` before.
    """

    def __init__(self, output: Path, metric: str, averaging: EMA | None) -> None:
        self.output, self.metric, self.averaging = output, metric, averaging
        self.best: dict[str, float] | None = None

    def state_dict(self) -> dict[str, Any]:
        if self.best is None:
            return {"best": None}
        # Numpy's scalars are not plain values, which is all that resuming reads.
        return {"best": {name: value if type(value) is int else float(value) for name, value in self.best.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_validation_end(self, trainer: Trainer, pl_module: Training) -> None:  # type: ignore[override]
        if trainer.sanity_checking or not pl_module.accuracy:
            return
        if self.best is None or pl_module.accuracy[self.metric] > self.best[self.metric]:
            self.best = {**pl_module.accuracy, "step": trainer.global_step}
            averaged = self.averaging.averaged() if self.averaging is not None else None
            write_weights(averaged or pl_module.network, config_of(pl_module.network), self.output / WEIGHTS)


@dataclass(frozen=True)
class Run:
    """A configured run, ready to train.

    Attributes:
        resumed_from: The checkpoint that it continues.
        loaders: Of the training and of the validation data.
    """

    config: Config
    job: Job
    training: Training
    trainer: Trainer
    keep_best: KeepBest | None
    resumed_from: Path | None
    loaders: tuple[DataLoader[Sample], DataLoader[Sample] | None]

    @property
    def weights(self) -> Path:
        """The weight file that the run leaves."""
        return Path(self.config.output) / WEIGHTS

    def train(self) -> dict[str, Any]:
        """Train; returns the receipt, which lies beside the weights, too.

        Raises:
            CheckpointError: The checkpoint to continue does not fit the run.
            Interrupted: A signal stopped the run; its checkpoint is saved.
            KeyboardInterrupt: The run was stopped at once.
            FloatingPointError: The loss is not finite.
        """
        started = time.monotonic()
        try:
            with restored_signals(), quiet_writer():
                self.trainer.fit(self.training, *self.loaders, ckpt_path=self.resumed_from, weights_only=True)
        except SystemExit:  # what Lightning makes of a KeyboardInterrupt
            raise KeyboardInterrupt from None
        except Interrupted:
            raise
        except Exception as error:
            if self.resumed_from is not None and self.training.restoring:
                raise cannot_resume(self.resumed_from, "its state does not fit this run", error) from error
            if self.trainer.strategy.launcher is not None:  # the other processes would wait for this one
                self.trainer.strategy.launcher.kill(getattr(signal, "SIGKILL", signal.SIGTERM))
            raise
        return self._finish(time.monotonic() - started)

    def _finish(self, seconds: float) -> dict[str, Any]:
        best = self.keep_best.best if self.keep_best else None
        if best is None:
            write_weights(self.training.network, config_of(self.training.network), self.weights)
        receipt = {
            "weights": WEIGHTS,
            "sha256": "",
            "accuracy": best,
            "steps": self.trainer.global_step,
            "seconds": round(seconds),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {self.trainer.accelerator.__class__.__name__}",
            "versions": {name: version(name) for name in ("tinypose-torch", "torch", "lightning", "albumentations")},
            "configuration": self.config.model_dump(mode="json"),
        }
        _write_receipt(receipt, self.weights)
        return receipt


def prepare(config: Config, resumed_from: Path | None, lock: OutputLock | None = None) -> Run:
    """Read and check everything that a run needs, and say what it will do.

    Args:
        resumed_from: The checkpoint to continue; see `find_checkpoint`.
        lock: Of the output folder; acquired before anything is written there.

    Raises:
        ConfigError, DatasetError, CheckpointError: Something cannot be used.
    """
    checkpoint = read_checkpoint(resumed_from, config) if resumed_from is not None else None
    job = JOBS[get_config(config.model).task](config)
    if checkpoint is not None:
        checkpoint.check_network(job.network)
    done = checkpoint.steps if checkpoint is not None else 0
    _begin(config, resumed_from, lock)
    world = config.devices * config.nodes
    steps_per_epoch = math.ceil(batches_per_epoch(job.count, config.batch_size * world) / config.accumulate)
    total_steps = min(config.max_steps or 10**12, config.epochs * steps_per_epoch)
    training = job.training(steps_per_epoch, total_steps)
    averaging = EMA(config.ema, zero_start=config.ema_zero_start) if config.ema is not None else None
    keep_best = KeepBest(Path(config.output), training.metric, averaging) if job.evaluation is not None else None
    live = LiveReport(config, job, keep_best) if keep_best is not None else None
    own = [callback for callback in (averaging, keep_best, live) if callback is not None]
    trainer = _trainer(config, own, steps_per_epoch, total_steps, done)
    _say_what_happens(config, job, steps_per_epoch, total_steps, done if resumed_from is not None else None)
    loaders = _loaders(config, job, total_steps, done, trainer.global_rank)
    return Run(config, job, training, trainer, keep_best, resumed_from, loaders)


@rank_zero_only
def _begin(config: Config, resumed_from: Path | None, lock: OutputLock | None) -> None:
    """Lock the output folder, and write the configuration of a new run."""
    if lock is not None:
        lock.acquire()
    if resumed_from is None:
        find_checkpoint(config)  # of a run that has begun and ended here in the meantime
        write_configuration(config)


def _loaders(
    config: Config, job: Job, total_steps: int, done: int, rank: int
) -> tuple[DataLoader[Sample], DataLoader[Sample] | None]:
    """Of the training and of the validation data."""
    world = config.devices * config.nodes
    batches, start = total_steps * config.accumulate, done * config.accumulate
    order = BatchSampler(job.count, config.batch_size, batches, start, config.seed, rank, world)
    loader = training_loader(job.samples, order, config.data.workers, job.collate)
    if job.evaluation is None:
        return loader, None
    at_a_time = job.evaluation_batch or config.batch_size
    return loader, evaluation_loader(job.evaluation, at_a_time, config.data.workers, rank, world)


@rank_zero_only
def write_weights(network: nn.Module, entry: ModelConfig, path: Path) -> None:
    """The network's tensors with its description: `create_model` and every command take the file."""
    save_safetensors(network, path, describe_changes(entry))


def _trainer(config: Config, own: Sequence[Callback], steps_per_epoch: int, total_steps: int, done: int) -> Trainer:
    """Everything is one epoch to the trainer: the order of samples counts the real ones."""
    output = Path(config.output)
    evaluates = any(isinstance(callback, KeepBest) for callback in own)
    evaluate_every = max(1, round(config.evaluate_every * steps_per_epoch)) * config.accumulate
    evaluate_every = min(evaluate_every, total_steps * config.accumulate)
    world = config.devices * config.nodes
    progress = Progress(total_steps, config.batch_size * config.accumulate * world)
    save_last = SaveLast(output / LAST, config.checkpoint_every, total_steps, evaluates)
    return Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        num_nodes=config.nodes,
        strategy="ddp" if world > 1 else "auto",
        precision=_PRECISIONS[config.precision],  # type: ignore[arg-type]
        max_epochs=1,
        max_steps=total_steps,
        limit_train_batches=total_steps * config.accumulate,
        accumulate_grad_batches=config.accumulate,
        gradient_clip_val=config.optimisation.clip,
        val_check_interval=evaluate_every if evaluates else None,
        check_val_every_n_epoch=None if evaluates else 1,
        num_sanity_val_steps=0,
        log_every_n_steps=min(10, total_steps),
        logger=[MetricsLog(output, done), *event_logs(output)],
        callbacks=[LearningRateMonitor("step"), *own, progress, save_last],
        plugins=[AtomicCheckpoints()],
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=output,
    )


@rank_zero_only
def _say_what_happens(
    config: Config, job: Job, steps_per_epoch: int, total_steps: int, resumed_after: int | None
) -> None:
    world = config.devices * config.nodes
    joint = config.batch_size * config.accumulate * world
    rows = [
        *job.rows,
        ("steps", f"{total_steps} of {joint} samples, {steps_per_epoch} per epoch"),
        ("rate", describe_rate(config, world)),
        ("output", config.output),
    ]
    if job.evaluation is not None:
        rows.append(("report", f"{Path(config.output) / REPORT}, from the first evaluation on"))
    if resumed_after is not None:
        rows.append(("resuming", f"after step {resumed_after}"))
    for name, value in rows:
        print(f"{name:>11}  {value}", flush=True)


@rank_zero_only
def _write_receipt(receipt: dict[str, Any], weights: Path) -> None:
    receipt["sha256"] = hash_weights(weights)
    with replacing(weights.with_name(RECEIPT)) as temporary:
        temporary.write_text(json.dumps(receipt, indent=2) + "\n")


def configure_lightning_logging() -> None:
    """Lightning's remarks about itself."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.distributed"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", module="torch.distributed")
