"""A teacher's heatmaps for a student: whose, how large, how heavy, and what is refused."""

import csv

import pytest
import torch
from torch import nn

from tinypose_torch import Skeleton, create_model
from tinypose_torch.models.registry import get_config
from train.__main__ import main
from train.config import ConfigError, load_config
from train.distillation import Teacher
from train.trainer import write_weights

STUDENT = "tinypose_128x96"


@pytest.fixture
def teacher_file(tmp_path):
    torch.manual_seed(3)
    network = create_model("tinypose_256x192")
    write_weights(network, network.config, tmp_path / "teacher.safetensors")
    return tmp_path / "teacher.safetensors"


class Coordinates(nn.Module):
    """Heatmaps that say where they are: x of the first pixel of every cell, in shares of the width."""

    def __init__(self, name, skeleton):
        super().__init__()
        self.config = create_model(name, skeleton=skeleton).config

    def forward(self, x):
        ramp = torch.linspace(0, 1, x.shape[3] // 4).expand(len(x), len(self.config.skeleton), x.shape[2] // 4, -1)
        return ramp * torch.arange(1, len(self.config.skeleton) + 1)[:, None, None]


def test_keypoints_by_name_and_places_kept():
    """The unbiased transform's first and last cells stay the first and last ones."""
    teacher = Teacher(Coordinates("tinypose_256x192", Skeleton("x", ("a", "b", "c"))), entry_with("c", "a"))
    heatmaps = teacher(torch.zeros(2, 3, 128, 96))
    assert heatmaps.shape == (2, 2, 32, 24)
    assert torch.allclose(heatmaps[0, :, 5], torch.linspace(0, 1, 24) * torch.tensor([[3.0], [1.0]]), atol=1e-6)


def entry_with(*names):
    return create_model(STUDENT, skeleton=Skeleton("own", names)).config


@pytest.mark.slow
def test_shares_of_the_loss(arguments, teacher_file, tmp_path):
    options = ["max_steps=2", "distillation.teacher=tinypose_256x192", f"distillation.weights={teacher_file}"]
    assert main([*arguments, *options, "distillation.share=0.25"]) == 0
    rows = list(csv.DictReader((tmp_path / "run/logs/metrics.csv").open()))
    (row,) = [row for row in rows if row.get("teacher")][:1]
    expected = 0.75 * float(row["labels"]) + 0.25 * float(row["teacher"])
    assert float(row["loss"]) == pytest.approx(expected, rel=1e-5)
    weights = create_model(STUDENT, weights=tmp_path / "run/weights.safetensors").state_dict()
    assert set(weights) == set(create_model(STUDENT).state_dict()), "the teacher is not saved with the student"


def test_a_perfect_teacher_alone_is_followed(arguments, teacher_file, tmp_path):
    """With all of the loss, a student that starts as its teacher has nothing to learn, whatever the labels say."""
    options = ["max_steps=1", "distillation.teacher=tinypose_256x192", "model=tinypose_256x192", "distillation.share=1"]
    options += ["batch_size=2"]
    files = [f"distillation.weights={teacher_file}", f"weights={teacher_file}", "freeze=[backbone]"]
    assert main([*arguments, *options, *files]) == 0
    before = create_model("tinypose_256x192", weights=teacher_file).state_dict()
    after = create_model("tinypose_256x192", weights=tmp_path / "run/weights.safetensors").state_dict()
    assert torch.allclose(after["final_conv.weight"], before["final_conv.weight"], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["distillation.teacher=tinypose_256x192"], "distillation.weights is missing"),
        (["distillation.teacher=tinypos_256x192", "distillation.weights=x"], "did you mean"),
        (["distillation.teacher=picodet_s_192_pedestrian", "distillation.weights=x"], "is a detector"),
        (["distillation.teacher=tinypose_256x192", "distillation.weights=gone.pdparams"], "gone.pdparams"),
        (["distillation.share=1.5"], "less than or equal to 1"),
    ],
)
def test_wrong_options(arguments, options, message, capsys):
    assert main([*arguments, *options]) == 2
    assert message in capsys.readouterr().err


def test_teachers_that_do_not_fit():
    student = get_config(STUDENT)
    with pytest.raises(ConfigError, match="has no keypoint 'nose'"):
        Teacher(create_model("hrnet_w32_256x256_mpii"), student)
    with pytest.raises(ConfigError, match="another shape"):
        Teacher(create_model(STUDENT, input_size=(128, 128)), student)


def test_recipes_name_no_teacher():
    assert load_config("tinypose_128x96", []).distillation.teacher is None
