"""Checkpoints to resume from are data: what else they hold never runs."""

import os
import pickle

import numpy as np
import pytest
import torch

from tinypose_torch import CheckpointError
from train.__main__ import main
from train.config import load_config
from train.resuming import steps_done
from train.trainer import LAST, KeepBest


class Touches:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_hostile_checkpoint_is_refused_in_one_line(arguments, tmp_path, capsys):
    run, marker = tmp_path / "run", tmp_path / "ran"
    assert main([*arguments, "max_steps=1"]) == 0
    checkpoint = torch.load(run / LAST, weights_only=True)
    torch.save({**checkpoint, "extra": Touches(marker)}, run / LAST)
    capsys.readouterr()
    assert main([*arguments, "max_steps=2", "resume=true"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"{run / LAST}: cannot be resumed" in line
    assert not marker.exists()
    torch.load(run / LAST, weights_only=False)
    assert marker.exists(), "the attack itself does not work"


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"\x80\x02}.", pickle.dumps({"global_step": Touches("nowhere")}), b"noise" * 100]
)
def test_damaged_checkpoints(content, tmp_path):
    (tmp_path / LAST).write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be resumed") as caught:
        steps_done(tmp_path / LAST, load_config("demo_pose", []))
    assert str(caught.value).isprintable()


def test_accuracies_are_saved_as_plain_numbers(tmp_path):
    keep_best = KeepBest(tmp_path, "AP", None)
    keep_best.best = {"AP": np.float64(0.5), "step": 3}
    torch.save(keep_best.state_dict(), tmp_path / "x")
    assert torch.load(tmp_path / "x", weights_only=True) == {"best": {"AP": 0.5, "step": 3.0}}
