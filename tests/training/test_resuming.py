"""Runs that end in the middle: resumed exactly; and shared between processes."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT

from train import checkpoints
from train.__main__ import main
from train.checkpoints import AtomicCheckpoints
from train.lightning_module import Training
from train.preflight import LAST, WEIGHTS
from train.sampler import BatchSampler

from .conftest import differing, free_port, step_of, trained


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="plain"),
        pytest.param(["ema=0.9", "accumulate=2"], id="averaged, accumulated", marks=pytest.mark.slow),
    ],
)
def test_resumed_equals_uninterrupted(arguments, tmp_path, options, monkeypatch, capsys):
    arguments = [*arguments, *options, "checkpoint_every=3", "max_steps=7"]
    assert main([*arguments, f"output={tmp_path / 'whole'}"]) == 0
    parts = [*arguments, f"output={tmp_path / 'parts'}"]
    with monkeypatch.context() as patched:
        patched.setattr(Training, "training_step", _stopped_after(5))
        assert main(parts) == 1
    assert "stopped here" in capsys.readouterr().err
    assert step_of(tmp_path / "parts") == 3
    assert main([*parts, "resume=true"]) == 0
    assert differing(trained(tmp_path / "whole"), trained(tmp_path / "parts")) == []


def _stopped_after(step):
    """A step that fails, as if the machine had."""
    usual = Training.training_step

    def training_step(self, batch, index):
        if self.global_step == step:
            raise RuntimeError("stopped here")
        return usual(self, batch, index)

    return training_step


def test_resuming_nothing(arguments, tmp_path, capsys):
    """An error that names the folder; nothing is written there."""
    assert main([*arguments, "resume=true"]) == 2
    assert f"no {LAST} in {tmp_path / 'run'}" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "seconds", "expected"),
    [
        (["checkpoint_every=3"], 300, [3, 6, 7]),
        (["checkpoint_every=100"], 0, [1, 7]),
        (["checkpoint_every=100", "data.val={val}", "evaluate_every=0.12"], 300, [2, 7]),
    ],
    ids=["regularly and at the end", "after some time", "after the first evaluation"],
)
def test_when_checkpoints_are_saved(arguments, people, options, seconds, expected, monkeypatch):
    monkeypatch.setattr(checkpoints, "FIRST_SECONDS", seconds)
    saved = []
    monkeypatch.setattr(
        AtomicCheckpoints, "save_checkpoint", lambda self, state, *_, **__: saved.append(state["global_step"])
    )
    options = [option.replace("{val}", str(people / "val.json")) for option in options]
    assert main([*arguments, "max_steps=7", "batch_size=4", *options]) == 0
    assert saved == expected


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["data.val={val}", "evaluate_every=0.3"]], ids=["plain", "evaluated"])
def test_finished_run_goes_on(arguments, people, tmp_path, options):
    """With more steps than it was begun with; the rate's schedule is by epochs, so the result is the same."""
    options = [option.replace("{val}", str(people / "val.json")) for option in options]
    common = [*arguments, *options, "checkpoint_every=2", "optimisation.schedule=steps"]
    assert main([*common, "max_steps=6", f"output={tmp_path / 'whole'}"]) == 0
    assert main([*common, "max_steps=4"]) == 0
    for steps in (4, 6):  # the first of them has nothing left to do
        assert main([*common, f"max_steps={steps}", "resume=true"]) == 0
        assert step_of(tmp_path / "run") == steps
    states = [torch.load(tmp_path / name / LAST, weights_only=False)["state_dict"] for name in ("whole", "run")]
    assert differing(*states) == []


def test_running_into_an_old_run_loses_nothing(arguments, tmp_path, capsys):
    assert main([*arguments, "max_steps=1"]) == 0
    before = (tmp_path / "run" / LAST).read_bytes()
    assert main([*arguments, "max_steps=1"]) == 2
    assert "holds a run already; resume=true" in capsys.readouterr().err
    assert (tmp_path / "run" / LAST).read_bytes() == before


@pytest.mark.slow
def test_two_processes_equal_one(arguments, tmp_path):
    common = [*arguments, "max_steps=3", "precision=64", "sync_batch_norm=true"]
    assert main([*common, f"output={tmp_path / 'one'}", "batch_size=4"]) == 0
    command = [sys.executable, "-m", "train", *common, f"output={tmp_path / 'two'}", "batch_size=2", "devices=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_PORT": str(free_port())}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True, timeout=300)
    assert done.stdout.count(f"wrote {tmp_path / 'two' / WEIGHTS}") == 1
    steps = [line.partition(":")[0] for line in done.stderr.splitlines()]  # more than one line on a slow machine only
    assert steps == sorted(set(steps))
    assert steps[-1] == "step 3/3"
    one, two = trained(tmp_path / "one"), trained(tmp_path / "two")
    for name, value in one.items():
        # Adam's steps do not depend on the gradient's size, so rounding shows most where the gradient is nothing but it.
        assert (value - two[name]).abs().max() <= 1e-8 + 1e-4 * value.abs().max(), name


def test_order_is_resumable_and_whole():
    everything = list(BatchSampler(23, 4, 18, 0, seed=3))
    for start in (0, 1, 5, 6, 17):
        assert list(BatchSampler(23, 4, 18, start, seed=3)) == everything[start:]
    for epoch in range(3):  # six batches each
        part = [index for batch in everything[6 * epoch : 6 * epoch + 6] for _, index in batch]
        assert sorted(part) == list(range(23))
    assert everything[0] != everything[6]
    assert {epoch for batch in everything[6:12] for epoch, _ in batch} == {1}


def test_processes_share_batches():
    joint = list(BatchSampler(22, 4, 12, 0, seed=0))
    parts = [list(BatchSampler(22, 2, 12, 0, seed=0, rank=rank, world=2)) for rank in range(2)]
    for whole, one, two in zip(joint, *parts, strict=True):
        assert sorted(whole) == sorted([*one, *two])
        assert one
        assert two


def test_samples_do_not_depend_on_workers(people):
    from tinypose_torch.data.pose.dataset import PoseCollate
    from tinypose_torch.models.registry import get_config
    from train.config import load_config
    from train.pose import build_dataset, load_annotations
    from train.sampler import training_loader

    config = load_config("demo_pose", [f"data.train={people / 'train.json'}", f"data.images={people / 'images'}"])
    entry = get_config("tinypose_128x96")
    dataset = build_dataset(config, load_annotations(config, entry), entry)
    batches = [
        [
            batch["image"].numpy()
            for batch in training_loader(dataset, BatchSampler(len(dataset), 4, 6, 0, 0), workers, PoseCollate(entry))
        ]
        for workers in (0, 2)
    ]
    for one, two in zip(*batches, strict=True):
        np.testing.assert_array_equal(one, two)
