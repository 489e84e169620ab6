"""Beside PaddleDetection: layer by layer, and in pixels."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convert.run_paddledetection import run_paddledetection
from tinypose_torch.checkpoints.conv_bn import match_convolutions
from tinypose_torch.checkpoints.deployed import read_deployed
from tinypose_torch.checkpoints.errors import named_errors
from tinypose_torch.checkpoints.files import find_deployed_files
from tinypose_torch.checkpoints.renaming import rename_path
from tinypose_torch.cli.photos import photos_for_network
from tinypose_torch.codecs.heatmap import decode_heatmaps
from tinypose_torch.data.errors import malformation
from tinypose_torch.geometry.normalize import normalize
from tinypose_torch.models.base import Network, implements_layers
from tinypose_torch.models.config import ModelConfig, TopDownConfig, config_of, of_task
from tinypose_torch.utils.defaults import VISIBLE

SEED = 20261120
TOLERANCE = 2e-3  # relative difference per layer


@dataclass
class LayerDifference:
    """How far one layer is from PaddleDetection.

    Attributes:
        name: The layer's name in this project.
        largest: Largest absolute difference.
        scale: PaddleDetection's largest absolute value there.
    """

    name: str
    largest: float
    scale: float

    @property
    def relative(self) -> float:
        """Largest difference over largest value."""
        return self.largest / self.scale if self.scale > 0 else self.largest


@dataclass
class Verification:
    """The comparison with one recording or run of PaddleDetection.

    Attributes:
        against: Source of the expected outputs.
        input: What both were given.
        layers: In PaddleDetection's order of execution.
        pixels: Differences of the final answers, each with its unit in the name.
        tolerance: Relative difference per layer up to which port and PaddleDetection count as equal.
        versions: Of what ran PaddleDetection.
    """

    against: str
    input: str
    layers: list[LayerDifference]
    tolerance: float
    pixels: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def first_difference(self) -> LayerDifference | None:
        """The first layer that differs by more than the tolerance."""
        # "not <=" so that a NaN counts as a difference.
        return next((layer for layer in self.layers if not layer.relative <= self.tolerance), None)

    @property
    def equal(self) -> bool:
        """Whether every layer agrees."""
        return bool(self.layers) and self.first_difference is None


def verify_against_export(
    network: Network, exported: Path, images: Path | None = None, tolerance: float = TOLERANCE
) -> Verification:
    """Compare with an exported Paddle model, run by PaddlePaddle on the same input.

    Args:
        exported: Folder or file of the exported model.
        images: Folder of photos to use as input; seeded noise unless given.

    Raises:
        CheckpointError: The exported model is of another network, or damaged.
        PaddleError: It could not be run.
        ValueError: The network cannot be compared by layers.
    """
    entry = config_of(network)
    if not implements_layers(entry.network):
        raise ValueError(f"{entry.name} is compared with recordings only: it does not implement outputs_of_layers")
    with named_errors(exported):
        program_file, params_file = find_deployed_files(exported)
    program = read_deployed(program_file.read_bytes(), params_file.read_bytes()).program
    matched = sorted(match_convolutions(network, program), key=lambda row: row[2].last.index)
    names = [norm or name for name, norm, _ in matched]
    x, description = _input_batch(entry, images)
    ported = _layer_outputs(network, x, names)
    original = run_paddledetection(program_file, x, [row[2].last for row in matched])
    expected = dict(zip(names, original.layers, strict=True))
    return Verification(
        against=f"exported model {program_file.parent.name}/{program_file.name}",
        input=description,
        layers=[_difference(name, ported[name], expected[name]) for name in names],
        tolerance=tolerance,
        pixels=_answer_differences(network, ported, expected),
        versions={"paddlepaddle": original.version},
    )


def verify_against_recording(network: Network, folder: Path, tolerance: float = TOLERANCE) -> Verification:
    """Compare with recorded activations of PaddleDetection: a folder with ``manifest.json`` and ``io.npz``.

    The network must hold the weights that the recording was made with.

    Raises:
        FileNotFoundError: One of the files is missing.
        ValueError: The folder holds no recording of this network.
    """
    try:
        return _compare_with_recording(network, folder, tolerance)
    except (KeyError, TypeError, AttributeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{folder}: no recording of this network: {malformation(error)}") from None


def _compare_with_recording(network: Network, folder: Path, tolerance: float) -> Verification:
    manifest = json.loads((folder / "manifest.json").read_text())
    if not (folder / "io.npz").is_file():
        raise FileNotFoundError(f"{folder} has no io.npz: nothing was recorded of this model")
    recorded = np.load(folder / "io.npz")
    x = recorded["image"] if "image" in recorded else recorded_input(manifest["input"])
    outputs = _all_outputs(network, x)
    layers = []
    for name, facts in manifest["activations"].items():
        path = rename_path(str(network.paddle_names), name)
        value = _find_output(outputs, path).numpy()
        if facts["mode"] == "sub":
            value = value.reshape(-1)[:: facts["stride"]]
        scale = max(abs(facts["max"]), abs(facts["min"]))
        largest = float(np.abs(value - recorded[f"act.{name}"]).max())
        layers.append(LayerDifference(path, largest, scale))
    pixels: dict[str, float] = {}
    if "size_ltrb" in recorded:
        for what, key, maps in zip(
            ("heatmap", "size, cells", "offset, cells"), ("heatmap", "size_ltrb", "offset"), outputs[""], strict=False
        ):
            pixels[what] = float(np.abs(maps.numpy() - recorded[key]).max())
    elif "heatmap" in recorded:
        pixels = _keypoint_difference(network, outputs[""].numpy(), recorded["heatmap"], -np.inf)
        pixels["heatmap"] = float(np.abs(outputs[""].numpy() - recorded["heatmap"]).max())
    elif "boxes_input_pixels" in recorded:
        boxes = network.decode(outputs[""])[1].numpy()
        pixels["box, pixels"] = float(np.abs(boxes - recorded["boxes_input_pixels"]).max())
    return Verification(f"recording {folder.name}", "the recorded input", layers, tolerance, pixels)


def recorded_input(spec: dict[str, Any]) -> np.ndarray:
    """The input of a recording: coarse normal noise on a grid of 8 pixels, plus half as much fine noise.

    ``mul``, ``add`` and ``clip`` of the recording bring it into another range.
    """
    n, c, h, w = spec["shape"]
    generator = np.random.RandomState(spec["seed"])
    coarse = generator.standard_normal((n, c, -(-h // 8), -(-w // 8)))
    fine = generator.standard_normal((n, c, h, w))
    noise = (np.repeat(np.repeat(coarse, 8, 2), 8, 3)[:, :, :h, :w] + 0.5 * fine).astype(np.float32)
    noise = noise * np.float32(spec.get("mul", 1)) + np.float32(spec.get("add", 0))
    return np.clip(noise, *spec["clip"]) if "clip" in spec else noise


def _input_batch(entry: ModelConfig, images: Path | None) -> tuple[np.ndarray, str]:
    if images is None:
        shape = (1, 3, *entry.input_size)
        return np.random.RandomState(SEED).standard_normal(shape).astype(np.float32), f"noise, seed {SEED}"
    photos = photos_for_network(str(images), entry)
    return normalize(photos, entry.mean, entry.std), f"{len(photos)} photos"


def _all_outputs(network: Network, x: np.ndarray) -> dict[str, Any]:
    """Every module's output by name; the network's own under ''."""
    outputs: dict[str, Any] = {}
    hooks = [
        module.register_forward_hook(lambda _m, _i, output, name=name: outputs.__setitem__(name, output))
        for name, module in network.named_modules()
    ]
    try:
        with torch.inference_mode():
            network(torch.from_numpy(x))
    finally:
        for hook in hooks:
            hook.remove()
    return outputs


def _layer_outputs(network: Network, x: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    outputs = _all_outputs(network, x)
    return {name: outputs[name].numpy() for name in names}


def _find_output(outputs: dict[str, Any], path: str) -> Tensor:
    """A module's output, or one entry of it where the last part of the path is an index."""
    if isinstance(outputs.get(path), Tensor):
        return outputs[path]
    module, index = path.rsplit(".", 1)
    return outputs[module][int(index)]


def _difference(name: str, ported: np.ndarray, original: np.ndarray) -> LayerDifference:
    return LayerDifference(name, float(np.abs(ported - original).max()), float(np.abs(original).max()))


def _answer_differences(
    network: Network, ported: dict[str, np.ndarray], expected: dict[str, np.ndarray]
) -> dict[str, float]:
    """Differences of heatmaps and keypoints, or of scores and boxes."""
    got, want = (
        network.decode(network.outputs_of_layers({name: torch.from_numpy(value) for name, value in layers.items()}))
        for layers in (ported, expected)
    )
    config = config_of(network)
    pairs = zip(config.output_names, got, want, strict=False)
    differences = {name: float((a - b).abs().max()) for name, a, b in pairs}
    if config.takes_boxes:
        differences |= _keypoint_difference(network, got[0].numpy(), want[0].numpy(), VISIBLE)
    return differences


def _keypoint_difference(
    network: Network, maps: np.ndarray, expected: np.ndarray, confident: float
) -> dict[str, float]:
    """Largest distance of decoded keypoints in input pixels, and how many peaks lie in another cell."""
    got, _ = decode_heatmaps(maps)
    want, scores = decode_heatmaps(expected)
    same_cell = (decode_heatmaps(maps, "none")[0] == decode_heatmaps(expected, "none")[0]).all(axis=-1)
    distances = np.linalg.norm(got - want, axis=-1) * of_task(config_of(network), TopDownConfig).heatmap_stride
    counted = same_cell & (scores > confident)
    return {
        "keypoint, input pixels": float(distances[counted].max(initial=0)),
        "peaks in another cell": float((~same_cell & (scores > confident)).sum()),
    }
