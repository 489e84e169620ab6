"""Every network of the catalogue in every format."""

from itertools import filterfalse

import numpy as np
import pytest
import torch
from conftest import REFERENCE

from tinypose_torch import create_model, list_models
from tinypose_torch.export import ExportOptions, export_model
from tinypose_torch.export.api import example_input
from tinypose_torch.runtime import EagerRunner, load_runner

from .conftest import GENUINE, SUFFIXES

SERVER_SYSTEMS = ("ppyolov2_r50vd_dcn", "fairmot_dla34")
PACKAGES = {"torchscript": (), "executorch": ("executorch",), "onnx": ("onnxscript", "onnxruntime")}


def small(name):
    """The network with a small input, which makes models that differ in nothing else the same."""
    torch.manual_seed(0)
    task = create_model(name).config.task
    return create_model(name, input_size=(64, 64) if task == "pose" else (128, 128))


def is_costly(name):
    """HRNets take minutes; one of each kind is enough, and the narrow HigherHRNet for those with more channels."""
    return name.startswith(("hrnet_w32_384", "dark_hrnet", "hrnet_w32_256x256", "higherhrnet_w32"))


def architecture(name):
    with torch.device("meta"):  # shapes alone
        return tuple((key, tuple(value.shape)) for key, value in create_model(name).state_dict().items())


def distinct_models():
    """One name for each architecture in the catalogue: the others are the same networks at the size taken here.

    Those that `test_genuine_networks.py` exports with genuine weights need no others.
    """
    elsewhere = set(map(architecture, GENUINE)) if REFERENCE.is_dir() else set()
    names = {}
    for name in filterfalse(is_costly, list_models()):
        names.setdefault(architecture(name), name)
    return [name for shapes, name in names.items() if shapes not in elsewhere]


def is_between(name):
    """Whether a network has the operators of one that is lowered: between a smaller and a larger, or only deeper."""
    return name.startswith(("picodet_xs", "picodet_m", "picodet_legacy_m", "lite_hrnet_30"))


def cases():
    """Formats and names; quick are the smallest PicoDets and the smallest Lite-HRNet as TorchScript.

    ExecuTorch and ONNX files take long: of networks that differ in size alone, a small and the largest one.
    """
    names = distinct_models()
    for format_name in PACKAGES:
        for name in names:
            if format_name == "torchscript" or not (
                is_between(name) or (format_name == "executorch" and name in SERVER_SYSTEMS)
            ):
                quick = format_name == "torchscript" and name.startswith(("picodet_s", "lite_hrnet_18"))
                yield pytest.param(format_name, name, marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize(("format_name", "name"), list(cases()))
def test_every_model(format_name, name, tmp_path):
    """Raw: every network of the catalogue is written, runs and agrees; XNNPACK takes all of it, in one piece.

    TorchScript files are made for any number of images. (`test_raw_files_take_any_number_of_crops` has one in ONNX, where
    that takes half as long again to write.)
    """
    for package in PACKAGES[format_name]:
        pytest.importorskip(package)
    network = small(name)
    if name == "fairmot_dla34":  # so that no two of the heatmap's peaks are alike, whose order would be anybody's
        torch.nn.init.normal_(network.heatmap[2].weight)
    path = tmp_path / f"x{SUFFIXES[format_name]}"
    batch = None if format_name == "torchscript" else 1
    made = export_model(network, path, ExportOptions(format_name, images=False, decode=False, batch=batch))
    x = example_input(made.metadata).numpy()
    if batch is None:
        x = np.concatenate([x, x[:1] / 2])  # one more than it was traced with
    expected = EagerRunner(network).run(x)
    # FairMOT's lists end with what is no peak, in any order.
    counts = [(scores > 0).sum() if name == "fairmot_dla34" else None for scores in expected[0]]
    for found, wanted in zip(load_runner(name, path).run(x), expected, strict=True):
        for one, two, count in zip(found, wanted, counts, strict=True):
            assert np.abs(one[:count] - two[:count]).max() <= 1e-4 * max(1, np.abs(two[:count]).max())
    if format_name == "executorch":
        # of bottom-up networks the layout of an output is changed outside
        moved = {"dim_order_ops._to_dim_order_copy.default": 1} if network.config.task == "bottom-up pose" else {}
        assert (made.facts["partitions"], made.facts["outside"]) == (1, moved)


@pytest.mark.parametrize("name", SERVER_SYSTEMS)
def test_server_systems_are_not_for_phones(name, tmp_path):
    for options in (ExportOptions("executorch"), ExportOptions("onnx", precision="fp16")):
        with pytest.raises(ValueError, match=f"{name} is exported as torchscript or onnx, in fp32"):
            export_model(create_model(name), tmp_path / "x.pte", options)
    assert not list(tmp_path.iterdir())
