"""A whole run: prepare, train, keep what came out."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import platform
import time
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import (
    Callback,
    LearningRateMonitor,
    ModelCheckpoint,
    TQDMProgressBar,
)
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from tinypose_torch.atomic import replacing
from tinypose_torch.checkpoints.catalogue import get_entry
from tinypose_torch.checkpoints.entries import ModelEntry
from tinypose_torch.checkpoints.files import describe_changes, save_safetensors
from tinypose_torch.factory import entry_of
from train.averaging import Averaging
from train.bottom_up import bottom_up_job
from train.config import Config, ConfigError, flat_items
from train.detection import detection_job
from train.module import Job, Training, base_rate
from train.order import BatchOrder, batches_per_epoch, evaluation_loader, training_loader
from train.pose import pose_job
from train.resuming import steps_done

LAST = "last.ckpt"
WEIGHTS = "weights.safetensors"
RECEIPT = "receipt.json"
CONFIGURATION = "config.json"
# What a resumed run may do otherwise than the run that it continues.
_MAY_CHANGE = frozenset(
    (
        *("output", "resume", "epochs", "max_steps", "evaluate_every", "checkpoint_every", "flip_test"),
        *("accelerator", "compile", "data.images", "data.val", "data.val_images", "data.detections", "data.workers"),
    )
)
JOBS = {"pose": pose_job, "bottom-up pose": bottom_up_job, "detection": detection_job}
_PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed", "64": "64-true"}


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints that appear only when they are complete, also when the process is killed."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        with replacing(Path(path)) as temporary:
            torch.save(checkpoint, temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())


class KeepBest(Callback):
    """Writes the weights as a plain file whenever an evaluation is the best so far, averaged ones where they are kept.

    Attributes:
        best: Accuracy of what was written; ``None`` before.
    """

    def __init__(self, output: Path, metric: str, averaging: Averaging | None) -> None:
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
            write_weights(averaged or pl_module.network, entry_of(pl_module.network), self.output / WEIGHTS)


class Progress(TQDMProgressBar):
    """One bar for the whole run, which knows its end and where it was resumed.

    Args:
        batches: Of the run.
        done: Before it was resumed.
    """

    def __init__(self, batches: int, done: int) -> None:
        super().__init__()
        self.batches, self.done = batches, done

    def init_train_tqdm(self) -> Tqdm:
        bar = super().init_train_tqdm()
        bar.total, bar.initial, bar.n = self.batches, self.done, self.done
        return bar

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description("training")


def run(config: Config) -> dict[str, Any]:
    """Train as configured; returns the receipt, which lies beside the weights, too.

    Raises:
        ConfigError, DatasetError, CheckpointError: Before anything is trained.
    """
    output = Path(config.output)
    job = JOBS[get_entry(config.model).task](config)
    resumed_from = _check_output(output, config)
    world = config.devices * config.nodes
    steps_per_epoch = math.ceil(batches_per_epoch(job.count, config.batch_size * world) / config.accumulate)
    total_steps = min(config.max_steps or 10**12, config.epochs * steps_per_epoch)
    training = job.training(steps_per_epoch, total_steps)
    averaging = Averaging(config.ema, zero_start=config.ema_zero_start) if config.ema is not None else None
    keep_best = KeepBest(output, training.metric, averaging) if job.evaluation is not None else None
    done = _steps_done(resumed_from) * config.accumulate
    progress = Progress(total_steps * config.accumulate, done)
    callbacks = [callback for callback in (averaging, keep_best, progress) if callback is not None]
    trainer = _trainer(config, callbacks, steps_per_epoch, total_steps)
    _say_what_happens(config, job, steps_per_epoch, total_steps, resumed_from)
    started = time.monotonic()
    rank = trainer.global_rank
    order = BatchOrder(job.count, config.batch_size, total_steps * config.accumulate, done, config.seed, rank, world)
    loader = training_loader(job.samples, order, config.data.workers, job.collate)
    val_loader = None
    if job.evaluation is not None:
        at_a_time = job.evaluation_batch or config.batch_size
        val_loader = evaluation_loader(job.evaluation, at_a_time, config.data.workers, rank, world)
    trainer.fit(training, loader, val_loader, ckpt_path=resumed_from, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    return _finish(config, training, trainer, keep_best, time.monotonic() - started)


@rank_zero_only
def write_weights(network: nn.Module, entry: ModelEntry, path: Path) -> None:
    """The network's tensors with its description: `create_model` and every command take the file."""
    save_safetensors(network, path, describe_changes(entry))


def _check_output(output: Path, config: Config) -> Path | None:
    """The checkpoint to resume from."""
    last, description = output / LAST, output / CONFIGURATION
    if not last.is_file():
        with replacing(description) as temporary:
            temporary.write_text(json.dumps(config.model_dump(mode="json"), indent=2) + "\n")
        return None
    if not config.resume:
        raise ConfigError(f"{output} holds a run already; resume=true continues it, output=... starts another one")
    begun = Config.model_validate_json(description.read_text())
    changed = [
        f"{key}={old!r}, now {new!r}"
        for (key, old), (_, new) in zip(flat_items(begun), flat_items(config), strict=True)
        if old != new and key not in _MAY_CHANGE
    ]
    if changed:
        raise ConfigError(f"{output} was begun with another configuration: {'; '.join(changed)}")
    return last


def _steps_done(checkpoint: Path | None) -> int:
    return steps_done(checkpoint) if checkpoint is not None else 0


def _trainer(config: Config, own: Sequence[Callback], steps_per_epoch: int, total_steps: int) -> Trainer:
    """Everything is one epoch to the trainer: the order of samples counts the real ones."""
    output = Path(config.output)
    checkpoints = ModelCheckpoint(
        output,
        filename="last",
        save_top_k=1,
        every_n_train_steps=min(config.checkpoint_every, total_steps),
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )
    evaluates = any(isinstance(callback, KeepBest) for callback in own)
    evaluate_every = max(1, round(config.evaluate_every * steps_per_epoch)) * config.accumulate
    evaluate_every = min(evaluate_every, total_steps * config.accumulate)
    world = config.devices * config.nodes
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
        logger=[CSVLogger(output, "logs", ""), TensorBoardLogger(output, "tensorboard", "")],
        callbacks=[LearningRateMonitor("step"), *own, checkpoints],
        plugins=[AtomicCheckpoints()],
        use_distributed_sampler=False,
        enable_model_summary=False,
        default_root_dir=output,
    )


@rank_zero_only
def _say_what_happens(
    config: Config, job: Job, steps_per_epoch: int, total_steps: int, resumed_from: Path | None
) -> None:
    world = config.devices * config.nodes
    joint = config.batch_size * config.accumulate * world
    rows = [
        *job.rows,
        ("weights", config.weights or "random"),
        ("steps", f"{total_steps} of {joint} samples, {steps_per_epoch} per epoch"),
        ("rate", f"{base_rate(config, world):.3g}"),
        ("output", config.output),
    ]
    if resumed_from:
        rows.append(("resuming", f"after step {_steps_done(resumed_from)}"))
    for name, value in rows:
        print(f"{name:>11}  {value}", flush=True)


def _finish(
    config: Config, training: Training, trainer: Trainer, keep_best: KeepBest | None, seconds: float
) -> dict[str, Any]:
    path = Path(config.output) / WEIGHTS
    if keep_best is None or keep_best.best is None:
        write_weights(training.network, entry_of(training.network), path)
    receipt = {
        "weights": WEIGHTS,
        "sha256": "",
        "accuracy": keep_best.best if keep_best else None,
        "steps": trainer.global_step,
        "seconds": round(seconds),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {trainer.accelerator.__class__.__name__}",
        "versions": {name: version(name) for name in ("tinypose-torch", "torch", "lightning", "albumentations")},
        "configuration": config.model_dump(mode="json"),
    }
    _write_receipt(receipt, path)
    return receipt


@rank_zero_only
def _write_receipt(receipt: dict[str, Any], weights: Path) -> None:
    receipt["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    with replacing(weights.with_name(RECEIPT)) as temporary:
        temporary.write_text(json.dumps(receipt, indent=2) + "\n")


def quiet_lightning() -> None:
    """Lightning's remarks about itself."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", module="torch.distributed")
