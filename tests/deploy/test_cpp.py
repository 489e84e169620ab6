"""The C++ program, built against both runtimes and for ARM, gives the pipeline's people and keypoints."""

import importlib.util
import json
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import REAL, photos_of_people

from tinypose_torch import PoseEstimator, create_model
from tinypose_torch.export import ExportOptions, export_model
from tinypose_torch.runtime.checksums import seal, seal_torchscript
from tinypose_torch.tracking.pose_tracker import PoseTracker
from tinypose_torch.tracking.smoothing import Smoothing
from tinypose_torch.video import VideoReader

pytestmark = pytest.mark.slow  # the programs are built first; tests/test_docs.py checks their options

SOURCE = Path(__file__).parents[2] / "deploy/cpp"
DETECTOR, POSE = "picodet_s_192_lcnet_pedestrian", "tinypose_128x96"
CROSS_COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
ARM_OPENCV = Path("/usr/lib/aarch64-linux-gnu/cmake/opencv4")


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


@pytest.fixture(scope="module")
def networks(app_folder):
    return [create_model(name, weights=app_folder / f"{name}.pt") for name in (DETECTOR, POSE)]


@pytest.fixture(scope="module")
def app(app_folder):
    """Detector and pose network in one .pte."""
    return app_folder / "app.pte"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A few photos as PNG, which every version of every library decodes alike."""
    folder = tmp_path_factory.mktemp("photos")
    for number, image in enumerate(photos_of_people(4)):
        cv2.imwrite(str(folder / f"{number}.png"), image[..., ::-1])
    return folder


@pytest.fixture(scope="module")
def executorch_program(tmp_path_factory):
    if shutil.which("c++") is None:
        pytest.skip("a C++ compiler is absent")
    return build(
        tmp_path_factory.mktemp("executorch"),
        "-DTINYPOSE_RUNTIME=executorch",
        f"-DCMAKE_PREFIX_PATH={package_folder('executorch')}",
    )


@pytest.fixture(scope="module")
def libtorch_program(tmp_path_factory):
    if shutil.which("c++") is None:
        pytest.skip("a C++ compiler is absent")
    return build(
        tmp_path_factory.mktemp("libtorch"), "-DTINYPOSE_RUNTIME=libtorch", f"-DTORCH_ROOT={package_folder('torch')}"
    )


def run(program, *arguments, emulator=()):
    return subprocess.run([*emulator, program, *arguments], capture_output=True, text=True, check=False, timeout=300)


def compare(records, networks, photos):
    """With the pipeline; OpenCV's wheel resizes with Intel's library, which rounds otherwise than OpenCV itself."""
    estimator = PoseEstimator(DETECTOR, POSE, *_saved(networks, photos.parent))
    cv2.ipp.setUseIPP(False)
    try:
        expected = {str(file): estimator(file).to_records() for file in sorted(photos.glob("*.png"))}
    finally:
        cv2.ipp.setUseIPP(True)
    found = {record["image"]: record["poses"] for record in records}
    assert list(found) == list(expected)
    assert any(expected.values())
    for file, people in expected.items():
        assert len(found[file]) == len(people)
        for one, two in zip(found[file], people, strict=True):
            assert np.abs(np.array(one["box"]) - two["box"]).max() < 0.01
            mine, theirs = np.array(one["keypoints"]), np.array(two["keypoints"])
            visible = theirs[:, 2] > 0.2
            assert np.abs(mine - theirs)[visible].max(initial=0) < 0.02


def _saved(networks, folder):
    paths = []
    for network in networks:
        paths.append(folder / f"{network.config.name}.pt")
        torch.save(network.state_dict(), paths[-1])
    return paths


def test_executorch(executorch_program, app, networks, photos, tmp_path):
    result = run(
        executorch_program,
        *("--detector", app, "--pose", app, "--image-dir", photos, "--output", tmp_path / "overlays"),
        *("--json", tmp_path / "poses.json", "--threads", "1"),
    )
    assert result.returncode == 0, result.stderr
    compare(json.loads((tmp_path / "poses.json").read_text()), networks, photos)
    assert len(list((tmp_path / "overlays").glob("*.png"))) == len(list(photos.glob("*.png")))


def test_libtorch(libtorch_program, networks, photos, tmp_path):
    files = []
    for network in networks:
        files.append(tmp_path / f"{network.config.name}.torchscript")
        export_model(network, files[-1], ExportOptions("torchscript"))
    result = run(
        libtorch_program,
        *("--detector", files[0], "--pose", files[1], "--image-dir", photos, "--output", tmp_path / "overlays"),
        *("--json", tmp_path / "poses.json", "--threads", "2"),
    )
    assert result.returncode == 0, result.stderr
    compare(json.loads((tmp_path / "poses.json").read_text()), networks, photos)


def test_video(executorch_program, app, photos, tmp_path):
    image = cv2.resize(cv2.imread(str(next(iter(sorted(photos.glob("*.png")))))), (320, 240))
    writer = cv2.VideoWriter(str(tmp_path / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (320, 240))
    for _ in range(3):
        writer.write(image)
    writer.release()
    result = run(
        executorch_program,
        *("--detector", app, "--pose", app, "--video", tmp_path / "clip.mp4", "--output", tmp_path / "out"),
        *("--json", tmp_path / "poses.json"),
    )
    assert result.returncode == 0, result.stderr
    assert "3 frames" in result.stdout
    assert [record["frame"] for record in json.loads((tmp_path / "poses.json").read_text())] == [0, 1, 2]
    assert cv2.VideoCapture(str(tmp_path / "out/clip.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 3


@pytest.mark.needs_reference
@pytest.mark.parametrize("smoothing", ["on", "off"])
def test_followed_people(smoothing, executorch_program, app, networks, tmp_path):
    """A camera that pans, with noise, the detector in every third frame: what Python's follower gives, frame by frame."""
    picture = cv2.imread(str(REAL / "images/coco_000000000785.jpg"))
    generator = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"FFV1"), 30, (560, 420))
    for index in range(12):
        noisy = picture[:420, 4 * index : 4 * index + 560] + generator.integers(-12, 13, (420, 560, 3))
        writer.write(np.clip(noisy, 0, 255).astype(np.uint8))
    writer.release()
    common = ["--detection-threshold", "0.4", "--detect-every", "3", "--smoothing", smoothing]
    result = run(
        executorch_program,
        *("--detector", app, "--pose", app, "--video", tmp_path / "clip.avi", "--output", tmp_path / "out"),
        *("--json", tmp_path / "poses.json", "--threads", "1", *common),
    )
    assert result.returncode == 0, result.stderr
    records = json.loads((tmp_path / "poses.json").read_text())
    estimator = PoseEstimator(DETECTOR, POSE, *_saved(networks, tmp_path), backend="eager", detection_threshold=0.4)
    follower = PoseTracker(estimator, 3, smoothing=Smoothing() if smoothing == "on" else None)
    cv2.ipp.setUseIPP(False)
    try:
        with VideoReader(str(tmp_path / "clip.avi")) as video:
            expected = [follower(frame, index / 30).to_records() for index, frame in enumerate(video)]
    finally:
        cv2.ipp.setUseIPP(True)
    assert len(records) == len(expected) == 12
    for record, people in zip(records, expected, strict=True):
        assert [pose["id"] for pose in record["poses"]] == [pose["id"] for pose in people]
        assert people
        for one, two in zip(record["poses"], people, strict=True):
            assert np.abs(np.array(one["box"]) - two["box"]).max() < 0.05
            mine, theirs = np.array(one["keypoints"]), np.array(two["keypoints"])
            assert np.abs(mine - theirs)[theirs[:, 2] > 0.2].max() < 0.05


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--detector", "APP"], 2, "--pose is missing"),
        (["--wrong", "1"], 2, "unknown option '--wrong'"),
        (["--detector", "APP", "--pose", "APP", "--output", "OUT"], 2, "give one of --image"),
        (["--detector", "APP", "--pose", "none.pte", "--image", "x", "--output", "OUT"], 2, "cannot open none.pte"),
        (["--detector", "APP", "--pose", "CUT", "--image", "x", "--output", "OUT"], 2, "cut short"),
        (["--detector", "APP", "--pose", "ALTERED", "--image", "x", "--output", "OUT"], 2, "its checksum is wrong"),
        (["--detector", "APP", "--pose", "APP", "--image", "x.png", "--output", "OUT"], 2, "no image that can be read"),
        (["--detector", "APP", "--pose", "APP", "--image-dir", "OUT", "--output", "OUT"], 2, "holds no images"),
        (["--detector", "APP", "--pose", "APP", "--image-dir", "MIXED", "--output", "OUT"], 1, "broken.png"),
        (["--detector", "APP", "--pose", "APP", "--video", "x", "--output", "OUT"], 2, "no video that can be read"),
        (["--detector", "APP", "--pose", "APP", "--threads", "x", "--image", "x", "--output", "OUT"], 2, "expected a"),
        (
            ["--detector", "APP", "--pose", "APP", "--image", "x", "--smoothing", "on", "--output", "OUT"],
            2,
            "for --video",
        ),
        (["--detector", "APP", "--pose", "APP", "--video", "x", "--smoothing", "y", "--output", "OUT"], 2, "on or off"),
        (
            ["--detector", "APP", "--pose", "APP", "--video", "x", "--detect-every", "0", "--output", "OUT"],
            2,
            "expected a",
        ),
        (["--help"], 0, ""),
    ],
)
def test_wrong_commands(arguments, status, message, executorch_program, app, photos, tmp_path):
    content = app.read_bytes()
    (tmp_path / "cut.pte").write_bytes(content[:-100])
    altered = bytearray(content)
    altered[len(altered) // 2] ^= 1  # a weight, which no runtime would notice
    (tmp_path / "altered.pte").write_bytes(altered)
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    (mixed / "broken.png").write_bytes(b"nothing")
    shutil.copy(next(iter(photos.glob("*.png"))), mixed / "good.png")
    (tmp_path / "out").mkdir()
    names = {
        "APP": app,
        "CUT": tmp_path / "cut.pte",
        "ALTERED": tmp_path / "altered.pte",
        "OUT": tmp_path / "out",
        "MIXED": mixed,
    }
    result = run(executorch_program, *(names.get(argument, argument) for argument in arguments))
    assert result.returncode == status, result.stderr
    assert message in result.stderr


def test_inputs_are_never_replaced(executorch_program, app, photos, tmp_path):
    """Nor is the overlay of another image."""
    photo, other = tmp_path / "a.png", tmp_path / "b.bmp"
    image = cv2.imread(str(next(iter(photos.glob("*.png")))))
    for path in (photo, tmp_path / "a.bmp", other):
        cv2.imwrite(str(path), image)
    before = photo.read_bytes()
    base = ["--detector", app, "--pose", app, "--image"]
    for arguments in (
        [photo, "--output", tmp_path],
        [other, "--output", tmp_path / "out", "--json", other],
        [other, "--output", tmp_path / "out", "--json", app],
    ):
        result = run(executorch_program, *base, *arguments)
        assert result.returncode == 2, result.stderr
        assert "would replace an input" in result.stderr
    result = run(executorch_program, *base[:-1], "--image-dir", tmp_path, "--output", tmp_path)
    assert result.returncode == 1
    assert "a.png would replace an input" in result.stderr
    assert photo.read_bytes() == before
    assert (tmp_path / "b.png").is_file()
    same = tmp_path / "same"
    same.mkdir()
    for name in ("a.png", "a.bmp"):
        shutil.copy(tmp_path / name, same)
    result = run(executorch_program, *base[:-1], "--image-dir", same, "--output", tmp_path / "all")
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["a.png", "a_2.png"]


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 119, 120, 5000])
def test_the_checksum_is_no_promise(size, executorch_program, app, tmp_path):
    """Sealed as it should be, of sizes around those of SHA-256's blocks, and yet no program."""
    (tmp_path / "sealed.pte").write_bytes(seal(b"\x05" * size))
    arguments = ("--pose", tmp_path / "sealed.pte", "--image", "x", "--output", tmp_path / "out")
    result = run(executorch_program, "--detector", app, *arguments)
    assert result.returncode == 2, result.stderr
    assert "sealed.pte: ExecuTorch refuses it" in result.stderr


def test_networks_of_the_wrong_task(libtorch_program, networks, tmp_path):
    export_model(networks[1], tmp_path / "pose.torchscript", ExportOptions("torchscript"))
    path = tmp_path / "pose.torchscript"
    result = run(libtorch_program, "--detector", path, "--pose", path, "--image", "x", "--output", tmp_path / "out")
    assert result.returncode == 2
    assert f"is {POSE}, which is not for detection" in result.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], "has no checksum at its end"),
        (lambda data: data[:9000] + bytes([data[9000] ^ 1]) + data[9001:], "its checksum is wrong"),
        (lambda data: seal_torchscript(data[:-42] + bytes(2)), ""),  # sealed again
    ],
)
def test_the_checksum_of_torchscript(change, message, libtorch_program, networks, tmp_path):
    export_model(networks[1], tmp_path / "pose.torchscript", ExportOptions("torchscript"))
    path = tmp_path / "altered.torchscript"
    path.write_bytes(change((tmp_path / "pose.torchscript").read_bytes()))
    result = run(libtorch_program, "--detector", path, "--pose", path, "--image", "x", "--output", tmp_path / "out")
    assert result.returncode == 2
    assert (message or f"is {POSE}, which is not for detection") in result.stderr


def test_arm(app, networks, photos, tmp_path):
    """Cross-compiled and emulated. Times mean nothing there; the numbers do.

    The core is named because the emulator's default computes int8 wrongly.
    """
    for program in (CROSS_COMPILER, EMULATOR):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is absent")
    if not ARM_OPENCV.is_dir():
        pytest.skip("OpenCV for aarch64 is absent (libopencv-dev:arm64, which replaces that of this machine)")
    wheel = f"executorch=={version('executorch')}"
    if shutil.which("uv"):
        platform_tag = "aarch64-manylinux_2_28"
        fetch = ["uv", "pip", "install", "--python", sys.executable, "--python-platform", platform_tag]
    else:
        python = ".".join(platform.python_version_tuple()[:2])
        fetch = [sys.executable, "-m", "pip", "install", "--only-binary=:all:", "--python-version", python]
        fetch += ["--platform", "manylinux_2_28_aarch64"]
    subprocess.run([*fetch, "--no-deps", "--target", tmp_path / "arm", wheel], check=True, capture_output=True)
    program = build(
        tmp_path / "build",
        f"-DCMAKE_TOOLCHAIN_FILE={SOURCE / 'aarch64-linux-gnu.cmake'}",
        f"-DCMAKE_PREFIX_PATH={tmp_path / 'arm/executorch'}",
        f"-DOpenCV_DIR={ARM_OPENCV}",
    )
    result = run(
        program,
        *("--detector", app, "--pose", app, "--image-dir", photos, "--output", tmp_path / "overlays"),
        *("--json", tmp_path / "poses.json", "--threads", "1"),
        emulator=(EMULATOR, "-cpu", "cortex-a76"),
    )
    assert result.returncode == 0, result.stderr
    compare(json.loads((tmp_path / "poses.json").read_text()), networks, photos)
