"""Other runtimes of the same networks: torch.compile, OpenVINO, ncnn, and Paddle Inference on PaddleDetection's models."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tinypose_torch.export.graphs import build_graph
from tinypose_torch.factory import create_model
from tinypose_torch.models.base import Network
from tinypose_torch.models.config import config_of
from tinypose_torch.runtime import EagerRunner
from tinypose_torch.timing.backends import WEIGHTS, Backend, Predict
from tinypose_torch.timing.processes import TimingError


class Compiled(Backend):
    """torch.compile."""

    def open(self, name: str, file: Path, threads: int) -> Predict:
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns of a missing GPU
        network = create_model(name, weights=file)
        runner = EagerRunner(network)
        network.compile()
        return runner.run


class OpenVINO(Backend):
    """OpenVINO on the ONNX file that this package writes."""

    def open(self, name: str, file: Path, threads: int) -> Predict:
        import openvino

        core = openvino.Core()
        return core.compile_model(core.read_model(file), "CPU", {"INFERENCE_NUM_THREADS": threads})


class Ncnn(Backend):
    """ncnn on the eager network, traced and converted by pnnx."""

    def make(
        self, name: str, network: Network, folder: Path, photos: np.ndarray | None, raw: bool = True
    ) -> tuple[Path, ...]:
        param, weights = folder / f"{name}.ncnn.param", folder / f"{name}.ncnn.bin"
        config = config_of(network)
        height, width = config.input_size
        graph = build_graph(network, config, images=False, decode=False)
        converted = folder / f"{name}_pnnx"  # pnnx writes a dozen files beside its input
        converted.mkdir()
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.jit.trace(graph, torch.zeros(1, 3, height, width)).save(str(converted / "x.pt"))
        beside = Path(sys.executable).with_name("pnnx")  # where the package puts it, whatever the search path
        program = str(beside) if beside.is_file() else "pnnx"
        shape = f"inputshape=[1,3,{height},{width}]"
        command = [program, "x.pt", shape, "fp16=0", "ncnnparam=x.param", "ncnnbin=x.bin"]
        done = subprocess.run(command, cwd=converted, capture_output=True, text=True, check=False)
        with contextlib.suppress(FileNotFoundError):  # reported below
            (converted / "x.param").replace(param)
            (converted / "x.bin").replace(weights)
        shutil.rmtree(converted)
        if done.returncode or not weights.is_file():
            raise TimingError(f"pnnx failed with status {done.returncode}")
        return param, weights

    def open(self, name: str, file: Path, threads: int) -> Predict:
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


@dataclass(frozen=True)
class Paddle(Backend):
    """Paddle Inference on a deployed model of PaddleDetection.

    Attributes:
        deployed: Folder with ``NAME/model.pdmodel`` or ``NAME/model.json``.
        onednn: Whether to compute with oneDNN.
    """

    deployed: Path | None = None
    onednn: bool = False

    def make(
        self, name: str, network: Network, folder: Path, photos: np.ndarray | None, raw: bool = True
    ) -> tuple[Path, ...]:
        if self.deployed is None:
            raise TimingError("needs --paddle-model, PaddleDetection's deployed models")
        for program in ("model.json", "model.pdmodel"):
            path = self.deployed / name / program
            if path.is_file():
                return path, path.with_suffix(".pdiparams")
        raise TimingError(f"no deployed model in {self.deployed / name}")

    def open(self, name: str, file: Path, threads: int) -> Predict:
        os.environ.update(FLAGS_enable_pir_api=str(int(file.suffix == ".json")))  # read when Paddle is imported
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from paddle import inference

        config = inference.Config(str(file), str(file.with_suffix(".pdiparams")))
        config.disable_gpu()
        config.disable_glog_info()
        config.set_cpu_math_library_num_threads(threads)
        if self.onednn:
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


def peers(deployed: Path | None) -> dict[str, Backend]:
    """The other runtimes by name.

    Args:
        deployed: See `Paddle`.
    """
    paddle = (WEIGHTS, ("paddle",), "paddlepaddle", "fp32", deployed)
    return {
        "torch.compile": Compiled(WEIGHTS),
        "openvino": OpenVINO("onnx", ("onnxscript", "openvino"), "openvino"),
        "ncnn": Ncnn("ncnn", ("ncnn", "pnnx"), "ncnn"),
        "paddle": Paddle(*paddle),
        "paddle oneDNN": Paddle(*paddle, onednn=True),
    }
