"""Backends that run exported files. None of them builds a network."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import torch

from tinypose_torch.checkpoints.errors import CheckpointError
from tinypose_torch.checkpoints.torch_files import ZIP_ERRORS
from tinypose_torch.runtime.base import Runner
from tinypose_torch.runtime.eager import check_device, check_fork
from tinypose_torch.runtime.metadata import ExportMetadata, read_methods

Described = TypeVar("Described")

TORCHSCRIPT_EXTRA = "tinypose.json"
ONNX_KEY = "tinypose"
# A method of the .pte that returns the description as bytes.
EXECUTORCH_METHOD = "tinypose_metadata"
# Ends an ExecuTorch file: a mark and the SHA-256 of all before it. The runtime reads no further than its own header says.
SEAL = b"TINYPOSE"
SEAL_SIZE = len(SEAL) + 32


class FileRunner(Runner):
    """Runs an exported file. Pickled, it is the path of the file, which is opened again where it is unpickled."""

    _arguments: tuple[Any, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments


class TorchScriptRunner(FileRunner):
    """Runs a TorchScript file."""

    backend = "torchscript"

    def __init__(self, path: Path, device: str = "cpu") -> None:
        self._arguments = (path.absolute(), device)
        self.device = check_device(device)
        extra = {TORCHSCRIPT_EXTRA: ""}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # the format is deprecated, and asked for
                module = torch.jit.load(str(path), map_location=self.device, _extra_files=extra)
        except (RuntimeError, ValueError) as error:
            raise CheckpointError(f"{path}: damaged TorchScript file: {str(error).splitlines()[0]}") from None
        text: Any = extra[TORCHSCRIPT_EXTRA]
        self.metadata = _described(path, text.decode() if isinstance(text, bytes) else text, ExportMetadata.from_json)
        self._module = module

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

    backend = "executorch"

    def __init__(self, path: Path, threads: int | None = None, task: str | None = None) -> None:
        self._arguments = (path.absolute(), threads, task)
        content = unsealed(path)
        with _quiet():
            try:
                with _exporter_left_out():
                    from executorch.extension.pybindings import portable_lib
                    from executorch.runtime import Runtime, Verification
            except ImportError as error:
                raise CheckpointError(
                    f"{path}: ExecuTorch is needed; pip install 'tinypose-torch[export]' ({error})"
                ) from None
            if threads is not None:
                portable_lib._unsafe_reset_threadpool(threads)
            try:
                program = Runtime.get().load_program(content, verification=Verification.InternalConsistency)
                described = program.load_method(EXECUTORCH_METHOD)
                if described is None:
                    raise CheckpointError(f"{path}: carries no description")
                methods = _described(path, bytes(described.execute([])[0].numpy()).decode(), read_methods)
                name = _method_of_task(methods, task)
                method = program.load_method(name)
            except RuntimeError as error:
                raise CheckpointError(f"{path}: ExecuTorch refuses it: {error}") from None
        if method is None:
            raise CheckpointError(f"{path}: has no method {name!r}, which it describes")
        self.metadata = methods[name]
        self._program, self._method = program, method

    def run(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        # The runtime takes strides as they come and computes wrongly with any but contiguous ones.
        outputs = self._method.execute([torch.from_numpy(np.ascontiguousarray(batch))])
        return tuple(output.numpy().copy() for output in outputs)


class OnnxRunner(FileRunner):
    """Runs an ONNX file on ONNX Runtime."""

    backend = "onnx"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self._arguments = (path.absolute(), threads)
        try:
            import onnxruntime
        except ImportError:
            raise CheckpointError(f"{path}: ONNX Runtime is needed; pip install onnxruntime") from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no common base class
            raise CheckpointError(f"{path}: ONNX Runtime refuses it: {str(error).splitlines()[0]}") from None
        text = self._session.get_modelmeta().custom_metadata_map.get(ONNX_KEY, "")
        self.metadata = _described(path, text, ExportMetadata.from_json)
        self._input = self._session.get_inputs()[0].name

    def run(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        try:
            return tuple(self._session.run(None, {self._input: batch}))
        except Exception as error:  # onnxruntime's exceptions have no common base class
            raise RuntimeError(f"ONNX Runtime: {str(error).splitlines()[0]}") from error


def backend_of(path: Path) -> str | None:
    """The backend that runs a file, or ``None`` for a weight file."""
    if path.suffix == ".pte":
        return "executorch"
    if path.suffix == ".onnx":
        return "onnx"
    if path.suffix == ".torchscript":
        return "torchscript"
    try:
        with zipfile.ZipFile(path) as archive:
            program = any(name.endswith("/constants.pkl") for name in archive.namelist())
    except ZIP_ERRORS:
        return None  # no archive: a weight file, or something that its reader will refuse
    return "torchscript" if program else None


def open_exported(
    path: Path, backend: str, device: str = "cpu", threads: int | None = None, task: str | None = None
) -> Runner:
    """Open an exported file.

    Args:
        task: ``"pose"`` or ``"detection"``: which network of an ExecuTorch file that holds both.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is damaged, altered, of another format or version, or its runtime is not installed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no exported file {str(path)!r}")
    if backend == "torchscript":
        return TorchScriptRunner(path, device)
    if device != "cpu":
        raise ValueError(f"backend {backend!r} runs on the cpu, not on {device!r}")
    return ExecuTorchRunner(path, threads, task) if backend == "executorch" else OnnxRunner(path, threads)


def seal(content: bytes) -> bytes:
    """An ExecuTorch program with its checksum behind it."""
    return content + SEAL + hashlib.sha256(content).digest()


def unsealed(path: Path) -> bytes:
    """The program of a sealed file, whose checksum holds.

    Raises:
        CheckpointError: No seal (cut short, or not exported by this project), or a broken one (altered).
    """
    data = path.read_bytes()
    content, mark = data[:-SEAL_SIZE], data[-SEAL_SIZE:]
    if not mark.startswith(SEAL):
        raise CheckpointError(f"{path}: cut short, or not exported by tinypose-torch")
    if hashlib.sha256(content).digest() != mark[len(SEAL) :]:
        raise CheckpointError(f"{path}: its checksum is wrong; the file was altered or damaged")
    return content


def _described(path: Path, text: str, read: Callable[[str], Described]) -> Described:
    if not text:
        raise CheckpointError(f"{path}: carries no description; it was not exported by tinypose-torch")
    try:
        return read(text)
    except CheckpointError as error:
        error.args = (f"{path}: {error}",)
        raise


def _method_of_task(methods: dict[str, ExportMetadata], task: str | None) -> str:
    """The method that does a task; the first one where none does, whose own description then says what it is."""
    return next((name for name, metadata in methods.items() if metadata.entry.task == task), next(iter(methods)))


@contextmanager
def _exporter_left_out() -> Iterator[None]:
    """While open, ExecuTorch's runtime can be imported without its exporter, which takes 3 s to import.

    Made for executorch 1.5.1, whose runtime imports the exporter's package for the class of one warning.
    """
    package, warning = "executorch.exir", "executorch.exir._warnings"
    if package in sys.modules:
        yield
        return
    sys.modules[package], sys.modules[warning] = ModuleType(package), ModuleType(warning)
    sys.modules[warning].__dict__["ExperimentalWarning"] = DeprecationWarning
    try:
        yield
    finally:
        del sys.modules[package], sys.modules[warning]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep ExecuTorch's start-up chatter, which it writes to the process's own stderr, from the user."""
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
