"""One image or frame that fails, for whatever reason, is reported; the others are predicted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT, gradient_image, write_video
from PIL import Image

from tinypose_torch import ImageError, PoseEstimator
from tinypose_torch.cli import main
from tinypose_torch.cli.photos import photos_for_network
from tinypose_torch.estimators import preprocessing
from tinypose_torch.estimators.top_down import people_for_network
from tinypose_torch.evaluation import top_down as top_down_evaluation
from tinypose_torch.factory import create_model
from tinypose_torch.models.config import config_of
from tinypose_torch.runtime import EagerRunner
from tinypose_torch.utils.images import find_inputs, image_errors, load_image
from tinypose_torch.video import VideoError, VideoReader

NAMES = ("picodet_s_192_lcnet_pedestrian", "tinypose_128x96")
WEIGHTS = [ROOT / f"weights/{name}_demo.safetensors" for name in ("picodet_s_192", "tinypose_128x96")]
DEMO = [
    "--detector",
    NAMES[0],
    "--detector-weights",
    str(WEIGHTS[0]),
    "--pose",
    NAMES[1],
    "--pose-weights",
    str(WEIGHTS[1]),
]
DEMO += ["--detection-threshold", "0.15"]  # one or two people in every picture


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Working folder with two photos, b.png being the only one of 40 rows."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(gradient_image(60, 80)).save(tmp_path / "a.png")
    Image.fromarray(gradient_image(40, 80)).save(tmp_path / "b.png")
    Image.fromarray(gradient_image(60, 80)).save(tmp_path / "c.png")
    return tmp_path


def raise_error(error):
    raise error


MEMORY_ERRORS = [
    MemoryError(),
    cv2.error("OpenCV(4.11.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 99 bytes"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried ..."),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes."),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
]


@pytest.mark.parametrize("error", MEMORY_ERRORS, ids=lambda error: type(error).__name__)
def test_memory_errors(error, photos, monkeypatch, capsys):
    """Where the network runs out of memory for one image, as it would for one of many people."""
    run = EagerRunner.run
    images = iter("aabcc")  # detector, then pose network; b fails in the detector
    monkeypatch.setattr(EagerRunner, "run", lambda self, x: raise_error(error) if next(images) == "b" else run(self, x))
    assert main(["predict", "a.png", "b.png", "c.png", *DEMO, "--json", "x.json"]) == 1
    assert "failed: b.png: not enough memory for this image" in capsys.readouterr().err
    assert [record["image"] for record in json.loads((photos / "x.json").read_text())] == ["a.png", "c.png"]


def test_other_errors_of_one_image():
    with pytest.raises(ImageError, match="cannot be processed: OpenCV says no"), image_errors():
        raise cv2.error("OpenCV says no\nand much more")
    with pytest.raises(ZeroDivisionError), image_errors():
        raise ZeroDivisionError


def test_nan_is_never_written(photos, capsys, monkeypatch):
    """Not in the JSON, whose other records stay, nor drawn."""
    estimate = PoseEstimator._estimate

    def broken(self, images, boxes):
        (poses,) = estimate(self, images, boxes)
        poses.keypoints[:, 0] = np.nan if len(images[0]) == 40 else 5
        return [poses]

    monkeypatch.setattr(PoseEstimator, "_estimate", broken)
    for suffix in ("json", "jsonl"):
        assert main(["predict", "a.png", "b.png", "c.png", *DEMO, "--json", f"x.{suffix}", "--output", "out"]) == 1
        assert "failed: b.png: the networks gave NaN or infinite numbers" in capsys.readouterr().err
        assert "NaN" not in (photos / f"x.{suffix}").read_text()
    assert [r["image"] for r in json.loads((photos / "x.json").read_text())] == ["a.png", "c.png"]
    assert sorted(path.name for path in (photos / "out").iterdir()) == ["a.png", "c.png"]


ODD = os.fsdecode(b"odd\xff.png")


def test_names_that_are_not_utf8(photos):
    """Printed and written with escapes; in a separate process, whose output is as strict as a user's."""
    Image.fromarray(gradient_image(60, 80)).save(photos / ODD)
    clip = os.fsdecode(b"odd\xfe.mp4")
    write_video(photos / "clip.mp4", 2).rename(photos / clip)
    command = [sys.executable, "-m", "tinypose_torch.cli", "predict", "a.png", ODD, clip, *DEMO]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run([*command, "--json", "x.json", "--output", "out"], capture_output=True, env=environment)
    assert done.returncode == 1
    assert b"\\udcff.png: " in done.stdout
    assert b"failed: odd\\udcfe.mp4: OpenCV cannot open names that are not UTF-8" in done.stderr
    records = json.loads((photos / "x.json").read_text())
    assert [record["image"] for record in records] == ["a.png", "odd\\udcff.png"]
    assert (photos / "out/odd\\udcff.png").is_file()


def test_long_names(photos, capsys):
    longest = "x" * 251
    for name in (f"{longest}.png", f"sub/{longest}.jpg", f"third/{longest}.jpg"):
        Path(name).parent.mkdir(exist_ok=True)
        Image.fromarray(gradient_image(60, 80)).save(photos / name)
    inputs = ["y" * 300 + ".png", "y" * 300 + ".mp4", "\0.png", f"{longest}.png", "sub", "third"]
    assert main(["predict", *inputs, *DEMO, "--output", "out"]) == 1
    errors = capsys.readouterr().err
    assert errors.count("no such file") == 3
    assert "3 of 6 inputs failed" in errors
    assert len({path.name for path in (photos / "out").iterdir()}) == 3


def test_unreadable_folders_are_reported(photos, monkeypatch):
    (photos / "sub/locked").mkdir(parents=True)
    Image.fromarray(gradient_image()).save(photos / "sub/d.png")
    scandir = os.scandir
    locked = str(photos / "sub/locked")
    refuse = PermissionError(13, "Permission denied", locked)
    monkeypatch.setattr(os, "scandir", lambda path: raise_error(refuse) if str(path) == locked else scandir(path))
    assert find_inputs([str(photos / "sub")]) == ([str(photos / "sub/d.png")], [locked])


def test_unreadable_file(photos, monkeypatch):
    monkeypatch.setattr(Image, "open", lambda path: raise_error(PermissionError(13, "Permission denied", str(path))))
    with pytest.raises(ImageError, match="a.png: Permission denied"):
        load_image("a.png")


def test_streams_go_on(photos):
    """Photos after one that fails, and frames after one that fails."""
    estimator = PoseEstimator(*NAMES, *WEIGHTS, backend="eager")
    write_video(photos / "v.mp4", frames=3)
    found, errors = [], []

    def estimate(images, boxes):
        found.extend(images)
        return raise_error(ImageError("not enough memory")) if len(found) in (2, 5) else [len(found)]

    estimator._estimate = estimate
    results = [
        poses for _, poses in estimator.stream(["a.png", "b.png", "c.png", "v.mp4"], lambda *e: errors.append(e))
    ]
    assert results == [1, 3, 4, 6]
    assert [(source, str(error)) for source, error in errors] == [
        ("b.png", "b.png: not enough memory"),
        ("v.mp4", "v.mp4: frame 1: not enough memory"),
    ]


def test_a_frame_that_fails_ends_its_video_only(photos, capsys, monkeypatch):
    write_video(photos / "v.mp4", frames=4)
    run = EagerRunner.run
    calls = iter(range(100))
    monkeypatch.setattr(
        EagerRunner, "run", lambda self, x: raise_error(MemoryError()) if next(calls) == 5 else run(self, x)
    )
    assert main(["predict", "v.mp4", "a.png", *DEMO, "--json", "x.jsonl", "--output", "out"]) == 1
    assert "failed: v.mp4: frame 2: not enough memory" in capsys.readouterr().err
    records = [json.loads(line) for line in (photos / "x.jsonl").read_text().splitlines()]
    assert [(record["image"], record.get("frame")) for record in records] == [
        ("v.mp4", 0),
        ("v.mp4", 1),
        ("a.png", None),
    ]
    with VideoReader("out/v.mp4") as video:
        assert len(list(video)) == 2


def test_a_frame_that_cannot_be_decoded(photos):
    write_video(photos / "v.mp4", frames=4)
    with VideoReader("v.mp4") as video:
        frames = iter(video)
        next(frames)
        video._capture = type(
            "Broken", (), {"read": lambda _: raise_error(cv2.error("bad")), "release": lambda _: None}
        )()
        with pytest.raises(VideoError, match="frame 1 cannot be decoded: bad"):
            next(frames)


@pytest.mark.parametrize("model", [*NAMES, "higherhrnet_w32_512"])
def test_photos_of_an_export(model, photos, caplog):
    """Of calibration: those that cannot be used are left out and named."""
    (photos / "d.png").write_bytes(b"nothing")
    entry = config_of(create_model(model))
    assert photos_for_network(str(photos), entry).shape == (3, *entry.input_size, 3)
    assert "d.png is left out: not an image that can be read" in caplog.text
    for name in "abc":
        (photos / f"{name}.png").unlink()
    with pytest.raises(FileNotFoundError, match="none of the 1 images in .* can be used"):
        photos_for_network(str(photos), entry)


def test_people_of_an_export(photos, caplog):
    (photos / "d.png").write_bytes(b"nothing")
    estimator = PoseEstimator(*NAMES, *WEIGHTS, backend="eager", detection_threshold=0.15)
    assert people_for_network(photos, estimator.detector, estimator.pose_config).shape[1:] == (128, 96, 3)
    assert "d.png is left out" in caplog.text


@pytest.fixture
def annotated(photos):
    """Annotations of a.png to d.png, d.png being damaged, and of a person in each."""
    (photos / "d.png").write_bytes((photos / "a.png").read_bytes()[:-300])
    people = []
    for identity in range(4):
        box = [5, 5, 40, 30]
        keypoints = [value for index in range(17) for value in (10 + index, 8 + index, 2)]
        facts = {"id": identity, "image_id": identity, "category_id": 1, "bbox": box, "iscrowd": 0, "area": 1200}
        people.append({**facts, "keypoints": keypoints, "num_keypoints": 17})
    names = ["nose", *(f"{side}_{part}" for part in PARTS for side in ("left", "right"))]
    content = {
        "images": [{"id": i, "file_name": f"{name}.png", "width": 80, "height": 60} for i, name in enumerate("abcd")],
        "annotations": people,
        "categories": [{"id": 1, "name": "person", "keypoints": names}],
    }
    (photos / "people.json").write_text(json.dumps(content))
    return photos


PARTS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
EVALUATIONS = {
    "top-down": ["--pose", NAMES[1], "--weights", str(WEIGHTS[1])],
    "flip": ["--pose", NAMES[1], "--weights", str(WEIGHTS[1]), "--flip"],
    "detector": ["--detector", NAMES[0], "--weights", str(WEIGHTS[0])],
    "both": ["--pose", NAMES[1], "--weights", str(WEIGHTS[1]), "--with-detector", NAMES[0]],
}
EVALUATIONS["both"] += ["--detector-weights", str(WEIGHTS[0]), "--detection-threshold", "0.05"]


@pytest.mark.parametrize(
    "kind", ["top-down", "detector", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("flip", "both"))]
)
def test_evaluations_go_on(kind, annotated, capsys):
    """A damaged image is reported; its people count as missed."""
    pytest.importorskip("pycocotools")
    arguments = ["evaluate", *EVALUATIONS[kind], "--annotations", "people.json", "--images", "."]
    assert main([*arguments, "--json", "x.json", "--predictions", "found.json"]) == 1
    errors = capsys.readouterr().err
    assert "failed: d.png: cannot be decoded" in errors
    assert "1 of 4 images failed; their people count as missed" in errors
    assert json.loads((annotated / "x.json").read_text())["failed_images"] == ["d.png"]
    assert {row["image_id"] for row in json.loads((annotated / "found.json").read_text())} == {0, 1, 2}
    for name in "abc":
        (annotated / f"{name}.png").write_bytes(b"")
    assert main(arguments) == 2
    assert "none of the 4 images can be used; the first, a.png: cannot be decoded" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "error"),
    list(zip(["top-down", "detector"], MEMORY_ERRORS, strict=False)),
    ids=lambda value: str(value)[:9],
)
def test_memory_errors_of_evaluations(kind, error, annotated, monkeypatch, capsys):
    """Where the memory is too small for an image, or for a batch of people, of which one is enough here."""
    pytest.importorskip("pycocotools")
    monkeypatch.setattr(top_down_evaluation, "BATCH_SIZE", 1)
    run, seen = EagerRunner.run, []
    monkeypatch.setattr(
        EagerRunner, "run", lambda self, x: raise_error(error) if seen.append(1) or len(seen) == 1 else run(self, x)
    )
    arguments = ["evaluate", *EVALUATIONS[kind], "--annotations", "people.json", "--images", "."]
    assert main([*arguments, "--json", "x.json"]) == 1
    assert "failed: a.png: not enough memory for this image" in capsys.readouterr().err
    assert json.loads((annotated / "x.json").read_text())["failed_images"] == ["a.png", "d.png"]


@pytest.mark.parametrize("error", MEMORY_ERRORS, ids=lambda error: type(error).__name__)
def test_memory_errors_of_calibration(error, photos, monkeypatch, caplog):
    """One photo of an export or a benchmark, in the resizing and in the detector."""
    resize, seen = preprocessing.resize_for_detector, []

    def broken(image, entry):
        seen.append(1)
        return raise_error(error) if len(seen) == 2 else resize(image, entry)

    monkeypatch.setattr(preprocessing, "resize_for_detector", broken)
    assert len(photos_for_network(str(photos), config_of(create_model(NAMES[0])))) == 2
    assert "b.png is left out: not enough memory for this image" in caplog.text


@pytest.mark.slow
def test_memory_errors_of_an_overlay(photos):
    """In the process that draws: the video fails with one line."""
    write_video(photos / "v.mp4", frames=3)
    patch = (
        "import tinypose_torch.estimators.results as r\ndef broken(*_):\n    raise MemoryError\nr.draw_poses = broken\n"
    )
    (photos / "sitecustomize.py").write_text(patch)
    command = [sys.executable, "-m", "tinypose_torch.cli", "predict", "v.mp4", "a.png", *DEMO, "--json", "x.json"]
    environment = {**os.environ, "PYTHONPATH": f"{photos}{os.pathsep}{ROOT}"}
    done = subprocess.run([*command, "--output", "out"], capture_output=True, text=True, env=environment)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "failed: v.mp4: MemoryError" in done.stderr
    assert "failed: a.png: not enough memory for this image" in done.stderr
