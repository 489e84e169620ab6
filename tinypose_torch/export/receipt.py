"""How far an exported file is from the network it was made of."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tinypose_torch.codecs.heatmap import decode_heatmaps
from tinypose_torch.models.base import Network
from tinypose_torch.models.config import TopDownConfig, of_task
from tinypose_torch.runtime import EagerRunner, ExportMetadata, Runner
from tinypose_torch.utils.atomic import replacing
from tinypose_torch.utils.defaults import VISIBLE

ROUNDS = 15


def compare(
    runner: Runner, network: Network, images: np.ndarray, described: str, made: dict[str, Any]
) -> dict[str, Any]:
    """Compare an exported network with the eager one on the same images.

    Args:
        images: ``(N, H, W, 3)`` uint8 of the network's input size.
        described: What the images are.
        made: Facts about how the file was made.

    Raises:
        ValueError: An output is NaN or infinite, which a receipt cannot hold.
    """
    eager = EagerRunner(network)
    expected, found = eager(images), runner(images)
    compare_outputs = _keypoint_differences if runner.metadata.config.takes_boxes else _largest_differences
    differences = compare_outputs(found, expected, runner.metadata)
    if not all(map(math.isfinite, differences.values())):
        raise ValueError(f"{runner.metadata.config.name}: NaN or infinite outputs on {described}; check the weights")
    return {
        "model": runner.metadata.config.name,
        "images": described,
        "differences": differences,
        "latency_ratio_to_eager": latency_ratio(runner, eager, images[:1]),
        "made": made,
        "description": json.loads(runner.metadata.to_json()),
    }


def make_receipt(path: Path, networks: list[dict[str, Any]]) -> dict[str, Any]:
    """The receipt of a file, with the comparison of every network in it."""
    return {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        "networks": networks,
    }


def receipt_path(path: Path) -> Path:
    """The receipt of an exported file, ``FILE.receipt.json``."""
    return Path(f"{path}.receipt.json")


def write_receipt(receipt: dict[str, Any], path: Path) -> Path:
    """Write ``FILE.receipt.json`` beside the exported file, atomically."""
    target = receipt_path(path)
    with replacing(target) as temporary:
        temporary.write_text(json.dumps(receipt, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return target


Arrays = tuple[np.ndarray, ...]


def _largest_differences(found: Arrays, expected: Arrays, metadata: ExportMetadata) -> dict[str, float]:
    """Largest differences of the first outputs, by name."""
    pairs = zip(metadata.config.output_names, found, expected, strict=False)
    return {name: float(np.abs(ours - eager).max()) for name, ours, eager in pairs}


def _keypoint_differences(found: Arrays, expected: Arrays, metadata: ExportMetadata) -> dict[str, float]:
    (output,), (heatmaps,) = found, expected
    stride = of_task(metadata.config, TopDownConfig).heatmap_stride
    coordinates, scores = decode_heatmaps(heatmaps)
    confident = scores > VISIBLE
    if metadata.decodes:
        keypoints, found_scores = output[..., :2], output[..., 2]
        differences = {"score": float(np.abs(found_scores - scores).max())}
    else:
        keypoints = decode_heatmaps(output)[0] * stride
        differences = {"heatmap": float(np.abs(output - heatmaps).max())}
    distances = np.linalg.norm(keypoints - coordinates * stride, axis=-1)[confident]
    differences["keypoint, input pixels"] = float(distances.max(initial=0))
    differences["keypoint in the mean, input pixels"] = float(distances.mean()) if len(distances) else 0.0
    differences["keypoints compared"] = int(confident.sum())
    return differences


def latency_ratio(runner: Callable[[np.ndarray], Any], eager: Callable[[np.ndarray], Any], images: np.ndarray) -> float:
    """Median time of a file over that of the eager networks, in one interleaved run."""
    times: dict[str, list[float]] = {"file": [], "eager": []}
    for _ in range(ROUNDS):
        times["file"].append(_seconds(runner, images))
        times["eager"].append(_seconds(eager, images))
    return round(statistics.median(times["file"][3:]) / statistics.median(times["eager"][3:]), 3)


def _seconds(run: Callable[[np.ndarray], Any], images: np.ndarray) -> float:
    start = time.perf_counter()
    run(images)
    return time.perf_counter() - start
