"""The examples of docs/extending.md, each a file outside the package that the commands know by TINYPOSE_PLUGINS."""

import ast
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT

from tinypose_torch import ExportOptions, PoseEstimator, Skeleton, create_model, list_models
from tinypose_torch.checkpoints.files import describe_changes, save_safetensors
from tinypose_torch.cli import main as tinypose
from tinypose_torch.data.formats import registry as annotation_formats
from tinypose_torch.models import registry
from tinypose_torch.runtime import formats as export_formats
from tinypose_torch.runtime import load_runner
from tinypose_torch.utils import plugins
from tinypose_torch.utils.plugins import PluginError

PAGE = (ROOT / "docs/extending.md").read_text()
BLOCKS = [block.partition("\n```")[0] for block in PAGE.split("```python\n")[1:]]
EXAMPLES = {ast.get_docstring(ast.parse(block)).partition(":")[0]: block for block in BLOCKS}
POSE, DETECTOR = "stride2_pose_64x64", "tiny_fcos_128"
SPOT = (41.3, 22.6)  # x, y
BOX = (20, 10, 40, 30)  # x, y, width, height


def test_every_kind_of_extension_has_an_example():
    assert list(EXAMPLES) == ["stride2_pose.py", "tiny_fcos.py", "csv_poses.py", "pt2.py", "salt.py"]


@pytest.fixture
def plug_in(tmp_path, monkeypatch):
    """Write files into the working folder, and name them in TINYPOSE_PLUGINS; what they register is gone after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_CONFIGS", dict(registry.model_configs()))
    for formats in (annotation_formats._FORMATS, export_formats._FORMATS):
        monkeypatch.setattr(formats, "_entries", dict(formats._entries))
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = set(sys.modules)

    def plug_in(**files):
        for name, source in files.items():
            (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.setenv(plugins.VARIABLE, os.pathsep.join(f"{name}.py" for name in files))
        monkeypatch.setattr(plugins, "_loaded", False)
        monkeypatch.setattr(plugins, "_failure", None)

    yield plug_in
    for name in set(sys.modules) - known:
        if (tmp_path / f"{name}.py").is_file():
            del sys.modules[name]


@pytest.fixture
def example(plug_in):
    return lambda *names: plug_in(**{name: EXAMPLES[f"{name}.py"] for name in names})


@pytest.fixture
def spot(tmp_path):
    """An image with a bright spot, annotated as a person's only keypoint: as COCO in spot.json, as a table in spot.csv."""
    y, x = np.mgrid[:64, :96]
    bright = 255 * np.exp(-((x - SPOT[0]) ** 2 + (y - SPOT[1]) ** 2) / 50)
    image = np.repeat(bright[..., None].astype(np.uint8), 3, axis=2)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    person = {"id": 1, "image_id": 1, "category_id": 1, "bbox": list(BOX), "area": BOX[2] * BOX[3], "iscrowd": 0}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 96, "height": 64}],
        "annotations": [person | {"keypoints": [*SPOT, 2], "num_keypoints": 1}],
        "categories": [{"id": 1, "name": "person", "keypoints": ["spot"]}],
    }
    (tmp_path / "spot.json").write_text(json.dumps(content))
    corners = (BOX[0], BOX[1], BOX[0] + BOX[2], BOX[1] + BOX[3])
    row = ",".join(map(str, ["a.png", *corners, *SPOT, 2]))
    (tmp_path / "spot.csv").write_text(f"image,x1,y1,x2,y2,spot_x,spot_y,spot_v\n{row}\n")
    return image


def train(recipe, model, annotations="spot.json", *options):
    pytest.importorskip("lightning")
    from train.__main__ import main

    options = [f"data.train={annotations}", f"data.val={annotations}", "data.images=.", "output=run", *options]
    options += ["data.workers=0", "accelerator=cpu", "batch_size=1", "ema=null", "max_steps=1", "data.sigmas=[0.05]"]
    return main([recipe, f"model={model}", *options])


@pytest.fixture
def bright_weights(tmp_path):
    """Weights with which the heatmaps are as high as the image is bright."""

    def save():
        network = create_model(POSE, skeleton=Skeleton("spot", ("spot",)))
        with torch.no_grad():
            for parameter in (network.body[0].weight, network.body[3].weight, network.heatmaps.weight):
                parameter.fill_(0.02)
            network.heatmaps.bias.zero_()
        save_safetensors(network, tmp_path / "w.safetensors", describe_changes(network.config))
        return "w.safetensors"

    return save


def evaluated(weights, annotations="spot.json"):
    options = ["--annotations", annotations, "--images", ".", "--json", "figures.json", "--overwrite"]
    assert tinypose(["evaluate", "--weights", weights, "--sigmas", "0.05", *options]) == 0
    return json.loads(Path("figures.json").read_text())["AP"]


def test_pose_network(example, spot, bright_weights, monkeypatch):
    """Of heatmaps with stride 2: its weights and exported files find the spot, and it can be trained."""
    example("stride2_pose")
    assert POSE in list_models()
    weights = bright_weights()
    assert evaluated(weights) > 0.89
    assert tinypose(["export", "--weights", weights, "--format", "torchscript", "--output", "x.torchscript"]) == 0
    assert evaluated("x.torchscript") > 0.89
    for file in (weights, "x.torchscript"):
        options = ["--detector", "none", "--pose-weights", file, "--backend", "auto", "--json", "p.json"]
        assert tinypose(["predict", "a.png", *options]) == 0
        (person,) = json.loads(Path("p.json").read_text())[0]["poses"]
        assert np.abs(np.array(person["keypoints"])[0, :2] - SPOT).max() < 3
    monkeypatch.setattr("train.report.draw_pictures", lambda *_: None)
    assert train("demo_pose", POSE) == 0
    trained = create_model(None, weights="run/weights.safetensors")
    assert trained.config.heatmap_stride == 2
    assert trained.config.head_names == ("spot",)


def test_detector(example, spot, monkeypatch):
    """With its own decoding and loss."""
    example("tiny_fcos")
    torch.manual_seed(0)
    network = create_model(DETECTOR).train()
    network.init_head()
    targets = sys.modules["tiny_fcos"].Targets(
        torch.tensor([[[24.0, 30, 90, 100], [0, 0, 0, 0]]]),
        torch.zeros(1, 2, dtype=torch.long),
        torch.tensor([[1, 0]]) > 0,
    )
    x, optimizer = torch.randn(1, 3, 128, 128), torch.optim.Adam(network.parameters(), 0.01)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        losses.append(network.loss(network(x), targets, (128, 128), use_atss=False, atss_topk=9)["loss"])
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]
    monkeypatch.setattr("train.report.draw_pictures", lambda *_: None)
    assert train("demo_detector", DETECTOR) == 0
    weights = "run/weights.safetensors"
    assert tinypose(["export", "--weights", weights, "--format", "torchscript", "--output", "x.torchscript"]) == 0
    scores, boxes = load_runner(weights="x.torchscript")(np.zeros((1, 128, 128, 3), np.uint8))
    assert scores.shape == (1, 256, 1)
    assert boxes.shape == (1, 256, 4)
    for file in (weights, "x.torchscript"):
        options = ["--annotations", "spot.json", "--images", ".", "--overwrite", "--json", "figures.json"]
        assert tinypose(["evaluate", "--detector", DETECTOR, "--weights", file, *options]) == 0


def test_annotation_format(example, spot, bright_weights, capsys):
    """Samples, evaluation and --check as of the same annotations in COCO's format."""
    example("csv_poses", "stride2_pose")
    weights = bright_weights()
    assert evaluated(weights, "spot.csv") == evaluated(weights)
    assert train("demo_pose", POSE, "spot.csv", "--check") == 0
    assert "training: 1 people in 1 images" in capsys.readouterr().out


def test_augmentation(example, spot, capsys):
    """A transform of a file, by its name in a recipe."""
    example("salt", "stride2_pose")
    recipe = "augmentation.transforms=[{name: salt.Salt, share: 0.5, p: 1}]"
    assert train("demo_pose", POSE, "spot.json", recipe, "--check") == 0
    assert train("demo_pose", POSE, "spot.json", recipe.replace("salt.Salt", "salt.Pepper"), "--check") == 2
    assert "no transform 'Pepper' in salt" in capsys.readouterr().err


def test_export_format(example, spot, bright_weights):
    """Written by the command, recognised by its suffix, run by the estimators; its runner can be pickled."""
    example("pt2", "stride2_pose")
    weights = bright_weights()
    assert tinypose(["export", "--weights", weights, "--format", "pt2"]) == 0
    file = f"{POSE}.pt2"
    facts = json.loads(Path(f"{file}.receipt.json").read_text())["networks"][0]
    assert facts["differences"]["keypoint, input pixels"] < 1e-3
    assert facts["made"]["operations"] > 5
    assert evaluated(file) > 0.89
    estimators = [PoseEstimator(None, pose_weights=name) for name in (weights, file)]
    estimators.append(pickle.loads(pickle.dumps(estimators[1])))
    assert estimators[2].pose_runner.backend == "pt2"
    found = [estimator(spot).keypoints for estimator in estimators]
    assert np.abs(np.array(found) - found[0]).max() < 1e-3
    with pytest.raises(ValueError, match="format pt2 needs a fixed batch: the program is made for one size"):
        ExportOptions("pt2", batch=None)
    with pytest.raises(ValueError, match="int8 is made for executorch, not for pt2"):
        ExportOptions("pt2", precision="int8")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"gone": None}, "TINYPOSE_PLUGINS: no Python file 'gone.py'"),
        ({"mine": "x = 1\n\nundefined()"}, r"TINYPOSE_PLUGINS: mine.py, line 3: NameError: name 'undefined'"),
        ({"mine": "import gone_package"}, "mine.py, line 1: ModuleNotFoundError: No module named 'gone_package'"),
        ({"mine": "x = 1\nx = = 2"}, "mine.py, line 2: SyntaxError"),
        ({"json": "x = 1"}, "json.py: another module is called 'json'; rename the file"),
        ({"my.file": "x = 1"}, "my.file.py: another module is called 'my.file'; rename the file"),
    ],
)
def test_files_that_cannot_be_imported(files, message, plug_in, tmp_path, capsys):
    """One line, every time; nothing of an earlier attempt hides it."""
    plug_in(**{name: source or "" for name, source in files.items()})
    for name, source in files.items():
        if source is None:
            (tmp_path / f"{name}.py").unlink()
    for _ in range(2):
        with pytest.raises(PluginError, match=message):
            list_models()
    assert tinypose(["models"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def run(*command, **variables):
    environment = {**os.environ, **variables}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_commands_of_other_processes(example, spot, bright_weights):
    """What a shell starts, and the processes that time networks there."""
    example("stride2_pose", "pt2")
    weights = bright_weights()
    variables = {"PYTHONPATH": str(ROOT), plugins.VARIABLE: os.environ[plugins.VARIABLE]}
    assert POSE in run("-m", "tinypose_torch.cli", "models", "stride2*", **variables)
    output = run("-m", "convert", weights, "--output", "converted.safetensors", **variables)
    assert "converted.safetensors" in output
    options = ["--weights", weights, "--backend", "eager", "pt2", "--rounds", "2", "--threads", "1", "--json", "t.json"]
    run("-m", "tinypose_torch.cli", "benchmark", POSE, *options, **variables)
    assert {row["backend"] for row in json.loads(Path("t.json").read_text())} == {"eager", "pt2"}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "format_name"), [(POSE, "onnx"), (DETECTOR, "executorch")])
def test_exports_of_the_networks(name, format_name, example, spot):
    pytest.importorskip("executorch" if format_name == "executorch" else "onnxscript")
    example("stride2_pose", "tiny_fcos")
    torch.manual_seed(0)
    network = create_model(name)
    save_safetensors(network, "w.safetensors", describe_changes(network.config))
    assert tinypose(["export", "--weights", "w.safetensors", "--format", format_name, "--output", "x"]) == 0
    facts = json.loads(Path("x.receipt.json").read_text())["networks"][0]["differences"]
    assert all(value < 1e-2 for key, value in facts.items() if key != "keypoints compared"), facts


# Where an example goes inside the package, the file that then imports it if one must, and the most files that may change.
INSIDE = {
    "stride2_pose": ("models", "__init__", 3),
    "tiny_fcos": ("models", "__init__", 4),
    "csv_poses": ("data.formats", "registry", 2),
    "pt2": ("runtime", "formats", 2),
    "salt": ("data.pose", None, 1),
}
USE = f"""
import albumentations
import numpy
from tinypose_torch import create_model
from tinypose_torch.data.pose.salt import Salt
from tinypose_torch.data.formats.registry import read_annotations
from tinypose_torch.export import ExportOptions, export_model
from tinypose_torch.runtime import load_runner
assert create_model("{DETECTOR}").config.head_names == ("person",)
assert read_annotations("spot.csv", ".")["images"][0]["width"] == 96
assert albumentations.Compose([Salt(1.0, p=1)])(image=numpy.zeros((4, 4, 3), "uint8"))["image"].min() == 255
network = create_model("{POSE}")
export_model(network, "x.pt2", ExportOptions("pt2"))
print(load_runner(weights="x.pt2").metadata.config.name)
"""


@pytest.mark.slow
def test_files_that_each_needs_inside(tmp_path, spot, monkeypatch):
    """In a copy of the package, the examples become parts of it; the files that this changes are counted."""
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "tinypose_torch"
    shutil.copytree(ROOT / "tinypose_torch", package, ignore=shutil.ignore_patterns("__pycache__"))
    before = contents(package)
    for name, (folder, importing, most) in INSIDE.items():
        (package / folder.replace(".", "/") / f"{name}.py").write_text(EXAMPLES[f"{name}.py"])
        if importing is not None:
            with (package / folder.replace(".", "/") / f"{importing}.py").open("a") as file:
                file.write(f"import tinypose_torch.{folder}.{name}\n")
        after = contents(package)
        changed = [path for path in after if before.get(path) != after[path]]
        assert len(changed) == min(2, most), changed
        before = after
    assert run("-c", USE, PYTHONPATH=str(tmp_path)).strip() == POSE


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*.py")}
