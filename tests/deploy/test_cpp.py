"""The C++ programs, built here and for ARM, give the people and keypoints of `AppEstimator`."""

import contextlib
import json
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import photos_of_people
from cpp_programs import SOURCE, build, run, shared_app, shared_build, shared_program

from tinypose_torch import AppEstimator
from tinypose_torch.runtime.checksums import seal, unsealed
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
def program(tmp_path_factory, worker_id):
    return shared_program(tmp_path_factory, worker_id)


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
def frames_file(photos, tmp_path_factory):
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


def test_photos(program, app, photos, tmp_path):
    output = tmp_path / "overlays"
    arguments = ("--image-dir", photos, "--output", output, "--json", tmp_path / "poses.json", "--threads", "1")
    result = run(program, "--app", app, *arguments)
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


def followed(app, frames, times):
    """Records of what the app's method ``follow`` gives in Python, frame by frame."""
    runner = AppEstimator(app).runner
    state = np.zeros(runner.metadata.state_shape)
    for frame, time in zip(frames, times, strict=True):
        boxes, scores, keypoints, ids, state = runner.run("follow", (frame, state, np.array([time])))
        count = int((scores > 0).sum())
        rows = zip(*(values[:count].tolist() for values in (ids, boxes, keypoints)), strict=True)
        yield [dict(zip(("id", "box", "keypoints"), row, strict=True)) for row in rows]


def test_video(program, app, photos, tmp_path):
    """A camera that pans, with noise: what the app's method ``follow`` gives in Python, frame by frame."""
    picture = cv2.resize(cv2.imread(str(photos / "0.png")), (700, 510))
    generator, clip = np.random.default_rng(0), tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"FFV1"), 30, FRAME[::-1])
    for index in range(12):
        noisy = picture[index : index + 480, 4 * index : 4 * index + 640] + generator.integers(-12, 13, (*FRAME, 3))
        writer.write(np.clip(noisy, 0, 255).astype(np.uint8))
    writer.release()
    output = ("--output", tmp_path / "out", "--json", tmp_path / "poses.json")
    result = run(program, "--app", app, "--video", clip, *output)
    assert result.returncode == 0, result.stderr
    assert "12 frames" in result.stdout
    records = json.loads((tmp_path / "poses.json").read_text())
    assert [record["frame"] for record in records] == list(range(12))
    with VideoReader(str(clip)) as video:
        frames, times = zip(*((frame.copy(), video.time) for frame in video), strict=True)
    expected = followed(app, frames, times)
    people = [check_people(record["poses"], each) for record, each in zip(records, expected, strict=True)]
    assert min(people) >= 1
    assert cv2.VideoCapture(str(tmp_path / "out/clip.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 12


def records_of(printed):
    """The people that the example prints, frame by frame."""
    frames = []
    for line in printed.splitlines():
        values = [float(word) for word in line.split() if re.fullmatch(r"-?[0-9.]+", word)]
        if line.startswith("frame"):
            frames.append([])
        elif line.startswith("  "):
            frames[-1][-1]["keypoints"].append(values)
        else:
            frames[-1].append({"id": int(values[0]), "box": values[1:5], "keypoints": []})
    return frames


def test_example(programs, app, frames_file):
    """The C program that an app developer copies; it fits on one page."""
    frames, path = frames_file
    result = run(programs / "people", app, path)
    assert result.returncode == 0, result.stderr
    expected = followed(app, frames, [index / 30 for index in range(len(frames))])
    assert sum(check_people(*pair) for pair in zip(records_of(result.stdout), expected, strict=True)) >= len(frames)
    assert len((SOURCE / "examples/people.c").read_text().splitlines()) < 60
    for arguments in ((), (app, "none.raw"), ("none.pte", path)):
        result = run(programs / "people", *arguments)
        assert result.returncode == 1
        assert "\npeople: " in "\n" + result.stderr


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux's /proc")
@pytest.mark.parametrize("method", ["forward", "follow"])
def test_memory(method, programs, app, frames_file, tmp_path):
    """Peak of a process that runs one method; without the other in its description, the example calls ``forward``."""
    content = unsealed(app)
    assert content.count(b'"follow": {') == 1
    if method == "forward":
        content = content.replace(b'"follow": {', b'"hidden": {')
    (tmp_path / "app.pte").write_bytes(seal(content))
    command = [programs / "people", tmp_path / "app.pte", "/dev/stdin"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes) as process:
        for number, frame in enumerate(frames_file[0]):
            process.stdin.write(frame.tobytes())
            process.stdin.flush()
            (count,) = re.fullmatch(rf"frame {number}: (\d+) people\n", process.stdout.readline().decode()).groups()
            lines = [process.stdout.readline() for _ in range(18 * int(count))]
            assert all(lines)
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.stdin.close()
    assert process.returncode == 0
    assert lines[0].startswith(b"id" if method == "follow" else b"box")
    assert int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) < MAX_MEMORY


def test_arm(programs, app, frames_file, tmp_path):
    """Cross-compiled and emulated: the numbers of this machine. OpenCV is not needed.

    The core is named because the emulator's default computes int8 wrongly.
    """
    for program in (*CROSS_COMPILERS, EMULATOR):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is absent")
    wheel = f"executorch=={version('executorch')}"
    if shutil.which("uv"):
        platform_tag = "aarch64-manylinux_2_28"
        fetch = ["uv", "pip", "install", "--python", sys.executable, "--python-platform", platform_tag]
    else:
        python = ".".join(platform.python_version_tuple()[:2])
        fetch = [sys.executable, "-m", "pip", "install", "--only-binary=:all:", "--python-version", python]
        fetch += ["--platform", "manylinux_2_28_aarch64"]
    subprocess.run([*fetch, "--no-deps", "--target", tmp_path / "arm", wheel], check=True, capture_output=True)
    folder = build(
        tmp_path / "build",
        f"-DCMAKE_TOOLCHAIN_FILE={SOURCE / 'aarch64-linux-gnu.cmake'}",
        f"-DCMAKE_PREFIX_PATH={tmp_path / 'arm/executorch'}",
        "-DTINYPOSE_PROGRAM=OFF",
    )
    emulator = (EMULATOR, "-cpu", "cortex-a76", "-L", "/usr/aarch64-linux-gnu")
    result = run(folder / "people", app, frames_file[1], emulator=emulator)
    assert result.returncode == 0, result.stderr
    expected = records_of(run(programs / "people", app, frames_file[1]).stdout)
    found = records_of(result.stdout)
    assert sum(check_people(*pair) for pair in zip(found, expected, strict=True)) >= len(frames_file[0])
