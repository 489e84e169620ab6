"""Shared fixtures: the reference data beside the checkout, genuine weights, made-up photos."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: threads of one would wait for those of the other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

gc.set_threshold(100_000, 20, 20)  # objects are many here and stay; it took a sixth of three files' time

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("TINYPOSE_SHARED", ROOT.parent / "shared"))
REFERENCE = SHARED / "reference"
REAL = REFERENCE / "real"

REAL_PAIRS = {
    "picodet192_tinypose128x96": ("picodet_s_192_lcnet_pedestrian", "tinypose_128x96"),
    "picodet320_tinypose256x192": ("picodet_s_320_lcnet_pedestrian", "tinypose_256x192"),
}
DEMO_WEIGHTS = {
    "picodet_s_192_lcnet_pedestrian": ROOT / "weights/picodet_s_192_demo.safetensors",
    "tinypose_128x96": ROOT / "weights/tinypose_128x96_demo.safetensors",
}


# The first one exports what other files wait for.
SLOWEST = (
    *(
        "test_exported_files",
        "test_tutorial",
        "test_manual_commands",
        "test_every_model",
        "test_precisions",
        "test_cpp",
    ),
    *("test_resuming", "test_runs"),
)
SLOW = frozenset(("deploy", "training"))  # not "export", whose other files wait for those of the first


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first, so that all processes end together. Skip what needs the reference where it is absent; in CI it
    must be there."""
    items.sort(key=_haste)
    if REFERENCE.is_dir() or os.environ.get("CI"):
        return
    skip = pytest.mark.skip(reason=f"the reference data is not at {REFERENCE}")
    for item in items:
        if "needs_reference" in item.keywords:
            item.add_marker(skip)


def _haste(item: pytest.Item) -> int:
    if item.path.stem in SLOWEST:
        return SLOWEST.index(item.path.stem)
    return len(SLOWEST) + (not SLOW.intersection(item.path.parts))


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or fills the user's cache, or reaches a network; networks run eagerly unless a test says otherwise."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("TINYPOSE_CACHE", str(folder))
    monkeypatch.setenv("TINYPOSE_BACKEND", "eager")
    monkeypatch.delenv("TINYPOSE_PLUGINS", raising=False)
    monkeypatch.setenv("TINYPOSE_MIRROR", "http://127.0.0.1:9")  # nothing listens there
    return folder


@pytest.fixture(autouse=True)
def own_threads() -> Iterator[None]:
    """A test's number of PyTorch threads does not outlast it: more threads than cores wait for each other."""
    import torch

    before = torch.get_num_threads()
    yield
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)


@pytest.fixture(scope="session")
def filler() -> ModuleType:
    """The seeded weights of the recorded networks."""
    import seeded_weights

    return seeded_weights


@pytest.fixture(scope="session")
def app_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Folder of ``app.pte``, detector and pose network in one file as the command exports them, its receipt, and their
    weights; made at first use and shared by all test processes."""
    pytest.importorskip("executorch")
    import torch
    from filelock import FileLock

    from tinypose_torch import create_model
    from tinypose_torch.cli import main

    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "app"
    folder.mkdir(exist_ok=True)
    detector, pose = REAL_PAIRS["picodet192_tinypose128x96"]
    with FileLock(folder / "lock"):
        if not (folder / "app.pte").is_file():
            for name in (detector, pose):
                torch.save(create_model(name, weights=trained_weights(name)).state_dict(), folder / f"{name}.pt")
            files = [str(folder / f"{name}.pt") for name in (pose, detector)]
            arguments = ["--weights", files[0], "--with", detector, "--with-weights", files[1]]
            assert main(["export", pose, *arguments, "--output", str(folder / "app.pte")]) == 0
    return folder


def trained_weights(name: str) -> Path | None:
    """Genuine weights from the reference data, else the demo weights; None if the model has neither.

    The heatmaps of random weights have many peaks of nearly equal height, so that rounding decides which one is taken.
    """
    return REAL / f"weights/{name}.pdparams" if REFERENCE.is_dir() else DEMO_WEIGHTS.get(name)


def photos_of_people(count: int = 4) -> list[np.ndarray]:
    """RGB photos from the reference data, else rendered people, for the weights of ``trained_weights``."""
    from tinypose_torch.utils.images import load_image
    from train.synthetic.scenes import render_scene

    if REFERENCE.is_dir():
        return [load_image(file) for file in sorted((REAL / "images").glob("*.jpg"))[:count]]
    return [render_scene(np.random.default_rng([77, number]))[0] for number in range(count)]


def gradient_image(height: int = 120, width: int = 160) -> np.ndarray:
    """A colourful RGB image without people."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x % 256, y % 256, (x + y) % 256], axis=-1).astype(np.uint8)


def write_video(path: Path, frames: int = 12, fps: float = 25.0, size: tuple[int, int] = (160, 120)) -> Path:
    """A picture that turns round."""
    from tinypose_torch.video import VideoWriter

    with VideoWriter(path, fps, size) as writer:
        for index in range(frames):
            writer.write(np.roll(gradient_image(size[1], size[0]), index, axis=1))
    return path
