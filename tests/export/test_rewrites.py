"""Every rewrite leaves the network's answers as they are."""

import copy

import numpy as np
import pytest
import torch
from recordings import Recording
from torch import nn

from tinypose_torch import create_model
from tinypose_torch.codecs.heatmap import decode_heatmaps
from tinypose_torch.export.graphs import DarkDecoding, ImageInput
from tinypose_torch.export.rewrites import (
    BroadcastUpsample,
    TapByTap,
    broadcast_upsampling,
    clamped_hardsigmoid,
    fold_batch_norms,
    rewrite,
    split_narrow_convolutions,
)
from tinypose_torch.geometry.normalize import normalize
from tinypose_torch.models.lite_hrnet.export import broadcast_weighting, hierarchical_fusion
from tinypose_torch.models.picodet import decode_levels
from tinypose_torch.models.picodet.export import BoxDecoding

NETWORKS = ["tinypose_128x96", "lite_hrnet_18_256x192", "picodet_s_192_pedestrian", "picodet_s_192_lcnet_pedestrian"]


def with_statistics(name):
    """A network whose batch norms are not the identity, and an input of the configured size or smaller."""
    torch.manual_seed(0)
    network = create_model(name)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
    return network, torch.randn(1, 3, 128, 96) if network.config.task == "pose" else torch.randn(1, 3, 192, 192)


def outputs(network, x):
    with torch.inference_mode():
        return network(x) if network.config.task == "pose" else torch.cat([t.flatten() for t in network.predict(x)])


@pytest.mark.parametrize("name", NETWORKS)
def test_folding_batch_norms(name):
    network, x = with_statistics(name)
    folded = fold_batch_norms(copy.deepcopy(network))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    before, after = outputs(network, x), outputs(folded, x)
    assert (after - before).abs().max() <= 1e-5 * before.abs().max()


@pytest.mark.parametrize("name", NETWORKS)
def test_broadcast_upsampling(name):
    network, x = with_statistics(name)
    rewritten = broadcast_upsampling(copy.deepcopy(network))
    assert not any(isinstance(module, nn.Upsample) for module in rewritten.modules())
    assert any(isinstance(module, BroadcastUpsample) for module in rewritten.modules())
    assert torch.equal(outputs(rewritten, x), outputs(network, x))


@pytest.mark.parametrize("name", ["tinypose_128x96", "lite_hrnet_18_256x192"])
def test_hierarchical_fusion(name):
    network, x = with_statistics(name)
    before, after = outputs(network, x), outputs(hierarchical_fusion(copy.deepcopy(network)), x)
    assert (after - before).abs().max() <= 1e-5 * before.abs().max()


@pytest.mark.parametrize("name", ["picodet_s_192_pedestrian", "picodet_s_192_lcnet_pedestrian"])
def test_clamped_hardsigmoid(name):
    network, x = with_statistics(name)
    rewritten = clamped_hardsigmoid(copy.deepcopy(network))
    assert not any(isinstance(module, nn.Hardsigmoid) for module in rewritten.modules())
    assert torch.allclose(outputs(rewritten, x), outputs(network, x), rtol=1e-4, atol=1e-4)


def test_broadcast_weighting():
    network, x = with_statistics("lite_hrnet_18_256x192")
    before, after = outputs(network, x), outputs(broadcast_weighting(copy.deepcopy(network)), x)
    assert (after - before).abs().max() <= 1e-5 * before.abs().max()


@pytest.mark.parametrize("name", ["picodet_s_192_lcnet_pedestrian", "picodet_xs_416_coco_lcnet"])
def test_narrow_convolutions(name):
    network, _ = with_statistics(name)
    x = torch.randn(1, 3, 192, 192)
    rewritten = split_narrow_convolutions(copy.deepcopy(network))
    assert any(isinstance(module, TapByTap) for module in rewritten.modules())
    before, after = outputs(network, x), outputs(rewritten, x)
    assert (after - before).abs().max() <= 1e-5 * before.abs().max()


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (5, 2, 2), ((1, 3), 1, (0, 1)), (3, 2, 0)])
def test_tap_by_tap(kernel, stride, padding):
    convolution = nn.Conv2d(7, 1, kernel, stride, padding)
    x = torch.randn(2, 7, 11, 9)
    with torch.inference_mode():
        assert torch.allclose(TapByTap(convolution)(x), convolution(x), atol=1e-6)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_broadcast_is_nearest(factor):
    x = torch.randn(2, 3, 5, 7)
    assert torch.equal(BroadcastUpsample(factor)(x), nn.Upsample(scale_factor=factor, mode="nearest")(x))


def test_the_network_itself_is_not_touched():
    network, x = with_statistics("tinypose_128x96")
    before = outputs(network, x)
    rewrite(network, "executorch")
    assert torch.equal(outputs(network, x), before)
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_image_input_is_the_pipelines_normalisation():
    entry = create_model("tinypose_128x96").config
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    found = ImageInput(entry)(torch.from_numpy(images)).numpy()
    assert np.abs(found - normalize(images, entry.mean, entry.std)).max() < 1e-6


@pytest.mark.parametrize(
    "name", ["picodet_s_192_pedestrian", "picodet_s_320_lcnet_pedestrian", "picodet_xs_416_coco_lcnet"]
)
def test_box_decoding_in_the_graph(name):
    network, _ = with_statistics(name)
    with torch.inference_mode():
        levels = network(torch.randn(2, 3, *network.config.input_size))
        found, expected = BoxDecoding(network.config.input_size)(levels), decode_levels(levels)
    assert torch.allclose(found[0], expected.scores, atol=1e-6)
    assert torch.allclose(found[1], expected.boxes, atol=1e-3)


@pytest.mark.parametrize("size", [(32, 24), (64, 48)])
def test_dark_in_the_graph_on_the_recorded_cases(size):
    """In float32 throughout, where PaddleDetection blurs in float64: a hundredth of a cell on well-conditioned joints."""
    recorded = Recording("postprocess/dark_decode.npz")
    key = f"{size[0]}x{size[1]}"
    heatmaps = recorded[f"{key}.heatmaps"]
    found = DarkDecoding(size)(torch.from_numpy(heatmaps)).numpy()
    coordinates, scores = decode_heatmaps(heatmaps)
    good = recorded[f"{key}.dark.well_conditioned"]
    assert np.abs(found[..., :2] / 4 - coordinates)[good].max() < 1e-2
    assert np.median(np.abs(found[..., :2] / 4 - coordinates)[good]) < 1e-5
    assert np.array_equal(found[..., 2], scores)
