"""Backends that run exported files. None of them builds a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tinypose_torch.checkpoints.errors import named_errors
from tinypose_torch.runtime.base import FileRunner
from tinypose_torch.runtime.checksums import read_sealed
from tinypose_torch.runtime.eager import check_device, check_fork
from tinypose_torch.runtime.formats import export_formats, find_export_format
from tinypose_torch.runtime.loading import (
    archived_description,
    load_executorch,
    load_method,
    load_onnx,
    load_torchscript,
    onnx_description,
    run_onnx,
)
from tinypose_torch.runtime.metadata import ExportMetadata, read_methods


class TorchScriptRunner(FileRunner):
    """Runs a TorchScript file."""

    def __init__(self, path: Path, device: str = "cpu", threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.device = check_device(device)
        data = read_sealed(path)
        with named_errors(path):
            self.metadata = ExportMetadata.from_json(archived_description(data))
        self._module = load_torchscript(path, data, self.device)

    @torch.inference_mode()
    def run(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        check_fork()
        outputs = self._module(torch.from_numpy(batch).to(self.device))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return tuple(output.cpu().numpy() for output in outputs)


class ExecuTorchRunner(FileRunner):
    """Runs an ExecuTorch file on XNNPACK.

    Args:
        task: ``"pose"`` or ``"detection"``: which network of a file that holds both.
    """

    own_threads = True

    def __init__(self, path: Path, threads: int | None = None, task: str | None = None) -> None:
        self._program, description = load_executorch(path, threads)
        with named_errors(path):
            methods = read_methods(description)
        name = _method_of_task(methods, task)
        self._method = load_method(self._program, name, path)
        self.metadata = methods[name]

    def run(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        # The runtime takes strides as they come and computes wrongly with any but contiguous ones.
        outputs = self._method.execute([torch.from_numpy(np.ascontiguousarray(batch))])
        return tuple(output.numpy().copy() for output in outputs)


class OnnxRunner(FileRunner):
    """Runs an ONNX file on ONNX Runtime."""

    own_threads = True

    def __init__(self, path: Path, threads: int | None = None) -> None:
        data = read_sealed(path)
        with named_errors(path):
            self.metadata = ExportMetadata.from_json(onnx_description(data))
        self._session = load_onnx(path, data, threads)
        self._input = self._session.get_inputs()[0].name

    def run(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        return run_onnx(self._session, None, {self._input: batch})


def backend_of(path: Path) -> str | None:
    """The backend that runs a file, by its suffix alone; ``None`` for a weight file.

    A program is never recognised by its contents: one that bears the name of a weight file is refused unopened.
    """
    return next((known.name for known in export_formats() if known.suffix == path.suffix), None)


def open_exported(
    path: Path, backend: str, device: str = "cpu", threads: int | None = None, task: str | None = None
) -> FileRunner:
    """Open an exported file.

    Args:
        backend: Name of an export format.
        task: ``"pose"`` or ``"detection"``: which network of a file that holds both.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is damaged, altered, of another format or version, or its runtime is not installed.
    """
    if not path.exists():
        raise FileNotFoundError(f"no exported file {str(path)!r}")
    found = find_export_format(backend)
    if device != "cpu" and found.cpu_only:
        raise ValueError(f"backend {backend!r} runs on the cpu, not on {device!r}")
    runner = found.open(path, device, threads, task)
    runner.backend = backend
    runner.reopen = (open_exported, (path.absolute(), backend, device, threads, task))
    return runner


def _method_of_task(methods: dict[str, ExportMetadata], task: str | None) -> str:
    """The method that does a task; the first one where none does, whose own description then says what it is."""
    return next((name for name, metadata in methods.items() if metadata.config.task == task), next(iter(methods)))
