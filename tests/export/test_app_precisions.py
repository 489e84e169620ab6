"""Precisions of apps: their networks in float16 and int8, within the program that runs them."""

import numpy as np
import pytest
import torch
from conftest import DEMO_WEIGHTS
from torch import nn

from tinypose_torch import export_app
from tinypose_torch.estimators.app import letterbox
from tinypose_torch.export.quantise import exported_program, measure_layers, quantised
from tinypose_torch.runtime.app import open_app
from train.synthetic.scenes import render_scene

from .app_helpers import estimator, networks


class TinyGraph(nn.Module):
    """Two convolutions, as what is quantised of a graph."""

    def __init__(self):
        super().__init__()
        self.input = nn.Identity()
        self.network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1))

    def forward(self, x):
        return self.network(self.input(x))


def test_int8_networks_are_parts_of_programs():
    """What PT2E makes refuses to be asked for a mode; inside a program it is asked, and traced."""
    pytest.importorskip("torchao")
    torch.manual_seed(0)
    graph = TinyGraph().eval().requires_grad_(False)
    images = torch.randn(4, 3, 12, 12)
    assert len(measure_layers(graph, exported_program(graph, images[:1]), images.numpy())) == 2
    int8_graph, plan = quantised(graph, images[:1], images.numpy(), 1e9)
    assert len(plan.quantised) == 2
    program = nn.Sequential(int8_graph).train().eval()
    operators = [str(node.target) for node in torch.export.export(program, (images[:1],)).graph.nodes]
    assert any("quantize_per_tensor" in operator for operator in operators)
    with torch.no_grad():
        difference = (program(images[:1]) - graph(images[:1])).abs().max()
    assert 0 < difference < 0.1


@pytest.mark.slow
def test_half_precision(tmp_path):
    """Half the size, and the people of float32 nearly."""
    pose, detector = networks(DEMO_WEIGHTS.get)
    scene = letterbox(render_scene(np.random.default_rng([77, 1]))[0], (240, 320)).frame
    path = tmp_path / "app.torchscript"
    made = export_app(pose, detector, path, (240, 320), 2, "torchscript", "fp16")
    app = open_app(path)
    assert app.metadata == made.metadata
    assert (app.metadata.pose.precision, app.metadata.detector.precision) == ("fp16", "fp16")
    assert path.stat().st_size < 0.7 * sum(4 * p.numel() for each in (pose, detector) for p in each.parameters())
    found, expected = app(scene), estimator(DEMO_WEIGHTS.get)(scene)
    count = int((found.scores > 0).sum())
    assert count == min(2, len(expected)) >= 1
    visible = expected.keypoint_scores[:count] > 0.5
    distances = np.linalg.norm(found.keypoints[:count, :, :2] - expected.keypoints[:count], axis=-1)[visible]
    assert distances.mean() < 0.5
