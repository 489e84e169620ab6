"""Damaged, altered and mismatched exported files and arguments: a clear error, never a crash."""

import json
import shutil
import zipfile

import numpy as np
import pytest
import torch

from tinypose_torch import CheckpointError, PoseEstimator, create_model
from tinypose_torch.cli import main
from tinypose_torch.export import ExportOptions, export_model, export_pair
from tinypose_torch.runtime import load_runner
from tinypose_torch.runtime.exported import SEAL_SIZE, TORCHSCRIPT_EXTRA, backend_of, seal, unsealed
from tinypose_torch.runtime.metadata import ExportMetadata, read_methods

from .conftest import DETECTOR, POSE, SUFFIXES


def cut(keep):
    return lambda data: data[: int(len(data) * keep)]


def flipped(position):
    def change(data):
        data = bytearray(data)
        data[int(len(data) * position)] ^= 0xFF
        return bytes(data)

    return change


DAMAGE = {
    "empty": lambda data: b"",
    "first bytes": lambda data: data[:30],
    "half": cut(0.5),
    "nearly all": cut(0.999),
    "noise": lambda data: np.random.default_rng(0).bytes(len(data)),
    "text": lambda data: b"not found\n",
}
ALTERED = {f"byte at {position}": flipped(position) for position in (0.001, 0.3, 0.7, 0.99)}


@pytest.mark.parametrize("format_name", SUFFIXES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files(format_name, damage, exported, tmp_path):
    path = tmp_path / f"x{SUFFIXES[format_name]}"
    path.write_bytes(DAMAGE[damage](exported(POSE, format_name).read_bytes()))
    with pytest.raises(CheckpointError) as caught:
        load_runner(POSE, path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("change", ALTERED)
def test_altered_executorch_files_never_reach_the_runtime(change, exported, tmp_path):
    path = tmp_path / "x.pte"
    path.write_bytes(ALTERED[change](exported(POSE, "executorch").read_bytes()))
    with pytest.raises(CheckpointError, match="checksum is wrong|cut short"):
        load_runner(POSE, path)


def test_archives_are_told_apart(exported, tmp_path):
    script = tmp_path / "x.pt"
    shutil.copy(exported(POSE, "torchscript"), script)
    torch.save(create_model(POSE).state_dict(), tmp_path / "weights.pt")
    assert backend_of(script) == "torchscript"
    assert backend_of(tmp_path / "weights.pt") is None
    data = bytearray(script.read_bytes())
    data[-40:-22] = b"\xff" * 18  # the directory of the archive
    (tmp_path / "broken.pt").write_bytes(data)
    assert backend_of(tmp_path / "broken.pt") is None
    with pytest.raises(CheckpointError, match="damaged PyTorch archive"):
        load_runner(POSE, tmp_path / "broken.pt")


def test_sealed_nonsense_is_refused_by_the_runtimes_own_checks(tmp_path):
    pytest.importorskip("executorch")
    path = tmp_path / "x.pte"
    path.write_bytes(seal(b"\0" * 4096))
    with pytest.raises(CheckpointError, match="ExecuTorch refuses it"):
        load_runner(POSE, path)


def test_executorch_file_of_another_program(exported, tmp_path):
    """A good program without this project's description."""
    path = tmp_path / "x.pte"
    path.write_bytes(exported(POSE, "executorch").read_bytes()[:-SEAL_SIZE])
    with pytest.raises(CheckpointError, match="not exported by tinypose-torch"):
        load_runner(POSE, path)


def test_seal(tmp_path):
    (tmp_path / "x").write_bytes(seal(b"content"))
    assert unsealed(tmp_path / "x") == b"content"


def test_torchscript_of_another_program(tmp_path):
    torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)), str(tmp_path / "x.torchscript"))
    with pytest.raises(CheckpointError, match="carries no description"):
        load_runner(POSE, tmp_path / "x.torchscript")


def test_onnx_of_another_program(exported, tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(exported(POSE, "onnx"))
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(CheckpointError, match="carries no description"):
        load_runner(POSE, tmp_path / "x.onnx")


def test_file_of_another_version(exported, tmp_path):
    """The description decides, not the weights."""
    path = tmp_path / "x.torchscript"
    source = exported(POSE, "torchscript")
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for item in old.infolist():
            data = old.read(item)
            if item.filename.endswith(TORCHSCRIPT_EXTRA):
                data = data.replace(b"tinypose-torch export 1", b"tinypose-torch export 9")
            new.writestr(item, data)
    with pytest.raises(CheckpointError, match="was made for 'tinypose-torch export 9'"):
        load_runner(POSE, path)


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts.pop("model"),
        lambda facts: facts.update(model="tinypose_999"),
        lambda facts: facts["skeleton"].update(links=[[0, 99]]),
        lambda facts: facts.update(input=None),
        lambda facts: facts["skeleton"].update(nonsense=1),
    ],
)
def test_descriptions_that_make_no_sense(change):
    facts = json.loads(ExportMetadata(create_model(POSE).entry, True, True, 1, "fp32", {}).to_json())
    change(facts)
    with pytest.raises(CheckpointError, match="no description that can be read"):
        ExportMetadata.from_json(json.dumps(facts))


def test_files_of_the_wrong_task(exported):
    with pytest.raises(ValueError, match=f"{POSE} is not a detector"):
        PoseEstimator(detector_weights=exported(POSE, "torchscript"), pose_weights=exported(POSE, "torchscript"))


def test_backend_that_does_not_run_the_file(exported):
    with pytest.raises(ValueError, match="is run by backend 'torchscript', not 'executorch'"):
        load_runner(POSE, exported(POSE, "torchscript"), backend="executorch")
    with pytest.raises(ValueError, match="runs exported files; make one with: tinypose export"):
        load_runner(POSE, backend="onnx")


def test_decoding_inside_cannot_be_changed(exported):
    with pytest.raises(ValueError, match="decodes with DARK inside"):
        PoseEstimator(None, pose_weights=exported(POSE, "torchscript"), decoding="plain")


def test_device_of_cpu_runtimes(exported, monkeypatch):
    path = exported(POSE, "onnx")
    with pytest.raises(ValueError, match="runs on the cpu, not on 'meta'"):
        load_runner(POSE, path, device="meta")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "tflite"}, "unknown format 'tflite'"),
        ({"batch": 0}, "at least 1"),
        ({"format": "executorch", "batch": None}, "needs a fixed batch"),
    ],
)
def test_wrong_options(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_model(create_model(POSE), tmp_path / "x", ExportOptions(**options))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tinypose_12"], "unknown model 'tinypose_12'"),
        ([POSE, "--weights", "none.pdparams"], "no weight file"),
        ([POSE, "--weights", "w.pt", "--dynamic-batch"], "needs a fixed batch"),
        ([POSE, "--weights", "w.pt", "--batch", "0"], "at least 1"),
        ([POSE, "--weights", "w.pt", "--output", "."], "is a folder"),
        ([POSE, "--weights", "w.pt", "--format", "torchscript", "--images", "none"], "no images in none"),
        ([DETECTOR, "--weights", "w.pt"], "does not fit the network"),
        ([POSE, "--with-weights", "w.pt"], "--with-weights needs --with"),
        ([POSE, "--detector", DETECTOR], "--detector needs --images"),
        ([POSE, "--images", ".", "--detector-weights", "w.pt"], "--detector-weights needs --detector"),
        ([POSE, "--images", ".", "--person-class", "person"], "--person-class needs --images, and a detector"),
        ([POSE, "--error-budget", "0.1"], "--error-budget needs --precision int8"),
        ([DETECTOR, "--images", ".", "--detector", DETECTOR], f"--detector {DETECTOR} has no effect on {DETECTOR}"),
    ],
)
def test_wrong_commands(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.save(create_model(POSE).state_dict(), "w.pt")
    assert main(["export", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_pairs_that_do_not_go_into_one_file(tmp_path):
    detector, pose = create_model(DETECTOR), create_model(POSE)
    with pytest.raises(ValueError, match="one file holds a detector and a pose network"):
        export_pair(pose, pose, tmp_path / "x.pte")
    with pytest.raises(ValueError, match="as executorch"):
        export_pair(detector, pose, tmp_path / "x.onnx", ExportOptions("onnx"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"methods": 3}', '{"methods": {}}', '{"methods": {"a": {}}}'])
def test_descriptions_of_methods_that_make_no_sense(text):
    with pytest.raises(CheckpointError, match="no description that can be read"):
        read_methods(text)


def test_old_file_survives_a_failed_export(tmp_path, exported):
    path = tmp_path / "x.torchscript"
    shutil.copy(exported(POSE, "torchscript"), path)
    before = path.read_bytes()
    network = create_model(POSE)
    network.forward = None
    with pytest.raises(TypeError):
        export_model(network, path, ExportOptions("torchscript"))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["x.torchscript"]
