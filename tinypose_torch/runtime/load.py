"""A model and what to run it with, by name or by file."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from tinypose_torch.checkpoints.catalogue import get_entry, list_models
from tinypose_torch.defaults import BACKENDS
from tinypose_torch.factory import create_model
from tinypose_torch.runtime.base import Runner
from tinypose_torch.runtime.eager import EagerRunner, check_device
from tinypose_torch.runtime.exported import backend_of, open_exported
from tinypose_torch.threads import check_threads


def load_runner(
    model: str,
    weights: str | os.PathLike[str] | None = None,
    backend: str = "auto",
    device: str = "cpu",
    threads: int | None = None,
    task: str | None = None,
) -> Runner:
    """A model, ready to run.

    Args:
        model: Name in the catalogue. An exported file says itself what it is; of one that holds two networks, the name
            chooses that of its task.
        weights: Weight file, or exported file; the official weights unless given.
        backend: ``"auto"`` runs exported files with what they were made for, everything else eagerly.
        threads: Inference threads; the backend's own default unless given. PyTorch and ExecuTorch have one number of
            threads for the whole process.
        task: ``"pose"`` or ``"detection"``: which network of a file that holds both; the model's unless given.

    Raises:
        ValueError: Unknown backend or device, a backend that does not run this file, or too few or many threads.
    """
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; choose one of {', '.join(BACKENDS)}")
    check_device(device)
    check_threads(threads)
    needed = backend_of(Path(weights)) if weights is not None else None
    if threads is not None and needed in (None, "torchscript"):
        torch.set_num_threads(threads)
    if needed is not None:
        assert weights is not None
        if backend not in ("auto", needed):
            raise ValueError(f"{weights} is run by backend {needed!r}, not {backend!r}")
        if task is None and model in list_models():
            task = get_entry(model).task
        return open_exported(Path(weights), needed, device, threads, task)
    if backend not in ("auto", "eager"):
        raise ValueError(
            f"backend {backend!r} runs exported files; make one with: tinypose export {model} --format ..."
        )
    return EagerRunner(create_model(model, pretrained=weights is None, weights=weights), device)
