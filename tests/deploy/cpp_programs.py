"""Builds of the C++ program, one for each runtime, shared by all test processes; and small networks for it."""

import dataclasses
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from torch import Tensor, nn

from tinypose_torch.models.registry import get_config
from tinypose_torch.runtime.checksums import seal_torchscript
from tinypose_torch.runtime.loading import TORCHSCRIPT_EXTRA
from tinypose_torch.runtime.metadata import ExportMetadata

SOURCE = Path(__file__).parents[2] / "deploy/cpp"
DETECTOR, POSE = "picodet_s_192_lcnet_pedestrian", "tinypose_128x96"
CANDIDATES = 24 * 24 + 12 * 12 + 6 * 6 + 3 * 3  # of that detector


def cmake():
    found = shutil.which("cmake", path=str(Path(sys.executable).parent)) or shutil.which("cmake")
    if found is None:
        pytest.skip("cmake is absent")
    output = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    if tuple(int(part) for part in output.split()[2].split("-")[0].split(".")[:2]) < (3, 28):
        pytest.skip("cmake is older than 3.28")
    return found


def build(folder, *options):
    program = cmake()
    configured = subprocess.run(
        [program, "-S", SOURCE, "-B", folder, *options], capture_output=True, text=True, check=False
    )
    if 'Could not find a package configuration file provided by "OpenCV"' in configured.stderr:
        pytest.skip("OpenCV for C++ is absent (libopencv-dev)")
    assert configured.returncode == 0, configured.stderr
    built = subprocess.run([program, "--build", folder, "-j2"], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "tinypose"


def package_folder(name):
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{name} is absent")
    return Path(next(iter(spec.submodule_search_locations)))


def shared_build(runtime, tmp_path_factory, worker_id):
    """The program for a runtime, ``"executorch"`` or ``"libtorch"``; built once for all files and processes."""
    if shutil.which("c++") is None:
        pytest.skip("a C++ compiler is absent")
    place = {
        "executorch": lambda: f"-DCMAKE_PREFIX_PATH={package_folder('executorch')}",
        "libtorch": lambda: f"-DTORCH_ROOT={package_folder('torch')}",
    }[runtime]()
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / f"cpp-{runtime}"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        return build(folder / "build", f"-DTINYPOSE_RUNTIME={runtime}", place)  # nothing to do the second time


def run(program, *arguments, emulator=()):
    return subprocess.run(
        [*emulator, program, *arguments], capture_output=True, text=True, errors="replace", check=False, timeout=300
    )


def files_in(folder):
    """Every file and folder with its contents, links unfollowed."""
    return {
        path: os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


class FakeDetector(nn.Module):
    """Finds one person, always in the same place."""

    def __init__(self, scores: Tensor, boxes: Tensor) -> None:
        super().__init__()
        self.scores, self.boxes = scores, boxes

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return self.scores, self.boxes


class FakePose(nn.Module):
    """Keypoints that depend on nothing but the number of calls before."""

    calls: int

    def __init__(self, keypoints: Tensor) -> None:
        super().__init__()
        self.keypoints = keypoints
        self.calls = 0

    def forward(self, image: Tensor) -> Tensor:
        self.calls += 1
        moved = torch.tensor([7.0 * (self.calls % 3), 2.0 * self.calls, 0.0])
        return self.keypoints + moved


def fake_detector(score=0.9, box=(30.0, 20.0, 90.0, 170.0)):
    scores, boxes = torch.zeros(1, CANDIDATES, 1), torch.zeros(1, CANDIDATES, 4)
    scores[0, 5, 0], boxes[0, 5] = score, torch.tensor(box)
    return FakeDetector(scores, boxes)


def fake_pose(value=0.8):
    keypoints = torch.arange(17 * 3, dtype=torch.float32).reshape(1, 17, 3) % 90
    keypoints[..., 2] = value
    return FakePose(keypoints)


def describe(name, **changes):
    """The description of a catalogue model in a file, as a dict."""
    entry = dataclasses.replace(get_config(name), **changes)
    return json.loads(ExportMetadata(entry, True, entry.task == "pose", 1, "fp32", {"torch": "2"}).to_json())


def write_torchscript(path, network, description):
    """A sealed TorchScript file.

    Args:
        description: A dict, or text.
    """
    text = description if isinstance(description, (str, bytes)) else json.dumps(description)
    archive = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the format is deprecated
        torch.jit.save(torch.jit.script(network.eval()), archive, _extra_files={TORCHSCRIPT_EXTRA: text})
    path.write_bytes(seal_torchscript(archive.getvalue()))
    return path


def write_fakes(folder):
    """A detector and a pose network that run at once."""
    return (
        write_torchscript(folder / "detector.torchscript", fake_detector(), describe(DETECTOR)),
        write_torchscript(folder / "pose.torchscript", fake_pose(), describe(POSE)),
    )
