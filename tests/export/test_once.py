"""The fastest form is made once, found again, and made anew where the cached one went bad."""

import json
import shutil

import pytest
import torch
from conftest import REAL, gradient_image

from tinypose_torch.cli import main
from tinypose_torch.export import once
from tinypose_torch.hints import install_hint
from tinypose_torch.images import save_png

from .conftest import DETECTOR, POSE, build


@pytest.fixture
def exports(exported, monkeypatch):
    """Names of what was exported, by copying what the session's tests made already."""
    pytest.importorskip("executorch")
    made = []

    def copy(network, path, options):
        made.append(network.entry.name)
        shutil.copy(exported(network.entry.name, options.format), path)

    monkeypatch.setattr(once, "export_model", copy)
    return made


@pytest.fixture
def weights(tmp_path):
    paths = {}
    for name in (DETECTOR, POSE):
        paths[name] = tmp_path / f"{name}.pt"
        torch.save(build(name).state_dict(), paths[name])
    return paths


def test_made_once(exports, weights):
    path = once.exported_once(POSE, weights[POSE])
    assert once.exported_once(POSE, weights[POSE]) == path
    assert exports == [POSE]
    assert once.exported_once(POSE, path) == path  # an exported file is what it is


def test_what_executorch_cannot_run_stays_as_it_is(exports, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"weights")
    assert once.exported_once("fairmot_dla34", tmp_path / "x.safetensors") == tmp_path / "x.safetensors"
    assert exports == []


def test_other_weights_are_another_file(exports, weights, tmp_path):
    path = once.exported_once(POSE, weights[POSE])
    other = build(POSE).state_dict()
    other["final_conv.bias"] += 1
    torch.save(other, tmp_path / "other.pt")
    assert once.exported_once(POSE, tmp_path / "other.pt") != path
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
        paths.append(once.exported_once(POSE, folder / "model.json"))
    assert len(set(paths)) == 2


def test_damaged_in_the_cache(exports, weights):
    path = once.exported_once(POSE, weights[POSE])
    path.write_bytes(path.read_bytes()[:1000])
    assert once.exported_once(POSE, weights[POSE]) == path
    assert exports == [POSE, POSE]


@pytest.mark.needs_reference
def test_predict_uses_it_and_says_so(exports, weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TINYPOSE_BACKEND", "")
    photo = REAL / "images/hrnet_demo.jpg"
    files = ["--detector-weights", str(weights[DETECTOR]), "--pose-weights", str(weights[POSE])]
    common = ["predict", str(photo), "--detector", DETECTOR, "--pose", POSE, *files]
    assert main([*common, "--json", str(tmp_path / "a.json")]) == 0
    assert "running on executorch" in capsys.readouterr().err
    assert main([*common, "--json", str(tmp_path / "b.json"), "--backend", "eager"]) == 0
    assert "running on eager" in capsys.readouterr().err
    assert sorted(exports) == sorted([DETECTOR, POSE])
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    assert len(one[0]["poses"]) == len(two[0]["poses"]) > 0


def test_predict_without_executorch(weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TINYPOSE_BACKEND", "")
    monkeypatch.setattr(once, "can_export", lambda: False)
    save_png(gradient_image(), tmp_path / "photo.png")
    files = ["--detector-weights", str(weights[DETECTOR]), "--pose-weights", str(weights[POSE])]
    arguments = ["predict", str(tmp_path / "photo.png"), "--detector", DETECTOR, "--pose", POSE, *files]
    assert main([*arguments, "--json", str(tmp_path / "a.json")]) == 0
    assert f"running on eager; faster on the CPU with: {install_hint('export')}" in capsys.readouterr().err
