"""Models that other packages register: they go through everything that the package's own models go through."""

import ast
import importlib
import sys
import warnings

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch import nn

from tinypose_torch import (
    Detector,
    DetectorConfig,
    TopDownConfig,
    TopDownNetwork,
    create_model,
    list_models,
    register_model,
)
from tinypose_torch.checkpoints.errors import CheckpointError
from tinypose_torch.checkpoints.load import load_weights
from tinypose_torch.geometry.nms import NUMPY_NMS
from tinypose_torch.models import config as model_config
from tinypose_torch.models import registry
from tinypose_torch.models.config import ModelConfig
from tinypose_torch.runtime.formats import export_formats
from tinypose_torch.utils import plugins

NAME = "stride2_64x64"
STRIDE2 = f"""
from torch import Tensor, nn

from tinypose_torch import Skeleton, TopDownConfig, TopDownNetwork, register_model


class Stride2(TopDownNetwork):
    def __init__(self, num_keypoints: int) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.heatmaps = nn.Conv2d(4, num_keypoints, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.heatmaps(self.norm(self.body(x)).relu())

    def head_prefixes(self) -> tuple[str, ...]:
        return ("heatmaps",)


@register_model
def stride2() -> TopDownConfig:
    return TopDownConfig("{NAME}", Stride2, (64, 64), skeleton=Skeleton("spot", ("spot",)), heatmap_stride=2)
"""


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


def test_an_installed_plugin(stride2):
    assert NAME in list_models()
    assert create_model(NAME)(torch.zeros(1, 3, 64, 64)).shape == (1, 1, 32, 32)


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


def asked_for(tree, classes, strings):
    """Classes, and texts that name a task, model or format, that the code compares with."""
    for node in ast.walk(tree):
        inside = []
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass"):
            inside = node.args[1:]
        elif isinstance(node, ast.Compare):
            inside = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            inside = [node.value]
        for part in inside:
            for found in ast.walk(part):
                name = getattr(found, "id", getattr(found, "attr", getattr(found, "value", None)))
                if name in classes:
                    yield node.lineno, name
            for found in getattr(part, "elts", [part]):
                if isinstance(found, ast.Constant) and found.value in strings:
                    yield node.lineno, found.value


def test_nothing_outside_models_asks_what_a_network_is():
    """Code asks the config or the format for what it needs; what differs by task is in tables."""
    configs = registry.model_configs().values()
    classes = CONFIGS | {config.network.__name__ for config in configs}
    classes |= {"Network", "TopDownNetwork", "BottomUpNetwork", "Detector"}
    strings = {config.name for config in configs} | {config.task for config in configs}
    strings |= {found.name for found in export_formats()}
    assert {"HRNet", "TopDownConfig"} <= classes
    assert {"pose", "bottom-up pose", "detection", "tinypose_128x96", "onnx"} <= strings
    for text in (
        "isinstance(x, (A, HRNet))",
        "x is models.HRNet",
        "issubclass(x, Detector)",
        "type(x).__name__ == 'HRNet'",
        "config.task == 'pose'",
        "'detection' in tasks",
        "backends <= {'onnx', 'executorch'}",
        "match x:\n    case 'pose': pass",
    ):
        assert list(asked_for(ast.parse(text), classes, strings)), text
    files = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]
    places = [
        f"{file.relative_to(ROOT)}:{line}: {name}"
        for file in files
        if not file.is_relative_to(ROOT / "tinypose_torch/models")
        for line, name in asked_for(ast.parse(file.read_text(encoding="utf-8")), classes, strings)
        if name in classes or "benchmarks" not in file.parts  # benchmarks are of given models and formats
    ]
    assert len(files) > 150
    assert places == []
