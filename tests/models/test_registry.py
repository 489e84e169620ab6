"""Models that other packages register: they go through everything that the package's own models go through."""

import ast
import importlib
import json
import sys
import warnings

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT
from torch import nn

from tinypose_torch import (
    Detector,
    DetectorConfig,
    PoseEstimator,
    TopDownConfig,
    TopDownNetwork,
    create_model,
    list_models,
    register_model,
)
from tinypose_torch.checkpoints.errors import CheckpointError
from tinypose_torch.checkpoints.files import describe_changes, save_safetensors
from tinypose_torch.checkpoints.load import load_weights
from tinypose_torch.export import ExportOptions, export_model
from tinypose_torch.geometry.nms import NUMPY_NMS
from tinypose_torch.models import config as model_config
from tinypose_torch.models import registry
from tinypose_torch.models.config import ModelConfig
from tinypose_torch.utils import plugins

NAME = "stride2_64x64"
# Heatmaps of half the input's size that are as high as the image is bright.
STRIDE2 = f"""
from torch import Tensor, nn

from tinypose_torch import Skeleton, TopDownConfig, TopDownNetwork, register_model


class Stride2(TopDownNetwork):
    def __init__(self, num_keypoints: int) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.heatmaps = nn.Conv2d(4, num_keypoints, 1)
        for convolution in (self.body, self.heatmaps):
            nn.init.constant_(convolution.weight, 0.02)
        nn.init.zeros_(self.heatmaps.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.heatmaps(self.norm(self.body(x)).relu())

    def head_prefixes(self) -> tuple[str, ...]:
        return ("heatmaps",)


@register_model
def stride2() -> TopDownConfig:
    return TopDownConfig("{NAME}", Stride2, (64, 64), skeleton=Skeleton("spot", ("spot",)), heatmap_stride=2)
"""
SPOT = (41.3, 22.6)  # x, y


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_CONFIGS", dict(registry.model_configs()))


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a package of one module whose entry point names it."""

    def install(package, source):
        (tmp_path / f"{package}.py").write_text(source)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{plugins.ENTRY_POINTS}]\nnetworks = {package}\n")
        monkeypatch.delitem(sys.modules, package, raising=False)
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()
        monkeypatch.setattr(plugins, "_loaded", False)

    yield install
    for package in ("stride2_plugin", "broken_plugin"):
        sys.modules.pop(package, None)


@pytest.fixture
def stride2(install):
    install("stride2_plugin", STRIDE2)


def bright_spot(size=(64, 64)):
    y, x = np.mgrid[: size[0], : size[1]]
    spot = 255 * np.exp(-((x - SPOT[0]) ** 2 + (y - SPOT[1]) ** 2) / 50)
    return np.repeat(spot[..., None].astype(np.uint8), 3, axis=2)


def test_predicts_from_weights_and_exported_files(stride2, tmp_path):
    assert NAME in list_models()
    network = create_model(NAME)
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 1, 32, 32)
    weights = tmp_path / "w.safetensors"
    save_safetensors(network, weights, describe_changes(network.config))
    files = [weights]
    for decode in (True, False):
        files.append(tmp_path / f"{decode}.torchscript")
        export_model(network, files[-1], ExportOptions("torchscript", decode=decode))
    found = [PoseEstimator(None, pose_weights=file)(bright_spot()).keypoints[0, 0] for file in files]
    assert np.abs(found[0] - SPOT).max() < 1.5
    assert np.abs(np.array(found) - found[0]).max() < 1e-3
    # its own names need no rules, PaddleDetection's do
    torch.save(network.state_dict(), tmp_path / "w.pt")
    assert create_model(NAME, weights=tmp_path / "w.pt").config == network.config


def test_trains(stride2, tmp_path, monkeypatch):
    pytest.importorskip("lightning")
    from train.__main__ import main

    monkeypatch.setattr("train.report.draw_pictures", lambda run: None)
    cv2.imwrite(str(tmp_path / "a.png"), bright_spot())
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [8, 8, 48, 48], "area": 2304, "iscrowd": 0}
    annotation |= {"keypoints": [*SPOT, 2], "num_keypoints": 1}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 64}],
        "annotations": [annotation],
        "categories": [{"id": 1, "name": "person", "keypoints": ["spot"], "skeleton": []}],
    }
    (tmp_path / "train.json").write_text(json.dumps(content))
    options = [f"data.train={tmp_path / 'train.json'}", f"data.images={tmp_path}", f"output={tmp_path / 'run'}"]
    options += ["data.workers=0", "accelerator=cpu", "batch_size=1", "ema=null", "max_steps=1", "data.sigmas=[0.05]"]
    assert main(["demo_pose", f"model={NAME}", *options]) == 0
    trained, fresh = create_model(None, weights=tmp_path / "run/weights.safetensors"), create_model(NAME)
    assert trained.config.heatmap_stride == 2
    assert not torch.equal(trained.body.weight, fresh.body.weight)


def test_a_broken_plugin_is_named_once(install, stride2):
    install("broken_plugin", "raise ImportError('no module named gone')")
    with pytest.warns(
        UserWarning, match=r"plug-in of broken_plugin \(networks = broken_plugin\).*ImportError: no module"
    ) as caught:
        assert NAME in list_models()
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "tinypose_128x96" in list_models()


class Unfinished(TopDownNetwork):
    pass


class Finished(TopDownNetwork):
    def forward(self, x):
        return x

    def head_prefixes(self):
        return ("head",)


class WithoutLoss(Detector):
    def forward(self, x):
        return x

    def head_prefixes(self):
        return ("head",)

    def decode(self, outputs):
        return outputs


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (
            lambda: TopDownConfig("tinypose_128x96", Finished, (64, 64)),
            ValueError,
            "'tinypose_128x96' is already registered",
        ),
        (lambda: [TopDownConfig("twice", Finished, (64, 64))] * 2, ValueError, "'twice' is already registered"),
        (lambda: TopDownConfig("a/b", Finished, (64, 64)), ValueError, "model name 'a/b'; expected letters"),
        (
            lambda: TopDownConfig("x", Unfinished, (64, 64)),
            TypeError,
            "x: Unfinished must implement forward, head_prefixes",
        ),
        (lambda: TopDownConfig("x", nn.Conv2d, (64, 64)), TypeError, "Conv2d must subclass .*TopDownNetwork"),
        (lambda: DetectorConfig("x", Finished, (64, 64)), TypeError, "x: Finished must subclass .*Detector"),
        (
            lambda: DetectorConfig("x", WithoutLoss, (64, 64), nms=NUMPY_NMS),
            ValueError,
            "strides must be given",
        ),
        (lambda: Finished, TypeError, "returns ABCMeta; expected a TopDownConfig"),
        (lambda: ModelConfig("x", Finished, (64, 64)), TypeError, "returns ModelConfig; expected a TopDownConfig"),
        (lambda: [Finished], TypeError, "returns .*; expected a TopDownConfig"),
    ],
)
def test_what_cannot_be_used_is_not_registered(build, error, message):
    before = list_models()
    with pytest.raises(error, match=message):
        register_model(build)
    assert list_models() == before


def test_a_network_without_paddle_names_or_loss(filler_free_checkpoint, monkeypatch):
    register_model(lambda: TopDownConfig("finished", Linear, (64, 64)))
    with pytest.raises(CheckpointError, match="under PaddleDetection's names, which Linear does not declare"):
        load_weights(create_model("finished"), filler_free_checkpoint)
    with pytest.raises(NotImplementedError, match="WithoutLoss must implement loss"):
        WithoutLoss().loss((), None, (64, 64), use_atss=False, atss_topk=9)


class Linear(Finished):
    def __init__(self, num_keypoints):
        super().__init__()
        self.head = nn.Conv2d(3, num_keypoints, 1)


@pytest.fixture
def filler_free_checkpoint(tmp_path):
    """A ``.pdparams`` file."""
    import pickle

    path = tmp_path / "x.pdparams"
    path.write_bytes(pickle.dumps({"head.weight": np.zeros((17, 3, 1, 1), np.float32)}, protocol=2))
    return path


FOLDERS = ("tinypose_torch", "train", "convert", "benchmarks")
CONFIGS = {
    name for name in vars(model_config) if name.endswith("Config") and "NMS" not in name and name != "GroupingConfig"
}


def asked_classes(tree, names):
    """Names of classes that the code compares with: in isinstance, issubclass, ``is`` and ``==``."""
    for node in ast.walk(tree):
        inside = []
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass"):
            inside = node.args[1:]
        elif isinstance(node, ast.Compare):
            inside = node.comparators
        for part in inside:
            for found in ast.walk(part):
                name = getattr(found, "id", getattr(found, "attr", getattr(found, "value", None)))
                if name in names:
                    yield node.lineno, name


def test_nothing_outside_models_asks_for_a_class():
    names = CONFIGS | {config.network.__name__ for config in registry.model_configs().values()}
    names |= {"Network", "TopDownNetwork", "BottomUpNetwork", "Detector"}
    assert {"HRNet", "TopDownConfig"} <= names
    for text in (
        "isinstance(x, (A, HRNet))",
        "x is models.HRNet",
        "issubclass(x, Detector)",
        "type(x).__name__ == 'HRNet'",
    ):
        assert list(asked_classes(ast.parse(text), names)), text
    files = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]
    places = [
        f"{file.relative_to(ROOT)}:{line}: {name}"
        for file in files
        if not file.is_relative_to(ROOT / "tinypose_torch/models")
        for line, name in asked_classes(ast.parse(file.read_text(encoding="utf-8")), names)
    ]
    assert len(files) > 150
    assert places == []
