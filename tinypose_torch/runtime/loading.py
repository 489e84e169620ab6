"""Opening exported files: their checksums, their descriptions, and the programs in them."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tinypose_torch.checkpoints.errors import CheckpointError, named_errors, plain, shown
from tinypose_torch.checkpoints.limits import MAX_DESCRIPTION_LENGTH
from tinypose_torch.checkpoints.protobuf import as_message, read_fields
from tinypose_torch.checkpoints.torch_files import open_archive, read_member
from tinypose_torch.runtime.checksums import unsealed
from tinypose_torch.runtime.executorch_import import import_runtime
from tinypose_torch.utils.hints import install_hint
from tinypose_torch.utils.provenance import printable

TORCHSCRIPT_EXTRA = "tinypose.json"
ONNX_KEY = "tinypose"
ONNX_IR_VERSION, ONNX_GRAPH, ONNX_PROPERTY = 1, 7, 14  # fields of ONNX's ModelProto
# A method of the .pte that returns the description as bytes.
EXECUTORCH_METHOD = "tinypose_metadata"
NO_DESCRIPTION = "carries no description; it was not exported by tinypose-torch"


def load_torchscript(path: Path, data: bytes, device: torch.device) -> Any:
    """The module of a TorchScript file, whose content is ``data``.

    Raises:
        CheckpointError: It is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the format is deprecated, and asked for
            # PyTorch copies what it does not open itself, and opens only names in UTF-8.
            source = str(path) if printable(str(path)) == str(path) else io.BytesIO(data)
            return torch.jit.load(source, map_location=device)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged TorchScript file: {_first_line(error)}") from None


def load_executorch(path: Path, threads: int | None) -> tuple[Any, str]:
    """The program of an ExecuTorch file and its description.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: ExecuTorch is not installed, or the file is damaged or has no description.
    """
    content = unsealed(path)
    with _quiet():
        try:
            portable_lib, executorch = import_runtime()
        except ImportError as error:
            raise CheckpointError(f"{path}: ExecuTorch is needed; {install_hint('export')} ({error})") from None
        if threads is not None:
            portable_lib._unsafe_reset_threadpool(threads)
        with _refusals(path):
            consistency = executorch.Verification.InternalConsistency
            program = executorch.Runtime.get().load_program(content, verification=consistency)
            described = program.load_method(EXECUTORCH_METHOD)
            if described is None:
                raise CheckpointError(f"{path}: {NO_DESCRIPTION}")
            with named_errors(path):
                return program, _decoded(bytes(described.execute([])[0].numpy()))


def load_method(program: Any, name: str, path: Path) -> Any:
    """A method of an ExecuTorch program.

    Raises:
        CheckpointError: It has none of this name, or ExecuTorch refuses it.
    """
    with _quiet(), _refusals(path):
        method = program.load_method(name)
    if method is None:
        raise CheckpointError(f"{path}: has no method {shown(name)}, which it describes")
    return method


def load_onnx(path: Path, data: bytes, threads: int | None) -> Any:
    """ONNX Runtime's session of a file, whose content is ``data``.

    Raises:
        CheckpointError: ONNX Runtime is not installed, or refuses the file.
    """
    try:
        import onnxruntime
    except ImportError:
        raise CheckpointError(f"{path}: ONNX Runtime is needed; {install_hint('export')}") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base class
        raise CheckpointError(f"{path}: ONNX Runtime refuses it: {_first_line(error)}") from None


def run_onnx(session: Any, outputs: list[str] | None, inputs: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """The named outputs of a session, or all."""
    try:
        return tuple(session.run(outputs, inputs))
    except Exception as error:  # onnxruntime's exceptions have no common base class
        raise RuntimeError(f"ONNX Runtime: {str(error).splitlines()[0]}") from error


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """ExecuTorch's errors name the file."""
    try:
        yield
    except RuntimeError as error:
        raise CheckpointError(f"{path}: ExecuTorch refuses it: {error}") from None


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
