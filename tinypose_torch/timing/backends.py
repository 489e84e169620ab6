"""Everything that runs a network, this project's formats and others': its files, and how it is opened."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tinypose_torch.checkpoints.files import describe_changes, save_safetensors
from tinypose_torch.export import ExportOptions, export_model
from tinypose_torch.export.graphs import build_graph
from tinypose_torch.factory import create_model
from tinypose_torch.models import base
from tinypose_torch.models.config import config_of
from tinypose_torch.runtime import EagerRunner
from tinypose_torch.runtime.exported import open_exported
from tinypose_torch.timing.processes import Run, TimingError

BASELINE = "onnx"
Network = Callable[[np.ndarray], Any]


@dataclass(frozen=True)
class Backend:
    """How a network is run.

    Attributes:
        source: What it reads: ``"weights"``, a format of `export_model`, ``"ncnn"``, or ``"original"``, the deployed model.
        packages: That must be installed.
        released: The package whose version matters.
        precision: Of the file.
    """

    source: str
    packages: tuple[str, ...]
    released: str = "torch"
    precision: str = "fp32"

    @property
    def missing(self) -> list[str]:
        """Packages that are not installed."""
        return [name for name in self.packages if importlib.util.find_spec(name) is None]

    @property
    def version(self) -> str:
        """Name and version of the distribution."""
        return f"{self.released} {version(self.released)}"


BACKENDS = {
    "eager": Backend("weights", ()),
    "torch.compile": Backend("weights", ()),
    "torchscript": Backend("torchscript", ()),
    "executorch": Backend("executorch", ("executorch",), "executorch"),
    "executorch fp16": Backend("executorch", ("executorch",), "executorch", "fp16"),
    "executorch int8": Backend("executorch", ("executorch",), "executorch", "int8"),
    BASELINE: Backend("onnx", ("onnxscript", "onnxruntime"), "onnxruntime"),
    "openvino": Backend("onnx", ("onnxscript", "openvino"), "openvino"),
    "ncnn": Backend("ncnn", ("ncnn", "pnnx"), "ncnn"),
    "paddle": Backend("original", ("paddle",), "paddlepaddle"),
    "paddle oneDNN": Backend("original", ("paddle",), "paddlepaddle"),
}


def make_file(label: str, network: base.Network, name: str, folder: Path, photos: np.ndarray | None) -> Path:
    """The network as a backend other than Paddle reads it: float32 in, its own outputs out; made once.

    Args:
        photos: To calibrate int8 on.

    Raises:
        ValueError: It cannot be exported so.
        TimingError: The converter failed.
    """
    backend = BACKENDS[label]
    suffix = {"executorch": "pte", "weights": "safetensors", "ncnn": "ncnn.param"}.get(backend.source, backend.source)
    file = folder / f"{name}.{backend.precision}.{suffix}"
    if file.is_file():
        return file
    if backend.source == "weights":
        save_safetensors(network, file, describe_changes(config_of(network)))
    elif backend.source == "ncnn":
        _convert_to_ncnn(network, file)
    else:
        options = ExportOptions(backend.source, images=False, decode=False, precision=backend.precision)
        export_model(network, file, options, photos)
    return file


def prepare_network(label: str, name: str, input_size: tuple[int, int], file: Path, threads: int) -> Run:
    """What runs a network once, on one float32 input.

    Args:
        input_size: (height, width) of the input.
        file: From `make_file`; Paddle's is a deployed model's program.
    """
    torch.set_num_threads(threads)
    height, width = input_size
    x = np.random.default_rng(0).standard_normal((1, 3, height, width)).astype(np.float32)
    network = _OPEN[BACKENDS[label].source if label not in _OPEN else label](name, file, threads)

    def run() -> list[float]:
        start = time.perf_counter()
        network(x)
        return [time.perf_counter() - start]

    return run


def program_of(folder: Path) -> Path | None:
    """The program of a deployed model of PaddleDetection, if there is one."""
    return next((folder / name for name in ("model.json", "model.pdmodel") if (folder / name).is_file()), None)


def _open_eager(name: str, file: Path, threads: int) -> Network:
    return EagerRunner(create_model(name, weights=file)).run


def _open_compiled(name: str, file: Path, threads: int) -> Network:
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns of a missing GPU
    network = create_model(name, weights=file)
    runner = EagerRunner(network)
    network.compile()
    return runner.run


def _open_exported(name: str, file: Path, threads: int) -> Network:
    formats = {".pte": "executorch", ".onnx": "onnx", ".torchscript": "torchscript"}
    return open_exported(file, formats[file.suffix], threads=threads).run


def _open_openvino(name: str, file: Path, threads: int) -> Network:
    import openvino

    core = openvino.Core()
    return core.compile_model(core.read_model(file), "CPU", {"INFERENCE_NUM_THREADS": threads})


def _open_ncnn(name: str, file: Path, threads: int) -> Network:
    import ncnn

    network = ncnn.Net()
    network.opt.num_threads = threads
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(network.opt, option, False)
    if network.load_param(str(file)) or network.load_model(str(file.with_suffix(".bin"))):
        raise TimingError(f"ncnn does not read {file.name}")

    def run(x: np.ndarray) -> list[Any]:
        extractor = network.create_extractor()
        extractor.input("in0", ncnn.Mat(x[0]))
        return [extractor.extract(output)[1] for output in network.output_names()]

    return run


def _open_paddle(name: str, file: Path, threads: int, onednn: bool = False) -> Network:
    os.environ.update(FLAGS_enable_pir_api=str(int(file.suffix == ".json")))  # read when Paddle is imported
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from paddle import inference

    config = inference.Config(str(file), str(file.with_suffix(".pdiparams")))
    config.disable_gpu()
    config.disable_glog_info()
    config.set_cpu_math_library_num_threads(threads)
    if onednn:
        config.enable_mkldnn()
    else:
        config.disable_mkldnn()
    predictor = inference.create_predictor(config)

    def run(x: np.ndarray) -> list[np.ndarray]:
        # besides the image, detectors take sizes for their post-processing
        feeds = {"scale_factor": np.ones((1, 2), np.float32), "im_shape": np.array([x.shape[2:]], np.float32)}
        for feed in predictor.get_input_names():
            predictor.get_input_handle(feed).copy_from_cpu(feeds.get(feed, x))
        predictor.run()
        return [predictor.get_output_handle(output).copy_to_cpu() for output in predictor.get_output_names()]

    return run


def _open_paddle_onednn(name: str, file: Path, threads: int) -> Network:
    return _open_paddle(name, file, threads, onednn=True)


# By label, or by what is read.
_OPEN: dict[str, Callable[[str, Path, int], Network]] = {
    "weights": _open_eager,
    "torch.compile": _open_compiled,
    "torchscript": _open_exported,
    "executorch": _open_exported,
    "onnx": _open_exported,
    "openvino": _open_openvino,
    "ncnn": _open_ncnn,
    "original": _open_paddle,
    "paddle oneDNN": _open_paddle_onednn,
}


def _convert_to_ncnn(network: base.Network, file: Path) -> None:
    """By way of TorchScript and the converter pnnx; its other results are deleted."""
    config = config_of(network)
    height, width = config.input_size
    graph = build_graph(network, config, images=False, decode=False)
    folder = file.parent / f"{file.stem}_pnnx"
    folder.mkdir()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.jit.trace(graph, torch.zeros(1, 3, height, width)).save(str(folder / "x.pt"))
    beside = Path(sys.executable).with_name("pnnx")  # where the package puts it, whatever the search path
    command = [
        str(beside) if beside.is_file() else "pnnx",
        "x.pt",
        f"inputshape=[1,3,{height},{width}]",
        "fp16=0",
        "ncnnparam=x.param",
        "ncnnbin=x.bin",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    with contextlib.suppress(FileNotFoundError):  # told below
        (folder / "x.bin").replace(file.with_suffix(".bin"))
        (folder / "x.param").replace(file)
    shutil.rmtree(folder)
    if done.returncode or not file.is_file():
        raise TimingError(f"pnnx failed with status {done.returncode}")
