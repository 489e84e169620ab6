"""Running app files: a frame in, people out."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from tinypose_torch.checkpoints.errors import CheckpointError, named_errors
from tinypose_torch.runtime.app_metadata import AppMetadata
from tinypose_torch.runtime.checksums import read_sealed
from tinypose_torch.runtime.eager import check_device
from tinypose_torch.runtime.exported import backend_of
from tinypose_torch.runtime.loading import (
    archived_description,
    load_executorch,
    load_method,
    load_onnx,
    load_torchscript,
    onnx_description,
    run_onnx,
)
from tinypose_torch.utils.defaults import REACT_NATIVE
from tinypose_torch.utils.threads import check_threads

Array = np.ndarray


class People(NamedTuple):
    """The answer of an app file; rows behind the last person are zeros.

    Attributes:
        boxes: ``(K, 4)`` float32 x1, y1, x2, y2 in pixels of the frame.
        scores: ``(K,)`` float32, highest first.
        keypoints: ``(K, J, 3)`` float32: x, y in pixels of the frame, and the score.
    """

    boxes: Array
    scores: Array
    keypoints: Array


class FollowedPeople(NamedTuple):
    """The answer of the method ``follow`` of an app file; rows behind the last person are zeros.

    Attributes:
        boxes, scores, keypoints: See `People`. Rows are ordered by id, and keypoints are smoothed.
        ids: ``(K,)`` int64, from 1.
        state: Float64, for the next call.
    """

    boxes: Array
    scores: Array
    keypoints: Array
    ids: Array
    state: Array


class AppRunner(ABC):
    """An app file that can be run.

    Attributes:
        backend: Name of the backend.
        metadata: What the file takes and gives.
    """

    backend: str
    metadata: AppMetadata

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods that the file has."""
        if self.metadata.interface == REACT_NATIVE:
            return ("forward",)
        follow = () if self.metadata.detect_every is None else ("follow",)
        return ("forward", "detect", "pose", *follow)

    def has_method(self, name: str) -> bool:
        """Whether the file has a method."""
        return name in self.methods

    @abstractmethod
    def run(self, method: str, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Run one of the file's methods."""

    def __call__(self, frame: Array) -> People:
        """The people in a frame: uint8, of the app's pixel format, shape `AppMetadata.frame_shape`.

        Raises:
            ValueError: A frame of another size or type.
        """
        return People(*self.run("forward", (self._checked(frame),)))

    def detect(self, frame: Array) -> tuple[Array, Array]:
        """Boxes and scores of the people in a frame."""
        boxes, scores = self.run("detect", (self._checked(frame),))
        return boxes, scores

    def pose(self, frame: Array, boxes: Array, count: int) -> Array:
        """Keypoints ``(K, J, 3)`` of the people in the first boxes.

        Args:
            boxes: ``(K, 4)``.
            count: Number of boxes that hold a person.
        """
        people = self.metadata.max_people
        if boxes.shape != (people, 4) or not 0 <= count <= people:
            raise ValueError(
                f"boxes of shape {boxes.shape} and count={count}; expected ({people}, 4), and 0 to {people}"
            )
        arguments = (self._checked(frame), np.asarray(boxes, np.float32), np.array([count], np.int64))
        (keypoints,) = self.run("pose", arguments)
        return keypoints

    def follow(self, frame: Array, state: Array | None, time: float) -> FollowedPeople:
        """The people in the next frame of a video, with ids and smoothed keypoints.

        Args:
            state: That of the call before; ``None`` to start anew.
            time: Seconds, later than that of the frame before.

        Raises:
            ValueError: The file has no such method, or a state or time that cannot be used.
        """
        self.check_follow()
        shape = self.metadata.state_shape
        state = np.zeros(shape) if state is None else np.asarray(state, np.float64)
        if state.shape != shape or not np.isfinite(state).all():
            raise ValueError(f"state of shape {state.shape}; expected {shape} finite numbers, from the call before")
        if not np.isfinite(time):
            raise ValueError(f"time={time}; expected seconds")
        return FollowedPeople(*self.run("follow", (self._checked(frame), state, np.array([time], np.float64))))

    def check_follow(self) -> None:
        """Check that the file has the method ``follow``.

        Raises:
            ValueError: It has not.
        """
        if self.metadata.detect_every is None:
            raise ValueError("this app has no method follow; export it as executorch or torchscript")

    def _checked(self, frame: Array) -> Array:
        height, width = self.metadata.frame_size
        shape = self.metadata.frame_shape
        if frame.dtype != np.uint8 or frame.shape != shape:
            raise ValueError(
                f"frame of shape {frame.shape}, {frame.dtype}; this app takes {shape} uint8: {self.metadata.pixels}, "
                f"{height} rows of {width} pixels"
            )
        return np.ascontiguousarray(frame)


class TorchScriptApp(AppRunner):
    """Runs an app in a TorchScript file."""

    backend = "torchscript"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        data = read_sealed(path)
        with named_errors(path):
            self.metadata = AppMetadata.from_json(archived_description(data))
        if threads is not None:
            torch.set_num_threads(threads)
        self._module = load_torchscript(path, data, check_device("cpu"))

    @torch.inference_mode()
    def run(self, method: str, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        outputs = getattr(self._module, method)(*map(torch.from_numpy, inputs))
        return tuple(output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,)))


class ExecuTorchApp(AppRunner):
    """Runs an app in an ExecuTorch file. Methods are loaded when they are first called: each takes separate memory."""

    backend = "executorch"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self._path = path
        self._program, description = load_executorch(path, threads)
        with named_errors(path):
            self.metadata = AppMetadata.from_json(description)
        self._methods: dict[str, Any] = {"forward": load_method(self._program, "forward", path)}

    def run(self, method: str, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        if method not in self.methods:
            raise ValueError(f"{self._path}: no method {method}; it has {', '.join(self.methods)}")
        if self.metadata.interface == REACT_NATIVE:
            inputs = (planes_of_frame(inputs[0]),)
        if method not in self._methods:
            self._methods[method] = load_method(self._program, method, self._path)
        outputs = self._methods[method].execute([torch.from_numpy(value) for value in inputs])
        return tuple(output.numpy().copy() for output in outputs)


class OnnxApp(AppRunner):
    """Runs an app in an ONNX file, which has no method ``pose``."""

    backend = "onnx"

    _outputs: ClassVar[dict[str, list[str] | None]] = {"forward": None, "detect": ["boxes", "scores"]}

    def __init__(self, path: Path, threads: int | None = None) -> None:
        data = read_sealed(path)
        with named_errors(path):
            self.metadata = AppMetadata.from_json(onnx_description(data))
        self._session = load_onnx(path, data, threads)

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(self._outputs)

    def run(self, method: str, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        if method not in self._outputs:
            raise ValueError(f"an ONNX file has no method {method}; export the app as executorch or torchscript")
        return run_onnx(self._session, self._outputs[method], {"frame": inputs[0]})


def planes_of_frame(frame: Array) -> Array:
    """A frame ``(H, W, 3)`` uint8 RGB as react-native-executorch passes it: ``(1, 3, H, W)`` float32 from 0 to 1."""
    return np.ascontiguousarray(frame.transpose(2, 0, 1)[np.newaxis]) * np.float32(1 / 255)


_APPS: dict[str, type[TorchScriptApp | ExecuTorchApp | OnnxApp]] = {
    "torchscript": TorchScriptApp,
    "executorch": ExecuTorchApp,
    "onnx": OnnxApp,
}


def is_app_path(path: str | os.PathLike[str]) -> bool:
    """Whether a path ends as app files do."""
    return backend_of(Path(path)) in _APPS


def open_app(path: Path, threads: int | None = None) -> AppRunner:
    """Open a file of `tinypose_torch.export.export_app`.

    Args:
        threads: Inference threads; see `load_runner`.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It holds no app, is damaged or altered, or its runtime is not installed.
    """
    backend = backend_of(path)
    if backend not in _APPS:
        raise CheckpointError(f"{path} is no app file; expected .pte, .torchscript or .onnx")
    if not path.exists():
        raise FileNotFoundError(f"no app file {str(path)!r}")
    check_threads(threads)
    return _APPS[backend](path, threads)
