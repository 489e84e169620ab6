"""The command as a person uses it."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import REAL, ROOT, gradient_image, write_video
from PIL import Image

from tinypose_torch import Poses, create_model
from tinypose_torch.checkpoints.files import save_safetensors
from tinypose_torch.cli import main
from tinypose_torch.video import VideoReader

DETECTOR, POSE = "picodet_s_192_lcnet_pedestrian", "tinypose_128x96"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    arguments = []
    for role, name in (("detector", DETECTOR), ("pose", POSE)):
        torch.manual_seed(1)
        path = folder / f"{name}.safetensors"
        save_safetensors(create_model(name), path, {"model": name})
        arguments += [f"--{role}", name, f"--{role}-weights", str(path)]
    return [*arguments, "--detection-threshold", "0"]


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Working folder with two photos and two broken ones."""
    monkeypatch.chdir(tmp_path)
    for name in ("photos/a.png", "photos/sub/b.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(gradient_image()).save(path)
    (tmp_path / "photos/empty.jpg").touch()
    (tmp_path / "photos/broken.png").write_bytes((tmp_path / "photos/a.png").read_bytes()[:60])
    return tmp_path


def test_folder_with_broken_files_finishes_and_lists_them(photos, models, capsys):
    status = main(["predict", "photos", *models, "--output", "out", "--json", "out/poses.json"])
    output = capsys.readouterr()
    assert status == 1
    assert "failed: photos/empty.jpg: empty file" in output.err
    assert "failed: photos/broken.png: " in output.err
    assert "2 of 4 inputs failed" in output.err
    records = json.loads((photos / "out/poses.json").read_text())
    assert [record["image"] for record in records] == ["photos/a.png", "photos/sub/b.png"]
    person = records[0]["poses"][0]
    assert set(person) == {"box", "score", "keypoints"}
    assert len(person["box"]) == 4
    assert np.array(person["keypoints"]).shape == (17, 3)
    assert sorted(path.name for path in (photos / "out").iterdir()) == ["a.png", "b.png", "poses.json"]


def test_defaults_write_overlays_only(photos, models, capsys):
    assert main(["predict", "photos/a.png", *models]) == 0
    assert "photos/a.png: " in capsys.readouterr().out
    assert (photos / "output/a.png").is_file()


def test_json_alone_writes_no_overlays(photos, models):
    assert main(["predict", "photos/*.png", "photos/sub", *models, "--json", "poses.json"]) == 1
    assert not (photos / "output").exists()
    assert len(json.loads((photos / "poses.json").read_text())) == 2


def test_equal_names_do_not_overwrite_each_other(photos, models):
    (photos / "photos/sub/a.png").write_bytes((photos / "photos/a.png").read_bytes())
    assert main(["predict", "photos/a.png", "photos/sub/a.png", *models, "--output", "out"]) == 0
    assert sorted(path.name for path in (photos / "out").iterdir()) == ["a.png", "a_2.png"]


def test_overlay_never_overwrites_its_input(photos, models, capsys):
    before = (photos / "photos/a.png").read_bytes()
    assert main(["predict", "photos/a.png", *models, "--output", "photos"]) == 2
    assert "photos/a.png would replace an input, photos/a.png" in capsys.readouterr().err
    assert (photos / "photos/a.png").read_bytes() == before


@pytest.mark.slow
def test_video(photos, models, capsys):
    write_video(photos / "clip.mp4", frames=5, fps=12.5)
    assert main(["predict", "clip.mp4", *models, "--output", "out", "--json", "poses.json"]) == 0
    assert "clip.mp4: 5 frames -> out/clip.mp4" in capsys.readouterr().out
    with VideoReader("out/clip.mp4") as video:
        assert (video.fps, video.size, video.declared_frames) == (12.5, (160, 120), 5)
    records = json.loads((photos / "poses.json").read_text())
    assert [(record["image"], record["frame"], record["time"]) for record in records] == [
        ("clip.mp4", index, round(index / 12.5, 4)) for index in range(5)
    ]


def test_broken_video_and_camera(photos, models, capsys):
    (photos / "clip.mp4").write_bytes(b"nothing")
    assert main(["predict", "clip.mp4", "webcam:97", "photos/a.png", *models, "--output", "out"]) == 1
    errors = capsys.readouterr().err
    assert "failed: clip.mp4: not a video that can be read" in errors
    assert "failed: webcam:97: no such camera" in errors
    assert (photos / "out/a.png").is_file()
    assert not (photos / "out/clip.mp4").exists()


def test_nothing_found(photos, capsys):
    assert main(["predict", "*.jpeg", "--json", "x.json"]) == 1
    assert "failed: *.jpeg: no file fits this pattern" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pose", "tinypose_128"], "unknown model 'tinypose_128'; did you mean 'tinypose_128x96'"),
        (["--pose-weights", "none.pdparams"], "no weight file 'none.pdparams'"),
        (["--detection-threshold", "2"], "expected 0 to 1"),
        (["--keypoint-threshold", "-1"], "--keypoint-threshold -1.0; expected 0 to 1"),
        (["--device", "cuda:99"], "device 'cuda:99' cannot be used"),
        (["--detector", POSE, "--detector-weights", "none"], "no weight file 'none'"),
    ],
)
def test_wrong_arguments(arguments, message, photos, models, capsys):
    assert main(["predict", "photos/a.png", *models, *arguments]) == 2
    assert message in capsys.readouterr().err


def test_no_network_says_what_to_do(photos, capsys, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    assert main(["predict", "photos/a.png"]) == 2
    errors = capsys.readouterr().err
    assert "put it here" in errors
    assert "TINYPOSE_MIRROR" in errors


@pytest.mark.parametrize("arguments", [["--unknown"], ["predict"], ["nonsense"], ["predict", "x", "--crop", "odd"]])
def test_usage_errors(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_models_table(capsys):
    assert main(["models", "tinypose*"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["model", "task", "input"]
    assert [line.split()[0] for line in lines[2:4]] == ["tinypose_128x96", "tinypose_256x192"]
    assert main(["models", "zzz"]) == 2


def test_models_table_has_every_documented_accuracy(capsys):
    assert main(["models"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    expected = {
        "tinypose_128x96": "AP   58.4 (2021: 58.1)",
        "tinypose_256x192": "AP   68.3 (2021: 68.8)",
        "wider_naive_hrnet_18_256x192": "AP   67.6 (DARK: 68.4)",
        "hrnet_w32_256x256_mpii": "PCKh 90.6 (@0.1: 38.5)",
        "picodet_s_192_pedestrian": "mAP  29.0",
    }
    places = {lines[name].index(text) for name, text in expected.items()}
    assert len(places) == 1, "the figures do not stand in one column"


def test_help_of_the_installed_command():
    for arguments in (["--help"], ["predict", "--help"], ["models", "--help"], ["--version"]):
        done = subprocess.run(
            [sys.executable, "-m", "tinypose_torch.cli", *arguments], capture_output=True, text=True, check=True
        )
        assert "tinypose" in done.stdout


# Prints which of the slow packages a command's help has imported.
_SLOW_IMPORTS = """
import runpy, sys
slow = {"torch", "numpy", "cv2", "PIL", "lightning", "importlib.metadata"}
before = set(sys.modules)
sys.argv = sys.argv[1:]
try:
    if sys.argv[0] == "tinypose_torch":
        import tinypose_torch
    else:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
except SystemExit as stopped:
    assert stopped.code == 0
print("IMPORTED", sorted(slow & set(sys.modules) - before))
"""


@pytest.mark.parametrize(
    "line", ["tinypose_torch", "tinypose_torch.cli --help", "tinypose_torch.cli predict --help", "convert --help"]
)
def test_slow_packages_are_imported_when_used(line):
    """Help and wrong options do not wait for torch."""
    command = [sys.executable, "-c", _SLOW_IMPORTS, *line.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "IMPORTED []"


@pytest.mark.needs_reference
def test_json_holds_the_originals_keypoints(tmp_path):
    arguments = []
    for role, name in (("detector", DETECTOR), ("pose", POSE)):
        arguments += [f"--{role}", name, f"--{role}-weights", str(REAL / f"weights/{name}.pdparams")]
    photo = REAL / "images/coco_000000197388.jpg"
    assert main(["predict", str(photo), *arguments, "--json", str(tmp_path / "x.json")]) == 0
    (record,) = json.loads((tmp_path / "x.json").read_text())
    expected = json.loads((REAL / "expected/picodet192_tinypose128x96" / f"{photo.stem}.json").read_text())
    poses = Poses.from_records(record["poses"])
    assert len(poses) == len(expected["persons"])
    for index, person in enumerate(expected["persons"]):
        keypoints = np.array(person["keypoints"])
        assert np.abs(poses.keypoints[index] - keypoints[:, :2])[keypoints[:, 2] > 0.2].max(initial=0) < 0.1
