"""Detectors in the training application: small whole runs, and data that is hard or wrong."""

import copy
import dataclasses
import json
import re

import numpy as np
import pytest
import torch
from conftest import DEMO_WEIGHTS, REAL
from PIL import Image
from recordings import read_json

from tinypose_torch import create_model
from tinypose_torch.checkpoints.files import describe_changes, save_safetensors
from tinypose_torch.cli import main as tinypose
from tinypose_torch.data.detection.annotations import load_detection_annotations
from tinypose_torch.data.errors import DatasetError
from tinypose_torch.losses.assigners import Targets
from tinypose_torch.losses.detection import legacy_loss, task_aligned_loss
from tinypose_torch.models import registry
from tinypose_torch.models.registry import get_config
from train.__main__ import main
from train.config import load_config
from train.detection import BatchCollate, DetectorTraining, detection_job
from train.init_model import build_network
from train.logs import read_log

NAMES = ("picodet_s_192_lcnet_pedestrian", "picodet_s_192_pedestrian")


@pytest.fixture
def quick(people, tmp_path):
    return [
        f"data.train={people / 'train.json'}",
        f"data.images={people / 'images'}",
        f"output={tmp_path / 'run'}",
        *("data.workers=0", "accelerator=cpu", "batch_size=4", "detection.sizes=[128, 192]", "max_steps=2", "ema=0.9"),
        *("weights=null", "optimisation.reference_batch=null"),
    ]


@pytest.mark.parametrize(("recipe", "trained"), [(NAMES[0], True), (NAMES[1], False)])
def test_trained_and_evaluated(recipe, trained, quick, people, tmp_path):
    """Steps keep the accuracy of the demo weights (AP 0.8); an untrained detector has AP 0."""
    start = [f"weights={DEMO_WEIGHTS[recipe]}", "optimisation.learning_rate=0.0001"] if trained else []
    assert main([recipe, *quick, *start, f"data.val={people / 'val.json'}", "evaluate_every=0.1"]) == 0
    weights = tmp_path / "run/weights.safetensors"
    assert create_model(recipe, weights=weights).config.class_names == ("person",)
    receipt = json.loads((tmp_path / "run/receipt.json").read_text())
    options = ["--weights", weights, "--annotations", people / "val.json", "--images", people / "images"]
    options += ["--json", tmp_path / "accuracy.json"]
    assert tinypose(["evaluate", "--detector", recipe, *map(str, options)]) == 0
    measured = json.loads((tmp_path / "accuracy.json").read_text())
    assert measured["AP"] == pytest.approx(receipt["accuracy"]["AP"], abs=1e-6)
    assert measured["AP"] > 0.5 or not trained


@pytest.mark.slow
def test_learns(quick, people, tmp_path):
    """Two pictures by heart, from random weights: the loss falls to less than half (0.36 when written)."""
    content = json.loads((people / "train.json").read_text())
    content["images"] = content["images"][:2]
    (tmp_path / "two.json").write_text(json.dumps(content))
    options = ["batch_size=2", "max_steps=30", "epochs=1000", "detection.sizes=[192]", "detection.crop=false", "seed=1"]
    options += ["detection.distort=false", "detection.flip=0", "optimisation.warmup_steps=5"]
    options += ["optimisation.learning_rate=0.05", f"data.train={tmp_path / 'two.json'}", "ema=null"]
    assert main([NAMES[0], *quick, *options]) == 0
    losses = [row["loss"] for row in read_log(tmp_path / "run") if "loss" in row]
    assert losses[-1] < losses[0] / 2


@pytest.mark.slow
def test_ppyolov2_trained_and_evaluated(quick, people, tmp_path):
    """On one step; what it wrote predicts."""
    few = [
        "max_steps=1",
        "batch_size=2",
        "input_size=[64, 64]",
        "detection.sizes=[64]",
        f"data.val={people / 'val.json'}",
        "evaluate_every=0.1",
    ]
    assert main(["ppyolov2_r50vd_dcn", *quick, *few]) == 0
    network = create_model("ppyolov2_r50vd_dcn", weights=tmp_path / "run/weights.safetensors")
    assert network.config.class_names == ("person",)
    scores, boxes = network.predict(torch.zeros(1, 3, 64, 64))
    assert scores.shape[:2] == boxes.shape[:2] == (1, 3 * (4 + 16 + 64))


@pytest.mark.slow
def test_ppyolov2_takes_over_classes_by_name(tmp_path):
    names = ("dog", "person")
    torch.manual_seed(0)
    source = create_model("ppyolov2_r50vd_dcn", class_names=names)
    weights = tmp_path / "source.safetensors"
    save_safetensors(source, weights, describe_changes(source.config))
    config = load_config("ppyolov2_r50vd_dcn", [f"weights={weights}"])
    network = build_network(config, class_names=("person", "cat"))
    own, other = network.outputs[0].weight, source.outputs[0].weight
    assert torch.equal(own[:3], other[:3]), "IoU"
    for box in range(3):
        first = 3 + box * 7
        assert torch.equal(own[first : first + 5], other[first : first + 5]), "boxes and objects"
        assert torch.equal(own[first + 5], other[first + 6]), "person"
        assert not torch.equal(own[first + 6], other[first + 5]), "cats are no dogs"


def test_ppyolov2_decays_but_for_norms():
    training = DetectorTraining(
        create_model("ppyolov2_r50vd_dcn"), load_config("ppyolov2_r50vd_dcn", []), None, None, 1, 1
    )
    spared = {name.rpartition(".")[0] for name, _ in training.network.named_parameters() if not training.decays(name)}
    norms = {name for name, m in training.network.named_modules() if isinstance(m, torch.nn.BatchNorm2d)}
    assert spared == norms


@pytest.mark.needs_reference
def test_genuine_weights_stay_what_they_are():
    """Before the first step, a network to be fine-tuned has the weights that it was given."""
    name = "picodet_s_320_lcnet_pedestrian"
    weights = REAL / f"weights/{name}.pdparams"
    network = build_network(load_config("finetune_detector", [f"weights={weights}"]), class_names=("person",))
    source = create_model(name, weights=weights)
    for key, value in source.state_dict().items():
        assert torch.equal(network.state_dict()[key], value), key


@pytest.mark.needs_reference
@pytest.mark.parametrize("name", ["picodet_s_320_lcnet_pedestrian", "picodet_s_192_pedestrian"])
def test_classes_are_taken_over_by_name(name):
    weights = REAL / f"weights/{name}.pdparams"
    config = load_config("finetune_detector", [f"model={name}", f"weights={weights}", "freeze=[]"])
    network = build_network(config, class_names=("dog", "person"))
    source = create_model(name, weights=weights)
    part = "cls" if source.aligned else "output"
    own, other = (getattr(net.head.predictors[0], part).weight for net in (network, source))
    assert torch.equal(own[1], other[0])
    assert not torch.equal(own[0], other[0])
    assert torch.equal(own[2:], other[1:]), "box distributions"


@pytest.mark.parametrize("generation", ["lcnet", "esnet"])
def test_decay_exceptions(generation, filler):
    from .test_detector_steps import Reference

    reference = Reference(generation, filler)
    network = create_model(reference.name)
    training = DetectorTraining(network, load_config(reference.name, []), None, None, 1, 1)
    for name, _ in network.named_parameters():
        expected = reference.facts["param_attrs"][reference.original_name(name)]["l2"] is None
        assert training.decays(name) == expected, name


@pytest.mark.parametrize("per_epoch", [100, 7])
@pytest.mark.parametrize("recipe", ["picodet_s_320_lcnet_pedestrian", "picodet_s_320_pedestrian"])
def test_rates(recipe, per_epoch):

    from train.schedule import rate_factor

    tables = read_json("training/lr_schedules.json")
    (table,) = [t for t in tables if t["config"].endswith(f"/{recipe}.yml") and t["steps_per_epoch"] == per_epoch]
    config = load_config(recipe, [])
    assert (config.batch_size, config.epochs) == (table["batch_size"], table["epochs"])
    for step, rate in table["table"]:
        factor = rate_factor(config.optimisation, step, per_epoch, config.epochs * per_epoch)
        assert config.optimisation.learning_rate * factor == pytest.approx(rate, rel=1e-6), step


def job_of(content, people, tmp_path, *overrides):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(content))
    common = [f"data.train={path}", f"data.images={people / 'images'}", "weights=null", *overrides]
    return detection_job(load_config("picodet_s_192_lcnet_pedestrian", common))


@pytest.fixture
def content(people):
    return json.loads((people / "train.json").read_text())


def test_images_without_people_are_left_out(content, people, tmp_path):
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != content["images"][0]["id"]]
    job = job_of(content, people, tmp_path)
    assert ("not used", "1 images without objects") in job.rows
    assert job.count == len(content["images"]) - 1


SKIPPED = {
    "outside": ({"bbox": [5000, 5, 10, 10]}, "outside their image"),
    "without width": ({"bbox": [5, 5, 0, 10]}, "without area"),
    "iscrowd": ({"iscrowd": 1}, "iscrowd or to be ignored"),
    "NaN": ({"bbox": [float("nan"), 5, 10, 10]}, "with NaN or infinite numbers"),
}


@pytest.mark.parametrize("case", SKIPPED)
def test_counted_skips(case, content, people, tmp_path):
    changes, reason = SKIPPED[case]
    content["annotations"][0].update(changes)
    assert ("not used", f"1 {reason}") in job_of(content, people, tmp_path).rows


def test_many_boxes_and_tiny_ones(content, people, tmp_path):
    """300 boxes in an image, some of one pixel: finite losses, in both generations."""
    generator = np.random.default_rng(0)
    image = content["images"][0]
    template = content["annotations"][0]
    content["annotations"] = []
    for index in range(300):
        x, y = generator.uniform(0, 300), generator.uniform(0, 220)
        size = 1.0 if index % 3 == 0 else generator.uniform(2, 60)
        changes = {"id": index, "image_id": image["id"], "bbox": [x, y, size, size], "area": size * size}
        content["annotations"].append({**copy.deepcopy(template), **changes})
    content["images"] = [image]
    job = job_of(content, people, tmp_path, "detection.crop=false")
    batch = job.collate([job.samples[(0, 0)], job.samples[(1, 0)]])
    assert batch["boxes"].shape[1] == 300
    targets = Targets(batch["boxes"], batch["labels"], batch["valid"])
    for name, losses in (
        (
            NAMES[0],
            [
                lambda levels: task_aligned_loss(levels, targets, True, 4),
                lambda levels: task_aligned_loss(levels, targets, False),
            ],
        ),
        (NAMES[1], [lambda levels: legacy_loss(levels, targets)]),
    ):
        network = create_model(name).train()
        for loss in losses:
            total = loss(network(batch["image"])).total
            assert torch.isfinite(total)
            total.backward()
            assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_batch_without_objects():
    """Only background: the losses are finite and no box is learned."""
    for name in NAMES:
        network = create_model(name).train()
        targets = Targets(
            torch.zeros(2, 1, 4), torch.zeros(2, 1, dtype=torch.long), torch.zeros(2, 1, dtype=torch.bool)
        )
        levels = network(torch.randn(2, 3, 64, 64))
        loss = task_aligned_loss(levels, targets, True, 4) if network.aligned else legacy_loss(levels, targets)
        assert torch.isfinite(loss.total)
        assert loss.bbox == 0
        loss.total.backward()


BAD = {
    "class that the file lacks": (["detection.classes=[dog]"], "no category 'dog' among person"),
    "odd size": (["detection.sizes=[100]"], "100 is not a multiple of 32"),
    "unknown key": (["detection.colour=1"], "unknown key 'detection.colour'"),
    "no training": (["model=fairmot_dla34"], "fairmot_dla34 has no training here"),
    "no file": (["data.train=gone.json"], "no annotation file 'gone.json'"),
    "pose weights": (["weights={pose}"], "holds weights of tinypose_128x96, not of picodet"),
    "sizes that are not around the model's": (
        ["model=picodet_s_416_coco_lcnet"],
        "input size 416 is not between detection.sizes 128 and 192; pass detection.sizes=[416]",
    ),
    "sizes that are not around those of the weights": (
        ["weights={large}"],
        "input size 256 is not between detection.sizes 128 and 192; pass detection.sizes=[256]",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_options(case, quick, tmp_path, capsys):
    overrides, message = BAD[case]
    pose = create_model("tinypose_128x96")
    save_safetensors(pose, tmp_path / "pose.safetensors", describe_changes(pose.config))
    large = create_model(NAMES[0], input_size=(256, 256))
    save_safetensors(large, tmp_path / "large.safetensors", describe_changes(large.config))
    files = {name: tmp_path / f"{name}.safetensors" for name in ("pose", "large")}
    chosen = [re.sub(r"\{(\w+)\}", lambda name: str(files[name[1]]), override) for override in overrides]
    assert main([NAMES[0], *quick, *chosen]) == 2
    error = capsys.readouterr().err
    assert message in error, error
    assert "Traceback" not in error


def test_validation_of_another_class_list(content, quick, tmp_path, capsys):
    content["categories"][0]["name"] = "pedestrian"
    (tmp_path / "val.json").write_text(json.dumps(content))
    assert main([NAMES[0], *quick, f"data.val={tmp_path / 'val.json'}"]) == 2
    assert "no category 'person' among pedestrian" in capsys.readouterr().err


def test_collated_images_have_their_own_boxes(tmp_path):
    """A white square stays under its box, whatever size and interpolation are drawn."""
    entry = create_model(NAMES[0]).config
    from tinypose_torch.data.detection.sample import DetectionSample

    image = np.zeros((120, 200, 3), np.uint8)
    image[30:60, 50:90] = 255
    objects = DetectionSample(np.float32([[50, 30, 90, 60]]), np.zeros(1, np.int64))
    collate = BatchCollate((128, 160, 192), entry, 0)
    sizes = set()
    for index in range(12):
        batch = collate([{"image": image, "objects": objects, "place": (0, index)}])
        picture = batch["image"][0, 0] > 0
        rows, columns = picture.any(dim=1).nonzero(), picture.any(dim=0).nonzero()
        found = torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=torch.float)
        assert (found - batch["boxes"][0, 0]).abs().max() <= 1.5
        sizes.add(batch["image"].shape[-1])
    assert len(sizes) == 3


def test_files_that_are_none(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for content, message in ((b"", "empty file"), (b"[]", "holds a list"), (b"{}", "no list 'images'")):
        (tmp_path / "boxes.json").write_bytes(content)
        with pytest.raises(DatasetError, match=message):
            load_detection_annotations(tmp_path / "boxes.json")


def test_check_downloads_nothing(quick, monkeypatch, capsys):
    def fetch(entry, tag=None):
        raise AssertionError(f"downloads {entry.name} {tag}")

    monkeypatch.setattr("tinypose_torch.factory.fetch_pretrained", fetch)
    entry = get_config(NAMES[0])
    releases = {"official": entry.weights["official"], "2021": entry.weights["official"]}
    monkeypatch.setitem(registry._CONFIGS, NAMES[0], dataclasses.replace(entry, weights=releases))
    for weights in ("official", "imagenet", "2021"):
        assert main([NAMES[0], *quick, f"weights={weights}", "--check"]) == 0
    assert main([NAMES[0], *quick, "weights=2020", "--check"]) == 2
    assert f"no such release of {NAMES[0]}; its releases: official, 2021" in capsys.readouterr().err


def test_check(quick, people, tmp_path, capsys):
    assert main([NAMES[0], *quick, f"data.val={people / 'val.json'}", "--check"]) == 0
    printed = capsys.readouterr().out
    assert "person" in printed
    assert (tmp_path / "run/samples.png").is_file()
