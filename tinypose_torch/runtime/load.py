"""A model and what to run it with, by name or by file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from tinypose_torch.checkpoints.hub import separate_address
from tinypose_torch.checkpoints.identity import ModelSource, check_same_model, check_task, resolve_model
from tinypose_torch.factory import load_model
from tinypose_torch.models.registry import get_config
from tinypose_torch.runtime.base import Runner
from tinypose_torch.runtime.eager import EagerRunner, check_device
from tinypose_torch.runtime.exported import backend_of, open_exported
from tinypose_torch.runtime.formats import check_backend
from tinypose_torch.utils.defaults import AUTO
from tinypose_torch.utils.hints import command_line
from tinypose_torch.utils.threads import check_threads


def load_runner(
    model: str | None = AUTO,
    weights: str | os.PathLike[str] | None = None,
    backend: str = "auto",
    device: str = "cpu",
    threads: int | None = None,
    task: str | Sequence[str] | None = None,
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
        task: What the model must be for, and which network of a file that holds two: ``"pose"``, ``"bottom-up pose"``,
            ``"detection"``, or several, of which the first decides the default; the model's unless given.
        usage: How the caller spells the model's name, for error messages.

    Raises:
        ValueError: Unknown backend or device, a backend that does not run this file, a model for another task, or too few
            or many threads.
        UnknownModelError, CheckpointError, DownloadError: See `create_model`.
    """
    check_backend(backend)
    check_device(device)
    check_threads(threads)
    tasks = (task,) if isinstance(task, str) else tuple(task or ())
    model, weights = separate_address(model, weights)
    needed = backend_of(Path(weights)) if weights is not None else None
    if needed is not None:
        assert weights is not None
        if backend not in ("auto", needed):
            raise ValueError(f"{weights} is run by backend {needed!r}, not {backend!r}")
        wanted = get_config(str(model)).task if not tasks and model not in (None, AUTO) else next(iter(tasks), None)
        runner = open_exported(Path(weights), needed, device, threads, wanted)
        found = runner.metadata.config.name
        check_task(ModelSource(found, Path(weights)), tasks)
        check_same_model(found, model, Path(weights), usage)
        return runner
    source = resolve_model(model, weights, tasks, usage)
    if backend not in ("auto", "eager"):
        export = command_line(f"tinypose export {source.name} --format ...")
        raise ValueError(f"backend {backend!r} runs exported files; make one with: {export}")
    if threads is not None:
        torch.set_num_threads(threads)
    return EagerRunner(load_model(source), device)
