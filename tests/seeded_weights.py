"""Seeded weights of the recorded networks: every tensor is a function of its name, shape and gain in the manifest.

``tests/reference/README.md`` states the recipe. The recordings of PaddleDetection were made with these weights.
"""

from __future__ import annotations

import math
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from convert.verify import recorded_input
from tinypose_torch.checkpoints.paddle_params import CHUNK_TABLE, NAME_TABLE

Array = np.ndarray


def fill(name: str, shape: tuple[int, ...], dtype: str = "float32", gain: float = 1.0) -> Array:
    """Values of one tensor.

    Raises:
        ValueError: There is no recipe for a tensor of this name and shape.
    """
    generator = np.random.RandomState(zlib.crc32(name.encode()))
    if name.endswith("_variance") or (name.endswith("weight") and len(shape) == 1):
        values = generator.uniform(0.5, 1.5, shape)
    elif name.endswith(("_mean", "bias")):
        values = generator.standard_normal(shape) * 0.1
    elif len(shape) >= 2:
        fan_in = shape[0] if len(shape) == 2 else math.prod(shape[1:])
        values = generator.standard_normal(shape) * np.sqrt(2.0 / fan_in)
    else:
        raise ValueError(f"no recipe for {name} of shape {shape}")
    return (values * gain).astype(dtype)


def build(manifest: dict[str, Any]) -> dict[str, Array]:
    """All tensors of a manifest by name."""
    aliases, overrides, gains = (manifest.get(key, {}) for key in ("aliases", "overrides", "gains"))
    tensors = {}
    for name, shape, dtype in manifest["params"]:
        source = aliases.get(name, name)
        if source in overrides:
            tensors[name] = np.ascontiguousarray(np.broadcast_to(np.asarray(overrides[source], dtype), shape))
        else:
            tensors[name] = fill(source, tuple(shape), dtype, gains.get(source, 1.0))
    return tensors


def make_input(shape: list[int] | tuple[int, ...], seed: int) -> Array:
    """Input of a recording."""
    return recorded_input({"shape": list(shape), "seed": seed})


def manifest_input(manifest: dict[str, Any]) -> Array:
    """Input of a manifest's recording."""
    return recorded_input(manifest["input"])


def save_pdparams(tensors: dict[str, Array], path: str | Path, protocol: int = 4, chunk_bytes: int = 2**30 - 1) -> None:
    """Write a file as ``paddle.save`` does; with protocols 2 and 3, larger tensors are divided into chunks."""
    content: dict[str, Any] = {}
    chunks = {}
    for name, tensor in tensors.items():
        size = chunk_bytes // tensor.itemsize
        if protocol == 4 or tensor.size <= size:
            content[name] = np.ascontiguousarray(tensor)
            continue
        flat = tensor.ravel()
        pieces = {
            f"{name}@@.{index}": flat[start : start + size] for index, start in enumerate(range(0, flat.size, size))
        }
        content |= pieces
        chunks[name] = {"OriginShape": tensor.shape, "slices": list(pieces)}
    content[NAME_TABLE] = {name: f"reference_{index}" for index, name in enumerate(tensors)}
    if chunks:
        content[CHUNK_TABLE] = chunks
    Path(path).write_bytes(pickle.dumps(content, protocol))
