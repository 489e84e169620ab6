"""Every network of the catalogue in every format."""

from itertools import filterfalse

import numpy as np
import pytest
import torch

from tinypose_torch import create_model, list_models
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


def is_costly(name):
    """HRNets take minutes; one of each kind is enough, and the narrow HigherHRNet for those with more channels."""
    return name.startswith(("hrnet_w32_384", "dark_hrnet", "hrnet_w32_256x256", "higherhrnet_w32"))


def distinct_models():
    """One name for each architecture in the catalogue: the others are the same networks at the size taken here."""
    names = {}
    for name in filterfalse(is_costly, list_models()):
        shapes = tuple((key, tuple(value.shape)) for key, value in create_model(name).state_dict().items())
        names.setdefault(shapes, name)
    return list(names.values())


@pytest.mark.parametrize("name", distinct_models())
@pytest.mark.parametrize("format_name", PACKAGES)
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
        # of bottom-up networks the layout of an output is changed outside
        moved = {"dim_order_ops._to_dim_order_copy.default": 1} if network.entry.task == "bottom-up pose" else {}
        assert (made.facts["partitions"], made.facts["outside"]) == (1, moved)
