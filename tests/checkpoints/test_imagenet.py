"""timm's ImageNet backbones in this project's networks."""

import functools
import re
import sys

import pytest
import torch
from torch import nn

pytest.importorskip("timm")

import timm

from tinypose_torch import create_model
from tinypose_torch.checkpoints.download import DownloadError
from tinypose_torch.checkpoints.errors import MismatchedCheckpointError
from tinypose_torch.checkpoints.imagenet import imagenet_backbone, load_imagenet_backbone, load_timm_backbone
from tinypose_torch.utils.hints import install_hint


@functools.cache
def untrained(name):
    """timm's model with batch statistics that are not all alike."""
    torch.manual_seed(1)
    model = timm.create_model(name, pretrained=False).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.1, 0.1),
                (module.running_var, 0.5, 2),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.1, 0.1),
            ):
                tensor.uniform_(low, high)
    return model


def timm_features(model, x):
    """What timm's model computes before its classifier, at the strides of our backbones."""
    if hasattr(model, "stages"):  # HRNet
        for layer in (model.conv1, model.bn1, model.act1, model.conv2, model.bn2, model.act2):
            x = layer(x)
        return model.stages(x)[:1]
    return model.forward_intermediates(x, indices=(2, 3, 4), intermediates_only=True)


@pytest.mark.parametrize(
    ("model", "theirs"),
    [
        ("hrnet_w32_256x192", "hrnet_w32"),
        ("higherhrnet_w32_512", "hrnet_w32"),
        ("ppyolov2_r50vd_dcn", "resnet50d"),
        ("picodet_s_320_lcnet_pedestrian", "lcnet_075"),
        ("picodet_s_416_coco_lcnet", "lcnet_075"),
    ],
)
@torch.inference_mode()
def test_backbones_give_the_same(model, theirs):
    network, source = create_model(model), untrained(theirs)
    assert imagenet_backbone(network).model == theirs
    before = {name: value.clone() for name, value in network.state_dict().items()}
    load_timm_backbone(network, source.state_dict())
    for name, value in network.state_dict().items():
        if not name.startswith("backbone."):
            assert torch.equal(value, before[name]), name
    if theirs == "resnet50d":
        for block in network.backbone.stages[3]:
            block.conv2.offset.bias[18:] = 40  # every point counts fully, as in a plain convolution
    x = torch.randn(1, 3, 64, 96)
    own = network.backbone(x)
    own = own if isinstance(own, list) else [own]
    expected = timm_features(source, x)
    assert len(own) == len(expected)
    for one, other in zip(own, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() < 1e-5 * other.abs().max()


def test_all_or_nothing():
    network, state = create_model("picodet_s_320_lcnet_pedestrian"), untrained("lcnet_050").state_dict()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(MismatchedCheckpointError, match="timm's lcnet_075: .* of another shape"):
        load_timm_backbone(network, state)
    state = untrained("lcnet_075").state_dict()
    del state["conv_stem.weight"]
    with pytest.raises(MismatchedCheckpointError, match=r"1 missing: backbone\.conv1\.conv\.weight"):
        load_timm_backbone(network, {**state})
    with pytest.raises(MismatchedCheckpointError, match=r"left over: backbone\.blocks\.6\.bias"):
        load_timm_backbone(network, {**untrained("lcnet_075").state_dict(), "blocks.6.bias": torch.zeros(1)})
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("model", ["tinypose_128x96", "picodet_m_416_coco_lcnet", "picodet_s_320_pedestrian"])
def test_backbones_that_timm_lacks(model):
    with pytest.raises(ValueError, match=f"no ImageNet weights for the backbone of {model}, only for HRNet-w32"):
        load_imagenet_backbone(create_model(model))


def test_without_a_connection_or_timm(monkeypatch):
    network = create_model("picodet_s_320_lcnet_pedestrian")

    def fail(name, pretrained):
        assert (name, pretrained) == ("lcnet_075", True)
        raise FileNotFoundError("Please check your connection.\nRetrying.")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(DownloadError, match=r"cannot download timm's lcnet_075: Please check your connection\. Pass"):
        load_imagenet_backbone(network)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(RuntimeError, match="weights=imagenet: .*" + re.escape(install_hint("hrnet"))):
        load_imagenet_backbone(network)
