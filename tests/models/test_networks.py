"""What holds for every network of the catalogue, without reference data."""

import re
import sys

import pytest
import torch

from tinypose_torch import Skeleton, UnknownModelError, create_model, list_models
from tinypose_torch.cli import main
from tinypose_torch.models import LiteHRNet
from tinypose_torch.models.config import TopDownConfig
from tinypose_torch.models.deformable import DeformableConv
from tinypose_torch.models.layers import channel_shuffle, round_channels
from tinypose_torch.models.registry import model_configs
from tinypose_torch.utils.hints import install_hint

WITH_OWN_TESTS = ("higherhrnet", "ppyolov2", "fairmot")


@pytest.mark.parametrize("name", [name for name in list_models() if not name.startswith(WITH_OWN_TESTS)])
def test_shapes_and_batch_independence(name):
    network = create_model(name)
    entry = network.config
    height, width = (128, 96) if isinstance(entry, TopDownConfig) else (192, 192)
    x = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        both = network(x) if isinstance(entry, TopDownConfig) else network.predict(x).boxes
        second = network(x[1:]) if isinstance(entry, TopDownConfig) else network.predict(x[1:]).boxes
    if isinstance(entry, TopDownConfig):
        assert both.shape == (2, len(entry.skeleton), height // 4, width // 4)
    else:
        assert both.shape == (2, 24 * 24 + 12 * 12 + 6 * 6 + 3 * 3, 4)
    assert torch.allclose(both[1:], second, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["ppyolov2_r50vd_dcn", "fairmot_dla34"])
def test_server_systems_take_any_size_and_learn_everywhere(name):
    network = create_model(name)
    x = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        both, second = network.predict(x), network.predict(x[1:])
    assert both.boxes.shape == (
        2,
        {"ppyolov2_r50vd_dcn": 3 * (2 * 3 + 4 * 6 + 8 * 12), "fairmot_dla34": 16 * 24}[name],
        4,
    )
    assert torch.allclose(both.boxes[1:], second.boxes, atol=1e-2, rtol=1e-4)
    outputs = network.train()(x)
    sum(output.square().mean() for output in outputs).backward()
    without = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    training_only = ["appearance_weight", "classifier.bias", "classifier.weight", "detection_weight"]
    assert sorted(without) == ([] if name == "ppyolov2_r50vd_dcn" else training_only)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_deformable_convolution_equals_torchvisions(bias, stride):
    from torchvision.ops import deform_conv2d

    torch.manual_seed(0)
    layer = DeformableConv(6, 4, stride, bias).double()
    torch.nn.init.normal_(layer.offset.weight, std=0.3)
    x = torch.randn(2, 6, 11, 8, dtype=torch.float64, requires_grad=True)
    moved = layer.offset(x)
    expected = deform_conv2d(
        x, moved[:, :18], layer.conv.weight, layer.conv.bias, stride, 1, mask=moved[:, 18:].sigmoid()
    )
    found = layer(x)
    assert torch.allclose(found, expected, atol=1e-12)
    inputs = (x, layer.conv.weight, layer.offset.weight)
    for ours, theirs in zip(
        torch.autograd.grad(found.square().sum(), inputs),
        torch.autograd.grad(expected.square().sum(), inputs),
        strict=True,
    ):
        assert torch.allclose(ours, theirs, atol=1e-9)


def test_deformable_convolution_begins_as_a_plain_one_of_half_weight():
    layer = DeformableConv(3, 2)
    x = torch.randn(1, 3, 9, 7)
    assert torch.allclose(layer(x), 0.5 * layer.conv(x), atol=1e-5)


@pytest.mark.parametrize("variant", ["lite_18", "lite_30", "naive", "wider_naive"])
def test_all_kinds_of_lite_hrnet_train(variant):
    torch.manual_seed(1)
    network = LiteHRNet(variant, num_keypoints=5)
    heatmaps = network(torch.randn(2, 3, 64, 64))
    assert heatmaps.shape == (2, 5, 16, 16)
    heatmaps.square().sum().backward()
    assert [name for name, parameter in network.named_parameters() if not parameter.grad.any()] == []
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_catalogue_entries_are_complete():
    assert len(model_configs()) >= 35
    files = [file.filename for entry in model_configs().values() for file in entry.weights.values()]
    assert len(files) == len(set(files)), "file names on a mirror must be unique"
    for entry in model_configs().values():
        assert all(file.url.startswith("https://") for file in entry.weights.values())
        if entry.weights and entry.name != "fairmot_dla34":  # measured by MOTA, which PaddleDetection does not tell
            assert entry.coco_ap or (isinstance(entry, TopDownConfig) and entry.pckh)


def test_a_model_without_published_weights():
    with pytest.raises(ValueError, match="has no published weights; pass a weight file"):
        create_model("higherhrnet_w16_192", pretrained=True)


def test_hrnet_without_timm(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "timm.models", None)
    with pytest.raises(RuntimeError, match=re.escape(install_hint("hrnet"))):
        create_model("hrnet_w32_256x192")
    assert main(["models", "*hrnet_w32*"]) == 0
    assert "PCKh 90.6" in capsys.readouterr().out


def test_models_by_pattern():
    assert list_models("tinypose*") == ["tinypose_128x96", "tinypose_256x192"]
    assert list_models("nothing*") == []


@pytest.mark.parametrize(
    ("wrong", "near"), [("tinypose_128", "tinypose_128x96"), ("picodet_s_320_pedestrians", "picodet_s_320_pedestrian")]
)
def test_unknown_names_suggest_the_nearest(wrong, near):
    with pytest.raises(UnknownModelError, match=f"unknown model '{wrong}'.*'{near}'"):
        create_model(wrong)


def test_overrides_change_network_and_entry():
    skeleton = Skeleton("hand", ("wrist", "thumb", "index"), links=((0, 1), (0, 2)))
    network = create_model("tinypose_128x96", skeleton=skeleton, input_size=(160, 96))
    assert network.config.skeleton is skeleton
    assert network.config.input_size == (160, 96)
    assert network(torch.zeros(1, 3, 160, 96)).shape == (1, 3, 40, 24)
    detector = create_model("picodet_s_192_pedestrian", class_names=["dog", "person"])
    assert detector.config.person_class == 1
    assert detector.predict(torch.zeros(1, 3, 192, 192)).scores.shape[-1] == 2


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("tinypose_128x96", {"num_classes": 2}, "pose network"),
        ("picodet_s_192_pedestrian", {"num_keypoints": 2}, "detector"),
        ("tinypose_128x96", {"num_keypoints": 0}, "expected 1 to 1000"),
        ("tinypose_128x96", {"input_size": (100, 96)}, "multiples of 32"),
        ("tinypose_128x96", {"num_keypoints": 3, "skeleton": Skeleton.unnamed(4)}, "has 4"),
        ("picodet_s_192_pedestrian", {"num_classes": 3, "class_names": ["a"]}, "1 class names"),
        ("tinypose_128x96", {"pretrained": True, "weights": "x"}, "not both"),
    ],
)
def test_wrong_overrides_are_refused(name, overrides, message):
    with pytest.raises(ValueError, match=message):
        create_model(name, **overrides)


def test_skeletons_check_themselves():
    with pytest.raises(ValueError, match="link"):
        Skeleton("x", ("a", "b"), links=((0, 2),))
    with pytest.raises(ValueError, match="sigmas"):
        Skeleton("x", ("a", "b"), sigmas=(0.1,))


def test_channel_shuffle_interleaves():
    x = torch.arange(6.0).view(1, 6, 1, 1)
    assert channel_shuffle(x).flatten().tolist() == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize(
    ("width", "divisor", "expected"), [(84, 8, 88), (5.6, 8, 8), (12, 8, 16), (96, 16, 96), (44.8, 8, 48)]
)
def test_round_channels(width, divisor, expected):
    assert round_channels(width, divisor) == expected
