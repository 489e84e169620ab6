"""Recordings of PaddleDetection in ``tests/reference``; arrays are stored whole, sampled, or as a digest.

``tests/reference/README.md`` describes the forms, and ``tests/make_recordings.py`` writes them.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

RECORDINGS = Path(__file__).resolve().parent / "reference"
POSITIONS = 4096
BLOCKS = 256


def recording(name: str) -> Path:
    """Path of a file of the recordings.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if not (RECORDINGS / name).exists():
        raise FileNotFoundError(f"no recording {name} in {RECORDINGS}")
    return RECORDINGS / name


def read_json(name: str) -> Any:
    """Content of a JSON file, which may be compressed: ``models/x/manifest.json`` is read from ``manifest.json.xz``."""
    packed = RECORDINGS / f"{name}.xz"
    return json.loads(lzma.decompress(packed.read_bytes()) if packed.exists() else recording(name).read_bytes())


def read_manifest(folder: str) -> dict[str, Any]:
    """Manifest of a recorded network: names, shapes and gains of its tensors, its input, and its configuration."""
    return read_json(f"models/{folder}/manifest.json")


def unpack_network(folder: str, target: Path) -> Path:
    """Write the recording of a network as PaddleDetection's recorder did: ``manifest.json`` and ``io.npz``."""
    target.mkdir()
    (target / "manifest.json").write_text(json.dumps(read_manifest(folder)))
    shutil.copyfile(recording(f"models/{folder}/io.npz"), target / "io.npz")
    return target


def catalogue_name(folder: str) -> str:
    """The catalogue's name of a folder in reference/models."""
    folder = folder.replace("higherhrnet_hrnet_", "higherhrnet_")
    renamed = {"ppyolov2_r50vd_dcn_365e_coco": "ppyolov2_r50vd_dcn", "fairmot_dla34_30e_1088x608": "fairmot_dla34"}
    folder = renamed.get(folder, folder)
    keep = folder.startswith(("picodet", "tinypose"))
    return folder if keep else folder.removesuffix("_coco")


def reference_models(*, recorded: bool) -> list[str]:
    """Folders in reference/models whose models are in the catalogue, all or those with recorded outputs."""
    from tinypose_torch import list_models

    wanted = "io.npz" if recorded else "manifest.json.xz"
    found = {file.parent.name for file in RECORDINGS.glob(f"models/*/{wanted}")}
    return sorted(name for name in found if catalogue_name(name) in list_models())


class Recording(Mapping[str, np.ndarray]):
    """An ``.npz`` file of the recordings. As a mapping it holds the arrays that are stored whole."""

    def __init__(self, name: str) -> None:
        self._arrays = np.load(recording(name), allow_pickle=False)
        self._names = {key.split("@")[0] for key in self._arrays}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def has(self, name: str) -> bool:
        """Whether the array was recorded, in whatever form."""
        return name in self._names

    def difference(self, name: str, found: np.ndarray) -> float:
        """Largest absolute difference from a recorded array.

        Of a sampled array the recorded positions count, and the means of its blocks: a mean differs by at most as much as
        the value that differs most, so that the same tolerance holds for both.

        Raises:
            KeyError: No such array was recorded with its values.
        """
        found = np.asarray(found)
        if name in self:
            return _largest(found, self[name])
        means = _largest(block_means(found), self[f"{name}@means"])
        return max(_largest(*self.sampled(name, found)), means)

    def sampled(self, name: str, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The values of an array at the recorded positions, and the recorded values.

        Raises:
            KeyError: No such array was recorded with its values.
        """
        if name in self:
            return found, self[name]
        key = next((key for key in self if key.startswith(f"{name}@sub")), name)
        return found.reshape(-1)[:: int(key.partition("@sub")[2])], self[key]

    def equals(self, name: str, found: np.ndarray) -> bool:
        """Whether an array is the recorded one, value by value."""
        if name in self:
            return np.array_equal(found, self[name])
        return np.array_equal(digest(found), self[f"{name}@sha256"])

    def equally_positive(self, name: str, found: np.ndarray) -> bool:
        """Whether the same values as in the recorded array are above zero."""
        if name in self:
            return np.array_equal(found > 0, self[name] > 0)
        return np.array_equal(digest(found > 0), self[f"{name}@positive"])


def _largest(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    difference = np.abs(found.astype(np.float64) - expected)
    return float(difference.max(initial=0)) if not np.isnan(difference).any() else math.nan


def sampling_stride(size: int) -> int:
    """Stride that leaves at most `POSITIONS` of the values, spread over all rows, columns and channels."""
    stride = -(-size // POSITIONS)
    while math.gcd(stride, size) != 1:
        stride += 1
    return stride


def block_means(array: np.ndarray) -> np.ndarray:
    """Means of `BLOCKS` consecutive parts of the flattened array."""
    return np.array([part.mean(dtype=np.float64) for part in np.array_split(array.reshape(-1), BLOCKS)])


def digest(array: np.ndarray) -> np.ndarray:
    """SHA-256 of an array's type, shape and values."""
    header = f"{array.dtype.str} {array.shape} ".encode()
    return np.frombuffer(hashlib.sha256(header + np.ascontiguousarray(array).tobytes()).digest(), np.uint8)
