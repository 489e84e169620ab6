"""Files are exported where that pays, once, found again, and left aside where they cannot be used."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import REAL, gradient_image, write_video

from tinypose_torch.cli import main, networks
from tinypose_torch.cli.networks import count_images
from tinypose_torch.export import api, cache
from tinypose_torch.export.cache import EXPORT_PAYS_FROM, CacheError, fastest_form
from tinypose_torch.utils.images import save_png

from .conftest import DETECTOR, POSE, build

MANY = EXPORT_PAYS_FROM


@pytest.fixture
def exports(exported, monkeypatch):
    """Names of what was exported, by copying what the session's tests made already."""
    pytest.importorskip("executorch")
    made = []

    def copy(network, path, options, calibration=None, progress=None):
        made.append(network.config.name)
        shutil.copy(exported(network.config.name, options.format), path)

    monkeypatch.setattr(api, "export_model", copy)
    return made


@pytest.fixture
def weights(tmp_path):
    paths = {}
    for name in (DETECTOR, POSE):
        paths[name] = tmp_path / f"{name}.pt"
        torch.save(build(name).state_dict(), paths[name])
    return paths


@pytest.mark.parametrize("num_images", [0, 1, MANY - 1])
def test_few_images_export_nothing(num_images, exports, weights, private_cache):
    assert fastest_form(POSE, weights[POSE], num_images) == weights[POSE]
    assert exports == []
    assert list(private_cache.iterdir()) == []


@pytest.mark.parametrize("num_images", [MANY, math.inf])
def test_many_images_export_once_and_few_use_it(num_images, exports, weights):
    path = fastest_form(POSE, weights[POSE], num_images)
    assert path.suffix == ".pte"
    assert fastest_form(POSE, weights[POSE], num_images) == path
    assert fastest_form(POSE, weights[POSE], 1) == path
    assert exports == [POSE]
    assert fastest_form(POSE, path, num_images) == path  # an exported file is what it is


def test_what_executorch_cannot_run_stays_as_it_is(exports, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"weights")
    assert fastest_form("fairmot_dla34", tmp_path / "x.safetensors", MANY) == tmp_path / "x.safetensors"
    assert exports == []


def test_other_weights_are_another_file(exports, weights, tmp_path):
    path = fastest_form(POSE, weights[POSE], MANY)
    other = build(POSE).state_dict()
    other["final_conv.bias"] += 1
    torch.save(other, tmp_path / "other.pt")
    assert fastest_form(POSE, tmp_path / "other.pt", MANY) != path
    assert exports == [POSE, POSE]


@pytest.mark.needs_reference
def test_other_tensors_beside_the_same_program_are_another_file(exports, tmp_path):
    paths = []
    for byte in (0, 1):
        folder = tmp_path / str(byte)
        shutil.copytree(REAL / "exported" / POSE, folder)
        tensors = bytearray((folder / "model.pdiparams").read_bytes())
        tensors[-4] = byte  # the lowest bits of the last number
        (folder / "model.pdiparams").unlink()
        (folder / "model.pdiparams").write_bytes(tensors)
        paths.append(fastest_form(POSE, folder / "model.json", MANY))
    assert len(set(paths)) == 2


def test_damaged_in_the_cache(exports, weights):
    path = fastest_form(POSE, weights[POSE], MANY)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CacheError, match="cut short"):
        fastest_form(POSE, weights[POSE], 1)
    assert fastest_form(POSE, weights[POSE], MANY) == path
    assert exports == [POSE, POSE]


def test_complete_cache_needs_no_writing(exports, weights, monkeypatch):
    path = fastest_form(POSE, weights[POSE], MANY)

    def refuse(*_, **__):
        raise PermissionError("read-only")

    monkeypatch.setattr(cache, "locked_in_cache", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    assert fastest_form(POSE, weights[POSE], 1) == path
    assert fastest_form(POSE, weights[POSE], MANY) == path


def test_cache_that_cannot_be_written(exports, weights, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TINYPOSE_CACHE", str(tmp_path / "file/cache"))
    with pytest.raises(CacheError, match=r"cannot make .*\.pte: .*Not a directory"):
        fastest_form(POSE, weights[POSE], MANY)


def test_exporter_that_fails(weights, monkeypatch, private_cache):
    pytest.importorskip("executorch")

    def fail(*_, **__):
        raise AttributeError("no such pass\nin this version")

    monkeypatch.setattr(api, "export_model", fail)
    with pytest.raises(CacheError, match=r"\.pte: no such pass$"):
        fastest_form(POSE, weights[POSE], MANY)
    assert list(private_cache.rglob("*.pte")) == []


def test_images_are_counted(tmp_path):
    clip = str(write_video(tmp_path / "clip.mp4", frames=7))
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    assert count_images(["a.jpg", clip, "b.png", str(tmp_path / "broken.mp4"), "gone.mp4"]) == 9
    assert count_images(["a.jpg", "webcam"]) == math.inf


@pytest.fixture
def command(weights, tmp_path, monkeypatch):
    """Arguments of a prediction of one photo, with the backend that users have."""
    monkeypatch.setenv("TINYPOSE_BACKEND", "")
    save_png(gradient_image(), tmp_path / "photo.png")
    files = ["--detector-weights", str(weights[DETECTOR]), "--pose-weights", str(weights[POSE])]
    return ["predict", str(tmp_path / "photo.png"), "--detector", DETECTOR, "--pose", POSE, *files]


@pytest.mark.needs_reference
def test_one_photo_exports_nothing_and_uses_the_cache(exports, command, weights, tmp_path, capsys):
    command[1] = str(REAL / "images/hrnet_demo.jpg")
    assert main([*command, "--json", str(tmp_path / "a.json")]) == 0
    assert "running on eager\n" in capsys.readouterr().err
    assert exports == []
    for name in (DETECTOR, POSE):
        fastest_form(name, weights[name], MANY)
    assert main([*command, "--json", str(tmp_path / "b.json")]) == 0
    assert "running on executorch\n" in capsys.readouterr().err
    assert main([*command, "--json", str(tmp_path / "c.json"), "--backend", "eager"]) == 0
    assert "running on eager\n" in capsys.readouterr().err
    assert sorted(exports) == sorted([DETECTOR, POSE])
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    assert len(one[0]["poses"]) == len(two[0]["poses"]) > 0


def test_many_photos_export(exports, command, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(networks, "count_images", lambda _: MANY)
    assert main([*command, "--json", str(tmp_path / "a.json")]) == 0
    assert exports == [DETECTOR, POSE]
    errors = capsys.readouterr().err
    assert f"exporting {POSE}, once: " not in errors  # the copy reports no stages
    assert "running on executorch" in errors


def test_what_cannot_be_used_is_said_in_a_line(exports, command, weights, tmp_path, monkeypatch, capsys):
    path = fastest_form(POSE, weights[POSE], MANY)
    path.write_bytes(path.read_bytes()[:-1])
    assert main([*command, "--json", str(tmp_path / "a.json")]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"{POSE} runs on eager: {path}: ")
    assert lines[1] == "running on eager"
    monkeypatch.setenv("TINYPOSE_CACHE", str(path))
    monkeypatch.setattr(networks, "count_images", lambda _: MANY)
    assert main([*command, "--json", str(tmp_path / "b.json")]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        f"{DETECTOR} runs on eager",
        f"{POSE} runs on eager",
        "running on eager",
    ]


def test_predict_without_executorch(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(networks, "can_export", lambda: False)
    assert main([*command, "--json", str(tmp_path / "a.json")]) == 0
    assert capsys.readouterr().err == "running on eager\n"
    monkeypatch.setattr(networks, "count_images", lambda _: MANY)
    assert main([*command, "--json", str(tmp_path / "a.json")]) == 0
    assert "running on eager; faster on the CPU with" in capsys.readouterr().err


IMPORTED = """
import sys
from tinypose_torch.cli import main
assert main(sys.argv[1:]) == 0
heavy = {"executorch", "torch._dynamo", "torch.onnx", "torchao", "torchvision", "timm", "scipy", "supervision", "av"}
print("imported:", sorted(heavy & set(sys.modules)))
"""


def test_a_photo_imports_nothing_that_takes_long(command, tmp_path):
    arguments = [sys.executable, "-c", IMPORTED, *command, "--json", str(tmp_path / "a.json")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert "imported: []" in done.stdout


RUN = """
import sys
from tinypose_torch.runtime import load_runner
assert load_runner(sys.argv[1], sys.argv[2]).backend == "executorch"
print("exporter:", [name for name in sys.modules if name.startswith("executorch.exir")])
"""


def test_running_a_file_imports_no_exporter(exported):
    path = exported(POSE, "executorch")
    done = subprocess.run([sys.executable, "-c", RUN, POSE, path], capture_output=True, text=True, check=True)
    assert "exporter: []" in done.stdout
