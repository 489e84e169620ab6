"""The C++ programs, built here and for ARM, give the people and keypoints of `AppEstimator`."""

import contextlib
import json
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import version

import cv2
import numpy as np
import pytest
from conftest import photos_of_people
from cpp_programs import SOURCE, build, run, shared_app, shared_build

from tinypose_torch import AppEstimator
from tinypose_torch.utils.defaults import VISIBLE
from tinypose_torch.video import VideoReader

pytestmark = pytest.mark.slow  # the programs are built first; tests/test_docs.py checks their options

CROSS_COMPILERS, EMULATOR = ("aarch64-linux-gnu-gcc", "aarch64-linux-gnu-g++"), "qemu-aarch64"
FRAME = (480, 640)
MAX_DIFFERENCE = 0.01  # pixels
MAX_MEMORY = 40_000  # KiB


@pytest.fixture(scope="module")
def app(tmp_path_factory, worker_id):
    return shared_app(tmp_path_factory, worker_id)


@pytest.fixture(scope="module")
def programs(tmp_path_factory, worker_id):
    """The folder of the programs."""
    return shared_build(tmp_path_factory, worker_id)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photos larger and smaller than a frame, and one of its size, as PNG, which all versions of all libraries decode
    alike."""
    folder = tmp_path_factory.mktemp("photos")
    sizes = ((960, 1000), (200, 250), FRAME, None)
    for number, (image, size) in enumerate(zip(photos_of_people(4), sizes, strict=True)):
        picture = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA) if size else image
        cv2.imwrite(str(folder / f"{number}.png"), picture[..., ::-1])
    return folder


@pytest.fixture(scope="module")
def raw_frames(photos, tmp_path_factory):
    """The photos as frames of the app, and the file of them."""
    frames = [cv2.resize(cv2.imread(str(file))[..., ::-1], FRAME[::-1]) for file in sorted(photos.glob("*.png"))]
    path = tmp_path_factory.mktemp("frames") / "frames.raw"
    path.write_bytes(b"".join(frame.tobytes() for frame in frames))
    return frames, path


@contextlib.contextmanager
def plain_opencv():
    """OpenCV's wheel resizes with Intel's library, which rounds otherwise than OpenCV itself."""
    cv2.ipp.setUseIPP(False)
    try:
        yield
    finally:
        cv2.ipp.setUseIPP(True)


def check_people(found, expected):
    """Records of the same people.

    Returns:
        Their number.
    """
    assert len(found) == len(expected)
    for one, two in zip(found, expected, strict=True):
        assert one.get("id") == two.get("id")
        assert np.abs(np.array(one["box"]) - two["box"]).max() < MAX_DIFFERENCE
        mine, theirs = np.array(one["keypoints"]), np.array(two["keypoints"])
        visible = theirs[:, 2] > VISIBLE
        assert np.abs(mine - theirs)[visible].max(initial=0) < MAX_DIFFERENCE
    return len(found)


def test_photos(programs, app, photos, tmp_path):
    output = tmp_path / "overlays"
    arguments = ("--image-dir", photos, "--output", output, "--json", tmp_path / "poses.json", "--threads", "1")
    result = run(programs / "tinypose", "--app", app, *arguments)
    assert result.returncode == 0, result.stderr
    records = json.loads((tmp_path / "poses.json").read_text())
    files = sorted(photos.glob("*.png"))
    assert [record["image"] for record in records] == [str(file) for file in files]
    estimator = AppEstimator(app)
    with plain_opencv():
        people = [
            check_people(record["poses"], estimator(file).to_records())
            for record, file in zip(records, files, strict=True)
        ]
    assert min(people) >= 1
    for file in files:
        overlay, photo = cv2.imread(str(output / file.name)), cv2.imread(str(file))
        assert overlay.shape == photo.shape
        assert (overlay != photo).any()


def records_of(printed):
    """The people that the example prints, frame by frame."""
    frames = []
    for line in printed.splitlines():
        numbers = [float(number) for number in re.findall(r"(?<= )-?[0-9.]+\b", line)]
        if line.startswith("frame"):
            frames.append([])
        elif line.startswith("  "):
            frames[-1][-1]["keypoints"].append(numbers)
        else:
            *names, x1, y1, x2, y2, score = numbers
            frames[-1].append({"box": [x1, y1, x2, y2], "score": score, "keypoints": []})
            if names:
                frames[-1][-1]["id"] = int(names[0])
    return frames


def check_example(program, app, raw_frames, emulator=()):
    frames, path = raw_frames
    result = run(program, app, path, emulator=emulator)
    assert result.returncode == 0, result.stderr
    estimator = AppEstimator(app)
    found = records_of(result.stdout)
    assert sum(check_people(*pair) for pair in zip(found, map(estimator.to_rec, frames), strict=True)) >= 4
