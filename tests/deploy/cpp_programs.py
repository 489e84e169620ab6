"""The build of deploy/cpp and the app files that its tests share; a small app that gives chosen answers."""

import ctypes
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT, trained_weights
from filelock import FileLock
from torch import Tensor, nn

from tinypose_torch import create_model
from tinypose_torch.export import export_app
from tinypose_torch.export.formats import as_method
from tinypose_torch.models.registry import get_config
from tinypose_torch.runtime.app_metadata import AppMetadata
from tinypose_torch.runtime.checksums import seal, unsealed
from tinypose_torch.runtime.loading import EXECUTORCH_METHOD
from tinypose_torch.runtime.metadata import ExportMetadata

SOURCE = ROOT / "deploy/cpp"
DETECTOR, POSE = "picodet_s_192_lcnet_pedestrian", "tinypose_128x96"
FRAME, PEOPLE, KEYPOINTS, STATE = (120, 160), 2, 17, (3, 118)  # of the small app
ROOM = 20_000  # bytes for the description in the small app
INF, NAN = float("inf"), float("nan")


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
        return build(folder, *options, "-DTINYPOSE_PROGRAM=OFF")
    assert configured.returncode == 0, configured.stderr
    built = subprocess.run([program, "--build", folder, "-j2"], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "warning" not in built.stderr
    return folder


def package_folder(name):
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{name} is absent")
    return Path(next(iter(spec.submodule_search_locations)))


def shared_folder(tmp_path_factory, worker_id, name):
    """A folder of all test processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / name
    folder.mkdir(exist_ok=True)
    return folder


def shared_build(tmp_path_factory, worker_id):
    """The folder of library and programs, built once for all files and processes."""
    if shutil.which("c++") is None:
        pytest.skip("a C++ compiler is absent")
    place = package_folder("executorch")
    folder = shared_folder(tmp_path_factory, worker_id, "cpp-build")
    with FileLock(folder / "lock"):
        return build(folder / "build", f"-DCMAKE_PREFIX_PATH={place}")  # nothing to do the second time


def shared_program(tmp_path_factory, worker_id):
    """The program for photos and videos."""
    program = shared_build(tmp_path_factory, worker_id) / "tinypose"
    if not program.is_file():
        pytest.skip("OpenCV for C++ is absent (libopencv-dev)")
    return program


def shared_app(tmp_path_factory, worker_id):
    """A genuine app for frames of 480 x 640 pixels with four people."""
    package_folder("executorch")
    path = shared_folder(tmp_path_factory, worker_id, "cpp-app") / "app.pte"
    with FileLock(path.with_suffix(".lock")):
        if not path.is_file():
            networks = [create_model(name, weights=trained_weights(name)) for name in (POSE, DETECTOR)]
            export_app(*networks, path, (480, 640), 4)
    return path


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


class ChosenAnswer(nn.Module):
    """Gives the answer whose number is the first value of a frame that is otherwise zero, and for other frames answer 0.

    Args:
        answers: ``(N, K, 4 + 1 + 3 * J)``: box, score and keypoints of every person.
        follows: Whether it is the method ``follow``: then the first keypoint of all people has the time of the frame as x,
            and the number of frames since the state was zeros as y.
    """

    answers: Tensor

    def __init__(self, answers: Tensor, follows: bool) -> None:
        super().__init__()
        self.register_buffer("answers", answers)
        self.follows = follows

    def forward(self, frame: Tensor, *state_and_time: Tensor) -> tuple[Tensor, ...]:
        values = frame.reshape(-1).to(torch.int64)
        number = values[:1] * (values.sum() == values[:1]).to(torch.int64)
        boxes, scores, keypoints = self.answers.index_select(0, number).squeeze(0).split([4, 1, 3 * KEYPOINTS], dim=1)
        people = boxes.clone(), scores.squeeze(1).clone()
        if not self.follows:
            return *people, keypoints.reshape(-1, KEYPOINTS, 3).clone()
        state, time = state_and_time
        following = state + 1
        first = torch.cat([time, following.reshape(-1)[:1], torch.zeros(1)]).to(torch.float32)
        moved = torch.nn.functional.pad(first.reshape(1, 1, 3), (0, 0, 0, KEYPOINTS - 1))
        ids = torch.arange(1, PEOPLE + 1)
        return *people, keypoints.reshape(-1, KEYPOINTS, 3) + moved, ids, following


def answer(score=0.9, box=(30.0, 20.0, 90.0, 110.0), keypoint=(50.0, 60.0, 0.8)):
    """One person, ``(PEOPLE, 4 + 1 + 3 * KEYPOINTS)``; the first keypoint has the coordinates 0, 0."""
    person = torch.tensor([*box, score, 0, 0, keypoint[2], *(KEYPOINTS - 1) * keypoint])
    return torch.stack([person, torch.zeros_like(person)])


NO_PEOPLE, FAR_AWAY = 1, 2  # numbers of answers of the small app
NOT_FINITE = range(3, 10)
ANSWERS = torch.stack(
    [
        answer(),
        answer(score=0),
        answer(box=(-1e30, 0, 1e30, 9), keypoint=(1e30, -1e30, 0.8)),
        answer(box=(30, NAN, 90, 170)),
        answer(box=(30, 20, INF, 170)),
        answer(score=INF),
        answer(score=NAN),
        answer(keypoint=(NAN, 1, 0.8)),
        answer(keypoint=(1, -INF, 0.8)),
        answer(keypoint=(1, 1, NAN)),
    ]
)


def describe_app():
    """The description of the small app as a dict."""
    networks = [ExportMetadata(get_config(name), True, name == POSE, 1, "fp32", {}) for name in (DETECTOR, POSE)]
    return json.loads(AppMetadata(*networks, FRAME, PEOPLE, 0.5, detect_every=1).to_json())


class FrameBytes(nn.Module):
    """Gives one person, whose keypoints are bytes of the frame at equal distances."""

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        every = frame.numel() // (3 * KEYPOINTS)
        values = frame.reshape(-1)[: every * 3 * KEYPOINTS].reshape(-1, every)[:, 0].to(torch.float32)
        keypoints = torch.cat([values, torch.zeros(3 * KEYPOINTS)]).reshape(PEOPLE, KEYPOINTS, 3)
        boxes, scores, _ = ANSWERS[0].split([4, 1, 3 * KEYPOINTS], dim=1)
        return boxes.clone(), scores.squeeze(1).clone(), keypoints


def write_app(path, methods, facts):
    """An app file of any modules.

    Args:
        methods: Module and example inputs by name.
        facts: The description, a dict; there is room for others.
    """
    from executorch.exir import to_edge

    exported = {name: torch.export.export(module, inputs) for name, (module, inputs) in methods.items()}
    edge = to_edge(exported, constant_methods={EXECUTORCH_METHOD: as_method(json.dumps(facts).ljust(ROOM))})
    path.write_bytes(seal(edge.to_executorch().buffer))
    return path


def write_small_app(path):
    """The app of `ChosenAnswer`, which runs at once."""
    frame = torch.zeros(*FRAME, 3, dtype=torch.uint8)
    state, time = torch.zeros(STATE, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    methods = {
        "forward": (ChosenAnswer(ANSWERS, follows=False), (frame,)),
        "follow": (ChosenAnswer(ANSWERS, follows=True), (frame, state, time)),
    }
    return write_app(path, methods, describe_app())


def write_described(path, app, text):
    """A copy of the small app with another description: a dict, or bytes."""
    content = unsealed(app)
    start = content.index(b'{"format"')
    text = text if isinstance(text, bytes) else json.dumps(text).encode()
    assert len(text) <= ROOM
    path.write_bytes(seal(content[:start] + text.ljust(ROOM) + content[start + ROOM :]))
    return path


def shared_small_app(tmp_path_factory, worker_id):
    package_folder("executorch")
    path = shared_folder(tmp_path_factory, worker_id, "cpp-app") / "small.pte"
    with FileLock(path.with_suffix(".lock")):
        if not path.is_file():
            write_small_app(path)
    return path


class Description(ctypes.Structure):
    """``tinypose_description`` of tinypose.h."""

    _fields_ = [
        ("pixels", ctypes.c_char_p),
        ("frame_bytes", ctypes.c_size_t),
        *((name, ctypes.c_int32) for name in ("height", "width", "max_people", "has_follow")),
        *((name, ctypes.c_int32) for name in ("num_keypoints", "num_links")),
        ("keypoint_names", ctypes.POINTER(ctypes.c_char_p)),
        ("links", ctypes.POINTER(ctypes.c_int32)),
    ]


class People(ctypes.Structure):
    """``tinypose_people`` of tinypose.h."""

    _fields_ = [
        ("count", ctypes.c_int32),
        *((name, ctypes.POINTER(ctypes.c_float)) for name in ("boxes", "scores", "keypoints")),
        ("ids", ctypes.POINTER(ctypes.c_int64)),
    ]
