"""Checkpoints to resume from are data: damaged ones are refused in one line, and what else they hold never runs."""

import copy
import os
import pickle
import random
import zipfile

import numpy as np
import pytest
import torch

from tinypose_torch import CheckpointError
from train.__main__ import main
from train.config import load_config
from train.resuming import read_checkpoint
from train.trainer import LAST, KeepBest

CONFIG = load_config("demo_pose", [])
NETWORK = torch.nn.Conv2d(3, 4, 1)
STATE = {
    "global_step": 7,
    "state_dict": {f"network.{name}": tensor for name, tensor in NETWORK.state_dict().items()},
    "optimizer_states": [{"state": {0: torch.randn(3000)}}],
    "lr_schedulers": [{}],
    "loops": {"fit_loop": {}},
    "callbacks": {},
    "pytorch-lightning_version": "2.6.0",
    "configuration": CONFIG.model_dump(mode="json"),
}


class Touches:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def last(tmp_path):
    """A small checkpoint."""
    torch.save(STATE, tmp_path / LAST)
    assert read_checkpoint(tmp_path / LAST, CONFIG).steps == 7
    return tmp_path / LAST


def error_of(path):
    """What is wrong with a checkpoint and what to do, in one line."""
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path, CONFIG).check_network(NETWORK)
    line = str(caught.value)
    assert line.isprintable()
    assert line.startswith(f"{path}: cannot be resumed: ")
    assert line.endswith("another output=...")
    assert len(line) < 1200
    return line


def replaced(content, place, some):
    return content[:place] + some + content[place + len(some) :]


DAMAGES = {
    "empty": (lambda content: b"", "the file is empty"),
    "text": (lambda content: b"not a checkpoint\n" * 9, "it is not a checkpoint of PyTorch"),
    "noise": (lambda content: random.Random(0).randbytes(500), "it is not a checkpoint of PyTorch"),
    "a pickle": (lambda content: pickle.dumps({"global_step": Touches("ran")}), "it is not a checkpoint of PyTorch"),
    "half": (lambda content: content[: len(content) // 2], "it is damaged or cut short"),
    "without the last byte": (lambda content: content[:-1], "it is damaged or cut short"),
    "the start": (lambda content: content[:4], "it is damaged or cut short"),
    "a hole": (lambda content: content[:5000] + content[5100:], "it is damaged"),
    "zeros": (
        lambda content: replaced(content, 6000, bytes(100)),
        "it is damaged: the checksum of last/data/",
    ),
    "a bit": (
        lambda content: replaced(content, 6000, bytes([content[6000] ^ 1])),
        "the checksum of last/data/",
    ),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damaged_files(case, last):
    damage, message = DAMAGES[case]
    last.write_bytes(damage(last.read_bytes()))
    assert message in error_of(last)


def test_flipped_bits(last):
    """Almost every flipped bit is found; of the others nothing is read."""
    content, generator, found = last.read_bytes(), random.Random(0), 0
    for _ in range(60):
        place, bit = generator.randrange(len(content)), generator.randrange(8)
        last.write_bytes(replaced(content, place, bytes([content[place] ^ 1 << bit])))
        try:
            assert read_checkpoint(last, CONFIG).steps == 7
            state = torch.load(last, weights_only=True)
        except CheckpointError:
            found += 1
            continue
        assert torch.equal(state["optimizer_states"][0]["state"][0], STATE["optimizer_states"][0]["state"][0])
    assert found >= 45, "the archive of a small checkpoint has many bytes without meaning"


def change_the_recipe(state):
    state["configuration"] |= {"model": "lite_hrnet_18_256x192", "ohkm_topk": 8}


def keep_only_weights(state):
    for name in [name for name in state if name != "state_dict"]:
        del state[name]


STATES = {
    "another model": (
        lambda state: state["state_dict"].update({"network.weight": torch.zeros(5, 3, 1, 1)}),
        "it is of another model: network.weight has shape 5x3x1x1 there, and 4x3x1x1 in this run",
    ),
    "one tensor more": (
        lambda state: state["state_dict"].update({"network.x": torch.zeros(())}),
        "network.x has shape 1 there, and none in this run",
    ),
    "one tensor less": (
        lambda state: state["state_dict"].pop("network.bias"),
        "network.bias has shape none there, and 4",
    ),
    "no tensor": (lambda state: state["state_dict"].update({"network.bias": "b"}), "network.bias has shape none there"),
    "another recipe": (
        change_the_recipe,
        "it is of a run with another configuration: model='lite_hrnet_18_256x192', now 'tinypose_128x96'; ohkm_topk=8",
    ),
    "another version": (
        lambda state: state.pop("loops"),
        "it lacks loops: not the state of a run, or written by another",
    ),
    "other keys": (
        lambda state: state["configuration"].update(x=1),
        "x: extra inputs are not permitted (written by another",
    ),
    "a weight file": (keep_only_weights, "it lacks global_step, optimizer_states"),
    "steps as text": (lambda state: state.update(global_step="7"), "it lacks global_step"),
}


@pytest.mark.parametrize("case", STATES)
def test_other_states(case, last):
    change, message = STATES[case]
    state = copy.deepcopy(STATE)
    change(state)
    torch.save(state, last)
    assert message in error_of(last)


def test_a_list(last):
    torch.save([1, 2], last)
    assert "it holds a list, and not the state of a run" in error_of(last)


def test_code_in_a_checkpoint_does_not_run(last, tmp_path):
    torch.save({**STATE, "extra": Touches(tmp_path / "ran")}, last)
    assert "it holds more than tensors and plain values, of which nothing was run" in error_of(last)
    assert not (tmp_path / "ran").exists()
    torch.load(last, weights_only=False)
    assert (tmp_path / "ran").exists(), "the attack itself does not work"


def test_an_archive_that_unpacks_to_more_than_the_file(last):
    with zipfile.ZipFile(last, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    assert "compresses nothing" in error_of(last)


def test_remedies(last):
    """Another checkpoint of the folder, or the run's weights."""
    last.write_bytes(b"")
    assert error_of(last).endswith("; start anew with resume=false and another output=...")
    weights = last.with_name("weights.safetensors")
    weights.touch()
    assert f"start anew, from this run's weights with weights={weights}, with resume=false" in error_of(last)
    last.with_name("older.ckpt").touch()
    assert f"; put {last.with_name('older.ckpt')} in its place" in error_of(last)


def refused(arguments, run, capsys):
    """The one line with which resuming ends; no file of the run changes."""
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    return line


@pytest.mark.slow
def test_a_run_is_continued_or_loses_nothing(arguments, tmp_path, capsys):
    run = tmp_path / "run"
    assert main([*arguments, "max_steps=1"]) == 0
    capsys.readouterr()
    arguments = [*arguments, "max_steps=2", "resume=true"]
    content = (run / LAST).read_bytes()
    for damaged in (b"", content[:-9], replaced(content, len(content) // 2, b"damaged!")):
        (run / LAST).write_bytes(damaged)
        assert f"train: error: {run / LAST}: cannot be resumed: " in refused(arguments, run, capsys)
    (run / LAST).write_bytes(content)
    configuration = (run / "config.json").read_bytes()
    for damaged in (b"", b"{", b"[" * 100_000, b"\xff", b'{"model": "x", "epochs": "many"}', b"[]"):
        (run / "config.json").write_bytes(damaged)
        line = refused(arguments, run, capsys)
        assert "config.json: cannot be read" in line or f"{run} was begun with another configuration: " in line
        assert len(line) < 1000
    (run / "config.json").write_bytes(configuration)
    assert main(arguments) == 0


@pytest.mark.slow
def test_another_optimizer(arguments, tmp_path, capsys):
    """What Lightning finds when it restores the state."""
    run = tmp_path / "run"
    assert main([*arguments, "max_steps=1"]) == 0
    state = torch.load(run / LAST, weights_only=True)
    state["optimizer_states"][0]["param_groups"] = []
    torch.save(state, run / LAST)
    capsys.readouterr()
    line = refused([*arguments, "max_steps=2", "resume=true"], run, capsys)
    assert f"{run / LAST}: cannot be resumed: its state does not fit this run (ValueError: loaded state dict" in line


def test_accuracies_are_saved_as_plain_numbers(tmp_path):
    keep_best = KeepBest(tmp_path, "AP", None)
    keep_best.best = {"AP": np.float64(0.5), "step": 3}
    torch.save(keep_best.state_dict(), tmp_path / "x")
    assert torch.load(tmp_path / "x", weights_only=True) == {"best": {"AP": 0.5, "step": 3.0}}
