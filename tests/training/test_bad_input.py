"""Datasets and configurations that cannot be right: an error that says what and where, before anything is trained."""

import copy
import json
import shutil
import subprocess
import sys

import pytest
import torch
from conftest import ROOT

from tinypose_torch import create_model
from tinypose_torch.checkpoints.files import describe_changes, save_safetensors
from train.__main__ import main


class Workplace:
    """A data set that the test may damage."""

    def __init__(self, people, folder):
        self.folder = folder
        self.images = folder / "images"
        shutil.copytree(people / "images", self.images)
        self.content = json.loads((people / "train.json").read_text())
        self.file = folder / "train.json"
        self.write(self.content)

    def write(self, content):
        self.file.write_text(json.dumps(content))

    def spoil(self, change):
        content = copy.deepcopy(self.content)
        change(content)
        self.write(content)

    def run(self, *overrides):
        return main(
            [
                "demo_pose",
                f"data.train={self.file}",
                f"data.images={self.images}",
                f"output={self.folder / 'run'}",
                *("data.workers=0", "accelerator=cpu", "batch_size=2", "max_steps=1"),
                *overrides,
            ]
        )


@pytest.fixture
def workplace(people, tmp_path):
    return Workplace(people, tmp_path)


def first(content):
    return content["annotations"][0]


def edit(**changes):
    return lambda content: first(content).update(changes)


def repeat_annotation_id(content):
    content["annotations"][1]["id"] = first(content)["id"]


def repeat_image_id(content):
    content["images"][1]["id"] = content["images"][0]["id"]


def drop(key):
    return lambda content: content.pop(key)


BAD_FILES = {
    "wrong number of keypoints": (edit(keypoints=[1, 2, 2] * 16), "48 keypoint numbers; 17 keypoints need 51"),
    "keypoints that are no numbers": (edit(keypoints=["x"] * 51), "'x' in keypoints; expected numbers"),
    "no keypoints at all": (edit(keypoints=None), "keypoints None; expected a list of numbers"),
    "bbox of three": (edit(bbox=[1, 2, 3]), "expected x, y, width, height"),
    "bbox of text": (edit(bbox="1 2 3 4"), "expected x, y, width, height"),
    "annotation id twice": (repeat_annotation_id, "annotation id .* occurs more than once"),
    "image id twice": (repeat_image_id, "image id 0 occurs more than once"),
    "no images": (drop("images"), "no list 'images'"),
    "no annotations": (drop("annotations"), "no list 'annotations'"),
    "no categories": (drop("categories"), "no list 'categories'"),
    "image without a name": (lambda c: c["images"][0].pop("file_name"), "no id or no file_name"),
    "image without a size": (lambda c: c["images"][0].pop("width"), "image 0: width None"),
    "annotation without image_id": (lambda c: first(c).pop("image_id"), "without image_id"),
    "empty list of people": (lambda c: c.update(annotations=[]), "no usable person annotations; the file is empty"),
    "links beyond the keypoints": (lambda c: c["categories"][0].update(keypoints=["a"], skeleton=[[1, 9]]), "link"),
    "keypoint named twice": (
        lambda c: c["categories"][0].update(keypoints=["nose"] * 17, skeleton=[]),
        "a keypoint is named twice",
    ),
    "two categories with keypoints": (
        lambda c: c["categories"].append({"id": 2, "name": "dog", "keypoints": ["tail"]}),
        "several categories have keypoints",
    ),
    "image not there": (lambda c: c["images"][0].update(file_name="gone.jpg"), "1 images are not in .*gone.jpg"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_annotations(case, workplace, capsys):
    import re

    change, message = BAD_FILES[case]
    workplace.spoil(change)
    assert workplace.run() == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert "Traceback" not in error
    assert not (workplace.folder / "run").exists(), "something was begun"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b"{", "not JSON"),
        (b"[1, 2]", "no annotation format recognises it; name its format, one of coco, "),
        (b"\xff\xfe\x00", "no annotation format recognises it"),
    ],
)
def test_files_that_are_none(content, message, workplace, capsys):
    workplace.file.write_bytes(content)
    assert workplace.run() == 2
    assert message in capsys.readouterr().err


BAD_OPTIONS = {
    "unknown key": (["optimisation.learning_rat=1"], "did you mean 'optimisation.learning_rate'"),
    "unknown section": (["optimizer.lr=1"], "unknown key 'optimizer'"),
    "wrong type": (["batch_size=many"], "batch_size: "),
    "negative": (["max_steps=-1"], "max_steps: "),
    "no value": (["max_steps"], "expected key=value"),
    "section as a value": (["data.workers.more=1"], "'workers' is no section"),
    "probability over 1": (["augmentation.flip=1.5"], "augmentation.flip: "),
    "unknown dropping": (["augmentation.dropping=mixup"], "augmentation.dropping: "),
    "unknown transform": (
        ["augmentation.transforms=[{name: Rotat}]"],
        "augmentation.transforms: no transform 'Rotat' in albumentations; did you mean Rotate or",
    ),
    "no name": (["augmentation.transforms=[{limit: 3}]"], "augmentation.transforms: {'limit': 3} has no name"),
    "wrong argument": (
        ["augmentation.transforms=[{name: Rotate, limits: 3}]"],
        "augmentation.transforms: Rotate has no argument 'limits'; did you mean 'limit'?",
    ),
    "wrong value": (
        ["augmentation.transforms=[{name: Rotate, p: 7}]"],
        "augmentation.transforms: Rotate: p: input should be",
    ),
    "no module": (["augmentation.transforms=[{name: gone.Mine}]"], "gone.Mine: No module named 'gone'"),
    "other size": (
        ["augmentation.transforms=[{name: RandomCrop, height: 50, width: 40}]"],
        "augmentation.transforms: RandomCrop changes the crop from 128x96 to 50x40; write it before the crop",
    ),
    "other pixels": (
        ["augmentation.transforms=[{name: Normalize}]"],
        "Normalize returns float32 of shape (128, 96, 3)",
    ),
    "missing target": (
        ["augmentation.transforms=[{name: MaskDropout}, {name: TopDownAffine}]"],
        "augmentation.transforms: MaskDropout cannot be applied: ",
    ),
    "crop with arguments": (
        ["augmentation.transforms=[{name: TopDownAffine, udp: true}]"],
        "marks the place of the crop",
    ),
    "unknown upper body": (["augmentation.upper_body=[tail]"], "no keypoint 'tail'"),
    "unknown model": (["model=tinypose_128x95"], "did you mean 'tinypose_128x96'"),
    "boxes of others for a bottom-up model": (
        ["model=higherhrnet_w16_192", "data.detections={train}"],
        "data.detections is for top-down networks; higherhrnet_w16_192 is a bottom-up network",
    ),
    "freezing nothing": (["freeze=[backbon]"], "nothing begins with 'backbon'; modules: backbone"),
    "freezing everything": (["freeze=[backbone, final_conv]"], "leaves nothing to learn"),
    "no annotation file": (["data.train=gone.json"], "no annotation file 'gone.json'"),
    "no image folder": (["data.images=gone"], "no image folder 'gone'"),
    "data missing": (["data.train=null"], "data.train is missing"),
    "no weight file": (["weights=gone.pdparams"], "no weight file 'gone.pdparams'"),
    "sigmas": (["data.sigmas=[0.1]"], "1 numbers for 17 keypoints"),
    "no detections": (
        ["data.detections=gone.json", "data.val={train}"],
        "data.detections: no annotation file 'gone.json'",
    ),
    "no validation file": (["data.val=gone.json"], "data.val: no annotation file 'gone.json'"),
    "no teacher": (
        ["distillation.teacher=hrnet_w32_256x192", "distillation.weights=gone.pt"],
        "distillation.weights: no weight file 'gone.pt'",
    ),
    "mpii of a coco file": (["data.format=mpii"], "not an MPII annotation file"),
    "unknown format": (["data.format=labelme"], "unknown annotation format 'labelme'; choose one of coco, "),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options(case, workplace, capsys):
    overrides, message = BAD_OPTIONS[case]
    assert workplace.run(*(override.replace("{train}", str(workplace.file)) for override in overrides)) == 2
    error = capsys.readouterr().err
    assert message in error, error
    assert "Traceback" not in error


def test_unknown_recipe(capsys):
    assert main(["fine-tune"]) == 2
    assert "did you mean 'finetune'" in capsys.readouterr().err


# Prints the status of each command line, and which of the slow libraries have been imported by then.
_STATUSES = """
import sys
from train.__main__ import main
for line in sys.argv[1:]:
    try:
        status = main(line.split())
    except SystemExit as stopped:
        status = stopped.code
    print("STATUS", status, sorted({"torch", "lightning", "albumentations", "cv2"} & set(sys.modules)))
"""


def test_errors_come_before_slow_imports(workplace):
    data = f"data.train={workplace.file} data.images={workplace.images}"
    (workplace.folder / "old").mkdir()
    (workplace.folder / "old/last.ckpt").touch()
    lines = {
        "--help": 0,
        "tinypose_128x96 nonsense=1": 2,
        "tinypose_128x96 batch_size=-1": 2,
        "fine-tune": 2,
        "finetune": 2,
        "finetune data.train=gone.json data.images=.": 2,
        f"finetune {data} weights=gone.pdparams": 2,
        f"finetune {data} output={workplace.folder / 'old'}": 2,
        f"finetune {data} output={workplace.folder / 'new'} resume=true": 2,
    }
    command = [sys.executable, "-c", _STATUSES, *lines]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    statuses = [line for line in done.stdout.splitlines() if line.startswith("STATUS")]
    assert statuses == [f"STATUS {status} []" for status in lines.values()], done.stderr
    assert len(done.stderr.splitlines()) == len(lines) - 1, "one line for each error"


@pytest.mark.parametrize("options", [[], ["--check"], ["input_size=[64, 64]", "--check"]])
def test_weights_of_another_model(options, workplace, tmp_path, capsys):
    network = create_model("lite_hrnet_18_256x192")
    save_safetensors(network, tmp_path / "other.safetensors", describe_changes(network.config))
    assert workplace.run(f"weights={tmp_path / 'other.safetensors'}", *options) == 2
    message = "other.safetensors holds weights of lite_hrnet_18_256x192, not of tinypose_128x96"
    assert capsys.readouterr().err.endswith(f"{message}; pass model=lite_hrnet_18_256x192\n")


def test_weights_of_another_teacher(workplace, capsys):
    weights = ROOT / "weights/tinypose_128x96_demo.safetensors"
    teacher = ["distillation.teacher=tinypose_256x192", f"distillation.weights={weights}"]
    assert workplace.run(*teacher) == 2
    message = "holds weights of tinypose_128x96, not of tinypose_256x192; pass distillation.teacher=tinypose_128x96\n"
    assert capsys.readouterr().err.endswith(message)


def test_checkpoint_of_another_run(workplace, capsys):
    assert workplace.run() == 0
    assert workplace.run("resume=true", "max_steps=2", "model=lite_hrnet_18_256x192") == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert "another configuration: model" in error


def test_other_validation_skeleton(workplace, tmp_path, capsys):
    content = copy.deepcopy(workplace.content)
    content["categories"][0]["keypoints"][0] = "snout"
    (tmp_path / "val.json").write_text(json.dumps(content))
    assert workplace.run(f"data.val={tmp_path / 'val.json'}") == 2
    assert "has other keypoints than" in capsys.readouterr().err


SKIPPED = {
    "iscrowd": (edit(iscrowd=1), "1 iscrowd"),
    "no area": (edit(area=0), "1 without area"),
    "box of one pixel": (edit(bbox=[5, 5, 1, 1]), "1 without area"),
    "box outside": (edit(bbox=[9999, 5, 10, 10]), "1 without area"),
    "NaN": (edit(keypoints=[float("nan")] * 51), "1 with NaN or infinite numbers"),
    "infinite box": (edit(bbox=[0, 0, float("inf"), 5]), "1 with NaN or infinite numbers"),
    "no keypoint labelled": (edit(keypoints=[0] * 51), "1 without keypoints"),
    "image not in the file": (edit(image_id=12345), "1 of images that are not in the file"),
}


@pytest.mark.parametrize("case", SKIPPED)
def test_counted_skips(case, workplace, capsys):
    change, message = SKIPPED[case]
    workplace.spoil(change)
    assert workplace.run("--check", "seed=1") == 0
    printed = capsys.readouterr().out
    assert f"not used: {message}" in printed
    assert (workplace.folder / "run/samples.png").is_file()


def test_keypoints_outside_the_image(workplace):
    workplace.spoil(edit(keypoints=[-500.0, 9000.0, 2] * 17))
    assert workplace.run() == 0


@pytest.mark.slow
def test_broken_image(workplace, capsys, caplog):
    """Named by the check; in training another image takes its place."""
    name = workplace.content["images"][0]["file_name"]
    (workplace.images / name).write_bytes(b"not a photo")
    assert workplace.run("--check") == 1
    assert f"cannot be decoded: {workplace.images / name}" in capsys.readouterr().out
    assert workplace.run("batch_size=200") == 0
    assert f"cannot decode {workplace.images / name}" in caplog.text


def test_diverging(workplace, capsys):
    with torch.no_grad():
        network = create_model("tinypose_128x96")
        network.final_conv.weight.fill_(1e38)
    save_safetensors(network, workplace.folder / "huge.safetensors", describe_changes(network.config))
    assert workplace.run(f"weights={workplace.folder / 'huge.safetensors'}") == 1
    assert "the loss is" in capsys.readouterr().err
