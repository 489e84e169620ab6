"""Every network of the catalogue in every format."""

import numpy as np
import pytest
import torch

from tinypose_torch import create_model, list_models
from tinypose_torch.checkpoints.catalogue import get_entry
from tinypose_torch.export import ExportOptions, export_model
from tinypose_torch.export.api import example_input
from tinypose_torch.runtime import EagerRunner, load_runner

from .conftest import SUFFIXES

PACKAGES = {"torchscript": (), "executorch": ("executorch",), "onnx": ("onnxscript", "onnxruntime")}


def small(name):
    """The network with a small input, which makes models that differ in nothing else the same."""
    torch.manual_seed(0)
    task = create_model(name).entry.task
    return create_model(name, input_size=(64, 64) if task == "pose" else (128, 128))


def exportable_models():
    return [name for name in list_models() if get_entry(name).task != "bottom-up pose"]


def distinct_models():
    """One name for each architecture in the catalogue."""
    names = {}
    for name in exportable_models():
        shapes = tuple((key, tuple(value.shape)) for key, value in create_model(name).state_dict().items())
        names.setdefault(shapes, name)
    return list(names.values())


@pytest.mark.parametrize(
    ("format_name", "name"),
    [("torchscript", name) for name in exportable_models()]
    + [(format_name, name) for format_name in ("executorch", "onnx") for name in distinct_models()],
)
def test_every_model(format_name, name, tmp_path):
    """Raw: every network of the catalogue is written, runs and agrees; XNNPACK takes all of it, in one piece."""
    for package in PACKAGES[format_name]:
        pytest.importorskip(package)
    network = small(name)
    path = tmp_path / f"x{SUFFIXES[format_name]}"
    made = export_model(network, path, ExportOptions(format_name, images=False, decode=False))
    x = example_input(made.metadata)
    outputs = load_runner(name, path).run(x.numpy())
    for found, expected in zip(outputs, EagerRunner(network).run(x.numpy()), strict=True):
        assert np.abs(found - expected).max() <= 1e-4 * max(1, np.abs(expected).max())
    if format_name == "executorch":
        assert made.facts == {"partitions": 1, "delegated share": 1.0, "outside": {}}


def test_bottom_up_networks_are_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be exported yet"):
        export_model(create_model("higherhrnet_w32_512"), tmp_path / "x.onnx", ExportOptions("onnx"))
    assert not list(tmp_path.iterdir())
