"""Backends that run exported files. None of them builds a network."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from tinypose_torch.checkpoints.errors import CheckpointError, plain, shown
from tinypose_torch.checkpoints.limits import MAX_DESCRIPTION_LENGTH
from tinypose_torch.checkpoints.protobuf import as_message, read_fields
from tinypose_torch.checkpoints.torch_files import open_archive, read_member
from tinypose_torch.runtime.base import FileRunner
from tinypose_torch.runtime.checksums import read_sealed, unsealed
from tinypose_torch.runtime.eager import check_device, check_fork
from tinypose_torch.runtime.formats import export_formats, find_export_format
from tinypose_torch.runtime.metadata import ExportMetadata, read_methods
from tinypose_torch.utils.hints import install_hint
from tinypose_torch.utils.provenance import printable

TORCHSCRIPT_EXTRA = "tinypose.json"
ONNX_KEY = "tinypose"
ONNX_IR_VERSION, ONNX_GRAPH, ONNX_PROPERTY = 1, 7, 14  # fields of ONNX's ModelProto
# A method of the .pte that returns the description as bytes.
EXECUTORCH_METHOD = "tinypose_metadata"
NO_DESCRIPTION = "carries no description; it was not exported by tinypose-torch"


class TorchScriptRunner(FileRunner):
    """Runs a TorchScript file."""

    def __init__(self, path: Path, device: str = "cpu", threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.device = check_device(device)
        data = read_sealed(path)
        with _named(path):
            self.metadata = ExportMetadata.from_json(archived_description(data))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # the format is deprecated, and asked for
                # PyTorch copies what it does not open itself, and opens only names in UTF-8.
                source = str(path) if printable(str(path)) == str(path) else io.BytesIO(data)
                self._module = torch.jit.load(source, map_location=self.device)
        except (RuntimeError, ValueError) as error:
            raise CheckpointError(f"{path}: damaged TorchScript file: {_first_line(error)}") from None

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
        content = unsealed(path)
        with _quiet():
            try:
                with _exporter_left_out():
                    from executorch.extension.pybindings import portable_lib
                    from executorch.runtime import Runtime, Verification
            except ImportError as error:
                raise CheckpointError(f"{path}: ExecuTorch is needed; {install_hint('export')} ({error})") from None
            if threads is not None:
                portable_lib._unsafe_reset_threadpool(threads)
            try:
                program = Runtime.get().load_program(content, verification=Verification.InternalConsistency)
                described = program.load_method(EXECUTORCH_METHOD)
                if described is None:
                    raise CheckpointError(f"{path}: {NO_DESCRIPTION}")
                with _named(path):
                    methods = read_methods(_decoded(bytes(described.execute([])[0].numpy())))
                name = _method_of_task(methods, task)
                method = program.load_method(name)
            except RuntimeError as error:
                raise CheckpointError(f"{path}: ExecuTorch refuses it: {error}") from None
        if method is None:
            raise CheckpointError(f"{path}: has no method {shown(name)}, which it describes")
        self.metadata = methods[name]
        self._program, self._method = program, method

    def run(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        # The runtime takes strides as they come and computes wrongly with any but contiguous ones.
        outputs = self._method.execute([torch.from_numpy(np.ascontiguousarray(batch))])
        return tuple(output.numpy().copy() for output in outputs)


class OnnxRunner(FileRunner):
    """Runs an ONNX file on ONNX Runtime."""

    own_threads = True

    def __init__(self, path: Path, threads: int | None = None) -> None:
        data = read_sealed(path)
        with _named(path):
            self.metadata = ExportMetadata.from_json(onnx_description(data))
        try:
            import onnxruntime
        except ImportError:
            raise CheckpointError(f"{path}: ONNX Runtime is needed; {install_hint('export')}") from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no common base class
            raise CheckpointError(f"{path}: ONNX Runtime refuses it: {_first_line(error)}") from None
        self._input = self._session.get_inputs()[0].name

    def run(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        try:
            return tuple(self._session.run(None, {self._input: batch}))
        except Exception as error:  # onnxruntime's exceptions have no common base class
            raise RuntimeError(f"ONNX Runtime: {str(error).splitlines()[0]}") from error


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


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors name the file."""
    try:
        yield
    except CheckpointError as error:
        error.args = (f"{path}: {error}",)
        raise


def archived_description(data: bytes) -> str:
    """The description in a TorchScript file, found without running anything of it."""
    if not data.startswith(b"PK\x03\x04"):
        raise CheckpointError("is not a TorchScript file")
    archive = open_archive(data)
    names = [name for name in archive.namelist() if name.endswith(f"/extra/{TORCHSCRIPT_EXTRA}")]
    if len(names) != 1:
        raise CheckpointError(NO_DESCRIPTION)
    return _decoded(read_member(archive, names[0], MAX_DESCRIPTION_LENGTH))


def onnx_description(data: bytes) -> str:
    """The description in an ONNX file, found without opening it."""
    fields = list(read_fields(memoryview(data)))
    if not {ONNX_IR_VERSION, ONNX_GRAPH} <= {number for number, _ in fields}:
        raise CheckpointError("is not an ONNX model")
    for number, value in fields:
        if number == ONNX_PROPERTY:
            entry = dict(read_fields(as_message(value)))
            if entry.get(1) == ONNX_KEY.encode():
                return _decoded(bytes(as_message(entry.get(2, 0))))
    raise CheckpointError(NO_DESCRIPTION)


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise CheckpointError("carries no description that can be read (not UTF-8)") from None


def _first_line(error: Exception) -> str:
    return plain(next(iter(str(error).splitlines()), type(error).__name__))


def _method_of_task(methods: dict[str, ExportMetadata], task: str | None) -> str:
    """The method that does a task; the first one where none does, whose own description then says what it is."""
    return next((name for name, metadata in methods.items() if metadata.config.task == task), next(iter(methods)))


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
    """Discard what ExecuTorch writes to the process's own stderr, and to Python's, which in a notebook is another one."""
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
