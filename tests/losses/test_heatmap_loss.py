"""The loss alone; its values and gradients on TinyPose are compared in tests/training."""

import numpy as np
import pytest
import torch
from recordings import Recording, read_json

from tinypose_torch.losses.heatmaps import HeatmapLoss


def test_weights_count_in_the_average():
    heatmaps, targets = torch.ones(1, 4, 2, 2), torch.zeros(1, 4, 2, 2)
    assert HeatmapLoss()(heatmaps, targets, torch.tensor([[1.0, 1.0, 0.0, 0.0]])) == 0.5
    assert HeatmapLoss(scale=0.5)(heatmaps, targets, torch.ones(1, 4)) == 0.5


def test_weights_are_squared():
    heatmaps, targets = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    assert HeatmapLoss()(heatmaps, targets, torch.tensor([[0.5]])) == 0.25


def test_ohkm_topk():
    """Person by person: only the worst two of three are averaged."""
    targets = torch.zeros(2, 3, 2, 2)
    heatmaps = torch.tensor([[1.0, 2.0, 3.0], [5.0, 4.0, 0.0]])[..., None, None].expand(2, 3, 2, 2)
    loss = HeatmapLoss(ohkm_topk=2)(heatmaps, targets, torch.ones(2, 3))
    assert loss == pytest.approx((4 + 9 + 25 + 16) / 4)
    assert HeatmapLoss(ohkm_topk=9)(heatmaps, targets, torch.ones(2, 3)) == HeatmapLoss()(
        heatmaps, targets, torch.ones(2, 3)
    )


def test_none_of_the_keypoints():
    with pytest.raises(ValueError, match="ohkm_topk=0"):
        HeatmapLoss(ohkm_topk=0)


@pytest.mark.parametrize("scale", [1, 0.5])
@pytest.mark.parametrize("weighted", [True, False])
def test_recorded(scale, weighted):
    arrays = Recording("training/other_losses.npz")
    facts = read_json("training/other_losses.json")
    name = f"scale{scale}_weight{int(weighted)}"
    prediction = torch.from_numpy(arrays["mse.pred"]).requires_grad_()
    targets = torch.from_numpy(arrays["mse.target"])
    weights = torch.from_numpy(arrays["mse.weight"]).reshape(targets.shape[:2])
    loss = HeatmapLoss(scale)(prediction, targets, weights if weighted else torch.ones_like(weights))
    loss.backward()
    assert loss.item() == pytest.approx(facts[f"mse_{name}"], rel=1e-6)
    np.testing.assert_allclose(prediction.grad, arrays[f"mse.grad_{name}"], rtol=1e-5, atol=1e-10)
