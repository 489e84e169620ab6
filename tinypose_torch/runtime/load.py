"""A model and what to run it with, by name or by file."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from tinypose_torch.checkpoints.hub import separate_address
from tinypose_torch.checkpoints.identity import ModelSource, check_same_model, check_task, resolve_model
from tinypose_torch.factory import load_model
from tinypose_torch.models.registry import get_config
from tinypose_torch.runtime.base import Runner
from tinypose_torch.runtime.eager import EagerRunner, check_device
from tinypose_torch.runtime.exported import backend_of, open_exported
from tinypose_torch.utils.defaults import AUTO, BACKENDS
from tinypose_torch.utils.hints import command_line
from tinypose_torch.utils.threads import check_threads


def load_runner(
    model: str | None = AUTO,
    weights: str | os.PathLike[str] | None = None,
    backend: str = "auto",
    device: str = "cpu",
    threads: int | None = None,
    task: str | None = None,
    usage: str = "model=NAME",
) -> Runner:
    """A model, ready to run.

    Args:
        model: Name in the catalogue, or an address such as ``"hf-hub:OWNER/NAME"``; ``"auto"`` for the model that the weights say they hold, and for the default of
            the task without weights. See `resolve_model`.
        weights: Weight file, exported file, or tag of a release; the official weights unless given.
        backend: ``"auto"`` runs exported files with what they were made for, everything else eagerly.
        threads: Inference threads; the backend's own default unless given. PyTorch and ExecuTorch have one number of
            threads for the whole process.
        task: ``"pose"``, ``"bottom-up pose"`` or ``"detection"``: what the model must be for, and which network of a
            file that holds two; the model's unless given.
        usage: How the caller spells the model's name, for error messages.

    Raises:
        ValueError: Unknown backend or device, a backend that does not run this file, a model for another task, or too few
            or many threads.
        UnknownModelError, CheckpointError, DownloadError: See `create_model`.
    """
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; choose one of {', '.join(BACKENDS)}")
    check_device(device)
    check_threads(threads)
    model, weights = separate_address(model, weights)
    tasks = (task,) if task is not None else ()
    needed = backend_of(Path(weights)) if weights is not None else None
    if threads is not None and needed in (None, "torchscript"):
        torch.set_num_threads(threads)
    if needed is not None:
        assert weights is not None
        if backend not in ("auto", needed):
            raise ValueError(f"{weights} is run by backend {needed!r}, not {backend!r}")
        if task is None and model not in (None, AUTO):
            task = get_config(str(model)).task
        runner = open_exported(Path(weights), needed, device, threads, task)
        found = runner.metadata.config.name
        check_task(ModelSource(found, Path(weights)), tasks)
        check_same_model(found, model, Path(weights), usage)
        return runner
    source = resolve_model(model, weights, tasks, usage)
    if backend not in ("auto", "eager"):
        export = command_line(f"tinypose export {source.name} --format ...")
        raise ValueError(f"backend {backend!r} runs exported files; make one with: {export}")
    return EagerRunner(load_model(source), device)
