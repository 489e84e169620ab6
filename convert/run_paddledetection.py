"""Runs an exported Paddle model in a separate process: `python -m convert.run_paddledetection REQUEST RESULT`.

A separate process because Paddle's two program formats need different global settings, and so that a crash inside
Paddle is an error message here. REQUEST is an .npz with the input ``x`` and a JSON text ``request``; RESULT is an
.npz with ``layer.<number>``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinypose_torch.checkpoints.paddle_program import Operation
from tinypose_torch.utils.hints import install_hint


class PaddleError(RuntimeError):
    """PaddlePaddle could not be run."""


@dataclass
class OriginalOutputs:
    """Outputs of PaddleDetection's network: the outputs of the asked layers, and PaddlePaddle's version."""

    layers: list[np.ndarray]
    version: str


def run_paddledetection(program: Path, x: np.ndarray, layers: Sequence[Operation]) -> OriginalOutputs:
    """Run an exported model on a batch and fetch inner results too.

    Args:
        program: The ``.pdmodel`` or ``.json``; its ``.pdiparams`` beside it.
        x: ``(N, 3, H, W)``, N inputs of the network, which are run one after the other.
        layers: Operations of the program whose outputs are wanted.

    Raises:
        PaddleError: PaddlePaddle is not installed, or failed.
    """
    newer = program.suffix == ".json"
    request = {
        "prefix": str(program.with_suffix("")),
        "newer": newer,
        "layers": [operation.index if newer else operation.output for operation in layers],
    }
    root = str(Path(__file__).resolve().parent.parent)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]),
        "FLAGS_enable_pir_api": "1" if newer else "0",
        # On by default in 3.3.1, where programs with an upsampling then fail.
        "FLAGS_use_mkldnn": "0",
    }
    with tempfile.TemporaryDirectory() as folder:
        question, answer = Path(folder, "request.npz"), Path(folder, "result.npz")
        np.savez(question, x=x, request=json.dumps(request))
        command = [sys.executable, "-m", "convert.run_paddledetection", str(question), str(answer)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise PaddleError(f"PaddlePaddle did not run: {lines[-1] if lines else done.returncode}")
        with np.load(answer) as result:
            return OriginalOutputs(
                [result[f"layer.{i}"] for i in range(len(layers))],
                str(result["version"]),
            )


def main(question: str, answer: str) -> int:
    """Answer one request."""
    try:
        import paddle
    except ImportError:
        print(f"PaddlePaddle is not installed; {install_hint('paddle')}", file=sys.stderr)
        return 1
    with np.load(question) as archive:
        x, request = archive["x"], json.loads(str(archive["request"]))
    paddle.enable_static()
    executor = paddle.static.Executor(paddle.CPUPlace())
    program, feed_names, outputs = paddle.static.load_inference_model(request["prefix"], executor)
    if request["newer"]:
        layers, outputs = _newer_values(program, request["layers"])
    else:
        layers = request["layers"]
    samples = []
    for sample in x:  # one by one: the exported model may have a fixed batch of one
        feed = {name: _feed(name, sample[None]) for name in feed_names}
        samples.append(executor.run(program, feed=feed, fetch_list=[*layers, *outputs]))
    results = [np.concatenate(values) for values in zip(*samples, strict=True)]
    count = len(layers)
    arrays = {f"layer.{i}": value for i, value in enumerate(results[:count])}
    np.savez(answer, version=np.array(paddle.version.full_version), **arrays)  # type: ignore[arg-type]
    return 0


def _newer_values(program: Any, indices: list[int]) -> tuple[list[Any], list[Any]]:
    """Values by the index of their operation. The program's own fetches clash with ours and are removed."""
    operations = list(program.global_block().ops)
    layers = [operations[index].result(0) for index in indices]
    fetches = [operation for operation in operations if operation.name() == "pd_op.fetch"]
    outputs = [operation.operand_source(0) for operation in fetches]
    for operation in fetches:
        program.global_block().remove_op(operation)
    return layers, outputs


def _feed(name: str, x: np.ndarray) -> np.ndarray:
    """The exported model's inputs: besides the image, detectors take sizes for their post-processing."""
    if name == "scale_factor":
        return np.ones((len(x), 2), np.float32)
    if name == "im_shape":
        return np.tile(np.array(x.shape[2:], np.float32), (len(x), 1))
    return x


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
