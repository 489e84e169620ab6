"""Damaged, altered and mismatched exported files and arguments: a clear error, never a crash."""

import io
import json
import shutil
import zipfile

import cv2
import numpy as np
import pytest
import torch
from conftest import gradient_image

from tinypose_torch import CheckpointError, PoseEstimator, create_model
from tinypose_torch.cli import main
from tinypose_torch.export import ExportOptions, export_model, export_pair
from tinypose_torch.export.progress import no_progress
from tinypose_torch.models.registry import get_config
from tinypose_torch.runtime import load_runner
from tinypose_torch.runtime.checksums import SEAL, SEAL_SIZE, seal, seal_onnx, seal_torchscript, unsealed
from tinypose_torch.runtime.exported import backend_of
from tinypose_torch.runtime.formats import Method, find_export_format
from tinypose_torch.runtime.loading import TORCHSCRIPT_EXTRA, archived_description
from tinypose_torch.runtime.metadata import ExportMetadata, read_methods

from .conftest import DETECTOR, POSE, SUFFIXES


def cut(keep):
    return lambda data: data[: int(len(data) * keep)]


DAMAGE = {
    "empty": lambda data: b"",
    "first bytes": lambda data: data[:30],
    "half": cut(0.5),
    "nearly all": cut(0.999),
    "noise": lambda data: np.random.default_rng(0).bytes(len(data)),
    "text": lambda data: b"not found\n",
}
FLIPS = 120


@pytest.mark.parametrize("format_name", SUFFIXES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files(format_name, damage, exported, tmp_path):
    path = tmp_path / f"x{SUFFIXES[format_name]}"
    path.write_bytes(DAMAGE[damage](exported(POSE, format_name).read_bytes()))
    with pytest.raises(CheckpointError) as caught:
        load_runner(POSE, path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("format_name", SUFFIXES)
def test_every_flipped_bit_is_noticed(format_name, tmp_path):
    """Bits all over a small file, and in its last bytes, which hold the checksum."""
    for package in {"executorch": ["executorch"], "onnx": ["onnxscript", "onnxruntime"]}.get(format_name, []):
        pytest.importorskip(package)
    path = tmp_path / f"x{SUFFIXES[format_name]}"
    description = ExportMetadata(get_config(POSE), False, False, 1, "fp32", {})
    method = Method(torch.nn.Conv2d(3, 40, 3).eval(), torch.zeros(1, 3, 8, 8), description)
    find_export_format(format_name).write(method, path, no_progress)
    assert load_runner(POSE, path).metadata == description
    data = bytearray(path.read_bytes())
    generator = np.random.default_rng(0)
    for position in [*np.linspace(0, len(data) - 1, FLIPS).astype(int), *range(len(data) - 40, len(data))]:
        bit = 1 << int(generator.integers(8))
        data[position] ^= bit
        path.write_bytes(data)
        data[position] ^= bit
        with pytest.raises(CheckpointError, match="checksum is wrong|no checksum at its end"):
            load_runner(POSE, path)


def test_a_description_whose_compression_is_damaged():
    name, content = f"x/extra/{TORCHSCRIPT_EXTRA}", io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, "{}" * 1000)
    data = bytearray(content.getvalue())
    data[30 + len(name)] = 0xFF  # no such kind of block
    with pytest.raises(CheckpointError, match="damaged"):
        archived_description(bytes(data))


@pytest.mark.parametrize("suffix", [".torchscript", ".onnx", ".pte"])
def test_files_without_a_checksum(suffix, tmp_path):
    """Of an earlier version, or of another program."""
    (tmp_path / f"x{suffix}").write_bytes(b"PK\x03\x04" + bytes(1000))
    with pytest.raises(CheckpointError, match="no checksum at its end.* export it again"):
        load_runner(POSE, tmp_path / f"x{suffix}")


def test_other_programs_read_the_files(exported, tmp_path):
    """The checksum is where zip and ONNX allow it: torch and ONNX's own tools read the files unchanged."""
    torch.jit.load(str(exported(POSE, "torchscript")))
    with zipfile.ZipFile(exported(POSE, "torchscript")) as archive:
        assert archive.comment.startswith(SEAL)
        assert archive.testzip() is None
    onnx = pytest.importorskip("onnx")
    onnx.checker.check_model(onnx.load(exported(POSE, "onnx")))


class Overwrites(torch.nn.Module):
    """A program that overwrites a file when torch loads it."""

    def __init__(self, victim):
        super().__init__()
        self.victim = victim
        self.values = torch.zeros(4)

    @torch.jit.export
    def __getstate__(self):
        return self.victim, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]):
        self.victim = state[0]
        self.training = state[1]
        self.values = torch.from_file(self.victim, True, 4).fill_(7.0)


@pytest.fixture
def attack(tmp_path):
    """A file that must not change, and a program that changes it when it is loaded."""
    victim = tmp_path / "victim"
    victim.write_bytes(bytes(16))
    program = io.BytesIO()
    torch.jit.save(torch.jit.script(Overwrites(str(victim))), program)
    torch.jit.load(io.BytesIO(program.getvalue()))
    assert victim.read_bytes() != bytes(16), "the attack itself does not work"
    victim.write_bytes(bytes(16))
    return victim, program.getvalue()


@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")
@pytest.mark.parametrize("name", ["best_model.pdparams", "x.pt", "x.ckpt", "x.safetensors", "x"])
def test_a_program_with_the_name_of_weights_never_runs(name, attack, tmp_path, capsys):
    victim, program = attack
    path = tmp_path / name
    path.write_bytes(program)
    assert backend_of(path) is None
    message = "is a TorchScript program, not weights, and was not opened.*name it .torchscript"
    for open_it in (
        lambda: load_runner(POSE, path),
        lambda: create_model(POSE, weights=path),
        lambda: PoseEstimator(None, POSE, pose_weights=path),
    ):
        with pytest.raises(CheckpointError, match=message):
            open_it()
    cv2.imwrite(str(tmp_path / "photo.png"), gradient_image())
    command = ["predict", str(tmp_path / "photo.png"), "--pose", POSE, "--pose-weights", str(path)]
    command += ["--output", str(tmp_path / "out")]
    assert main(command) == 2
    assert "name it .torchscript" in capsys.readouterr().err
    assert victim.read_bytes() == bytes(16)


@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")
def test_a_program_of_others_never_runs(attack, tmp_path):
    """Named as a program, even with a right checksum: without this project's description torch does not see it."""
    victim, program = attack
    path = tmp_path / "x.torchscript"
    for content, message in ((program, "no checksum"), (seal_torchscript(program), "carries no description")):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            load_runner(POSE, path)
    assert victim.read_bytes() == bytes(16)


def test_archives_are_told_apart_by_name(exported, tmp_path):
    torch.save(create_model(POSE).state_dict(), tmp_path / "weights.torchscript")
    with pytest.raises(CheckpointError, match="no checksum at its end"):
        load_runner(POSE, tmp_path / "weights.torchscript")
    (tmp_path / "x.onnx").write_bytes(seal_onnx(b"\x08\x01"))
    with pytest.raises(CheckpointError, match="not an ONNX model"):
        load_runner(POSE, tmp_path / "x.onnx")


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
    program = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)), program)
    (tmp_path / "x.torchscript").write_bytes(seal_torchscript(program.getvalue()))
    with pytest.raises(CheckpointError, match="carries no description"):
        load_runner(POSE, tmp_path / "x.torchscript")


def test_onnx_of_another_program(exported, tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(exported(POSE, "onnx"))
    del model.metadata_props[:]
    (tmp_path / "x.onnx").write_bytes(seal_onnx(model.SerializeToString()))
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
    path.write_bytes(seal_torchscript(path.read_bytes()))
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
        lambda facts: facts["skeleton"].update(links=[[0, 0.5]]),
        lambda facts: facts["skeleton"].update(keypoint_names="abc"),
        lambda facts: facts["skeleton"].update(keypoint_names=["x"] * 1001, flip_pairs=[], links=[], sigmas=[]),
        lambda facts: facts["skeleton"]["keypoint_names"].__setitem__(0, "x" * 201),
        lambda facts: facts["skeleton"]["keypoint_names"].__setitem__(0, "\x1b[31m"),
        lambda facts: facts["skeleton"].update(sigmas=[1e999] * 17),
        lambda facts: facts["input"].update(size=[3_200_000, 96]),
        lambda facts: facts["input"].update(size=[float("inf"), 96]),
        lambda facts: facts["input"].update(size=[128.0, 96]),
        lambda facts: facts["input"].update(size=[True, 96]),
        lambda facts: facts["input"].update(size=[100, 96]),
        lambda facts: facts["input"].update(std=[0, 1, 1]),
        lambda facts: facts["input"].update(mean=[float("nan"), 1, 1]),
        lambda facts: facts["input"].update(batch=10**9),
        lambda facts: facts["input"].pop("kind"),
        lambda facts: facts.update(keypoint_threshold="high"),
        lambda facts: facts.update(task="detection"),
        lambda facts: facts.update(decodes=1),
        lambda facts: facts.update(versions=[]),
        lambda facts: facts.update(versions={"torch": 2}),
        lambda facts: facts.update(model="x" * 5_000_000),
    ],
)
def test_descriptions_that_make_no_sense(change):
    refused(POSE, change)


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts.update(class_names=["x"] * 300_000),
        lambda facts: facts.update(class_names=[]),
        lambda facts: facts.update(person_class=1),
        lambda facts: facts.update(person_class=-1),
        lambda facts: facts.update(person_threshold=float("nan")),
        lambda facts: facts["suppression"].update(iou_threshold=float("inf")),
        lambda facts: facts["suppression"].update(candidates_per_class=10**12),
        lambda facts: facts["suppression"].update(candidates_per_class=None),
        lambda facts: facts["suppression"].update(clip=1),
        lambda facts: facts["suppression"].update(nonsense=1),
        lambda facts: facts.pop("suppression"),
    ],
)
def test_descriptions_of_detectors_that_make_no_sense(change):
    refused(DETECTOR, change)


def test_descriptions_of_groupings_that_make_no_sense():
    for number in (0, 10**6, -1, 2.5):
        refused("higherhrnet_w32_512", lambda facts: facts["grouping"].update(most_people=number))  # noqa: B023


def refused(model, change):
    facts = json.loads(ExportMetadata(get_config(model), True, False, 1, "fp32", {}).to_json())
    change(facts)
    with pytest.raises(CheckpointError, match="no description that can be read") as caught:
        ExportMetadata.from_json(json.dumps(facts))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1200


def test_files_of_the_wrong_task(exported):
    with pytest.raises(ValueError, match=f"{POSE} is not a detector"):
        PoseEstimator(detector_weights=exported(POSE, "torchscript"), pose_weights=exported(POSE, "torchscript"))


def test_backend_that_does_not_run_the_file(exported):
    with pytest.raises(ValueError, match="is run by backend 'torchscript', not 'executorch'"):
        load_runner(POSE, exported(POSE, "torchscript"), backend="executorch")
    with pytest.raises(ValueError, match="runs exported files; make one with: .*tinypose export"):
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
        ({"format": "tflite"}, "unknown export format 'tflite'; choose one of torchscript, executorch, onnx"),
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
        ([POSE, "--with-weights", "w.pt"], "pass --with NAME"),
        ([POSE, "--detector", DETECTOR], "--detector needs --images"),
        ([POSE, "--detector-weights", "w.pt"], "--detector-weights needs --images"),
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
    with pytest.raises(ValueError, match=f"{POSE} is a top-down pose network; a detector is needed"):
        export_pair(pose, pose, tmp_path / "x.pte")
    with pytest.raises(ValueError, match="format onnx holds one network"):
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
