"""Training of bottom-up networks: samples, what is learned, whole runs."""

import json

import pytest
import safetensors.torch
import torch

pytest.importorskip("timm")

from tinypose_torch import create_model
from tinypose_torch.cli import main as tinypose
from tinypose_torch.codecs.associative_embedding import MISSING
from tinypose_torch.losses.associative_embedding import AssociativeEmbeddingTargets, associative_embedding_loss
from train.__main__ import main
from train.bottom_up import bottom_up_job, collate_bottom_up
from train.config import load_config
from train.logs import read_log

from .conftest import differing

SMALL = "higherhrnet_w16_192"


@pytest.fixture
def arguments(people, tmp_path):
    """What every quick run has in common."""
    return [
        "demo_bottom_up",
        f"data.train={people / 'train.json'}",
        f"data.images={people / 'images'}",
        f"output={tmp_path / 'run'}",
        "data.workers=0",
        "accelerator=cpu",
        "batch_size=2",
        "ema=null",
    ]


def job_of(people, tmp_path, change=None, *overrides):
    content = json.loads((people / "train.json").read_text())
    if change:
        change(content)
    (tmp_path / "x.json").write_text(json.dumps(content))
    common = [f"data.train={tmp_path / 'x.json'}", f"data.images={people / 'images'}", *overrides]
    return bottom_up_job(load_config("demo_bottom_up", common))


def test_a_batch(people, tmp_path):
    job = job_of(people, tmp_path)
    samples = [job.samples[(0, index)] for index in range(4)]
    batch = collate_bottom_up(samples)
    assert batch["image"].shape == (4, 3, 192, 192)
    assert batch["coarse_heatmaps"].shape == (4, 17, 48, 48)
    assert batch["fine_heatmaps"].shape == (4, 17, 96, 96)
    assert batch["fine_mask"].shape == (4, 96, 96)
    assert batch["places"].shape == (4, max(len(sample["places"]) for sample in samples), 17)
    for sample, places, coarse in zip(samples, batch["places"], batch["coarse_heatmaps"], strict=True):
        assert (places[len(sample["places"]) :] == MISSING).all()
        for person in sample["places"]:
            for kind, cell in enumerate(person.tolist()):
                assert cell == MISSING or coarse[kind].flatten()[cell] == 1, "a tag is read where the heat is greatest"
    again = job.samples[(0, 2)]
    assert all(torch.equal(again[key], samples[2][key]) for key in ("image", "fine_heatmaps", "places"))
    assert not torch.equal(job.samples[(1, 2)]["image"], samples[2]["image"])


def test_every_part_of_swahr_learns():
    network = create_model("higherhrnet_w32_512_swahr").train()
    stages = network(torch.randn(1, 3, 64, 64))
    coarse, fine = torch.rand(1, 17, 16, 16), torch.rand(1, 17, 32, 32)
    masks = torch.ones(1, 16, 16, dtype=torch.bool), torch.ones(1, 32, 32, dtype=torch.bool)
    places = torch.arange(34).reshape(1, 2, 17)
    associative_embedding_loss(stages, AssociativeEmbeddingTargets(coarse, fine, *masks, places)).total.backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())
    assert network.eval()(torch.zeros(1, 3, 64, 64)).fine_scales is None, "they serve only training"


def test_what_is_not_used(people, tmp_path):
    def change(content):
        content["annotations"][0]["iscrowd"] = 1
        content["annotations"][1]["keypoints"][0] = float("nan")
        last = content["images"][-1]["id"]
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] != last]

    rows = job_of(people, tmp_path, change).rows
    assert any(text.endswith(" images without people") for _, text in rows)
    assert ("not used", "1 iscrowd") in rows
    assert ("not used", "1 with NaN or infinite numbers") in rows


@pytest.mark.slow
def test_kept_and_resumed(arguments, people, tmp_path):
    common = [*arguments, f"data.val={people / 'val.json'}", "optimisation.warmup_steps=0", "checkpoint_every=2"]
    assert main([*common, "max_steps=2"]) == 0
    assert main([*common, "max_steps=4", "resume=true"]) == 0
    run = tmp_path / "run"
    receipt = json.loads((run / "receipt.json").read_text())
    assert receipt["steps"] == 4
    before = bottom_up_job(load_config(common[0], common[1:])).network.state_dict()
    after = safetensors.torch.load_file(run / "weights.safetensors")
    assert differing(after, before) == list(after), "every tensor learns"


@pytest.mark.slow
def test_learns_by_heart(arguments, people, tmp_path):
    """A picture without augmentation: the heatmaps' loss falls to a third (0.2 when written), its people are found (AP 0.6),
    and `tinypose evaluate` measures what the run did."""
    content = json.loads((people / "train.json").read_text())
    one = max(content["annotations"], key=lambda annotation: annotation["area"])["image_id"]
    content["images"] = [image for image in content["images"] if image["id"] == one]
    content["annotations"] = [annotation for annotation in content["annotations"] if annotation["image_id"] == one]
    (tmp_path / "one.json").write_text(json.dumps(content))
    options = ["augmentation.rotation=0", "augmentation.flip=0", "augmentation.bottom_up_scale=[1.0, 1.0001]"]
    options += ["augmentation.bottom_up_shift=0", "optimisation.warmup_steps=10", "optimisation.learning_rate=0.004"]
    options += ["optimisation.reference_batch=null", "batch_size=1", "max_steps=60", "epochs=1000", "seed=1"]
    options += ["evaluate_every=1000", f"data.train={tmp_path / 'one.json'}", f"data.val={tmp_path / 'one.json'}"]
    assert main([*arguments, *options]) == 0
    run = tmp_path / "run"
    losses = [row["heatmaps"] for row in read_log(run) if "heatmaps" in row]
    assert losses[-1] < losses[0] / 3
    accuracy = json.loads((run / "receipt.json").read_text())["accuracy"]
    assert accuracy["AP"] > 0.5
    evaluate = ["evaluate", "--pose", SMALL, "--weights", run / "weights.safetensors", "--annotations"]
    evaluate += [tmp_path / "one.json", "--images", people / "images", "--json", tmp_path / "accuracy.json"]
    assert tinypose([str(part) for part in evaluate]) == 0
    measured = json.loads((tmp_path / "accuracy.json").read_text())
    assert measured["AP"] == pytest.approx(accuracy["AP"], abs=1e-6)


def test_check(arguments, tmp_path, capsys):
    assert main([*arguments, "--check"]) == 0
    assert "people in an image" in capsys.readouterr().out
    assert (tmp_path / "run/samples.png").is_file()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("data.format=mpii", "MPII annotations are for top-down networks"),
        ("distillation.teacher=hrnet_w32_256x192", "distillation.teacher is for top-down networks"),
        ("data.train=null", "data.train is missing"),
        ("augmentation.bottom_up_scale=[0, 1]", "augmentation.bottom_up_scale"),
    ],
)
def test_bad_options(option, message, arguments, capsys):
    assert main([*arguments, option]) == 2
    assert message in capsys.readouterr().err
