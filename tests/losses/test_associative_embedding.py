"""Bottom-up losses against PaddleDetection's, values and gradients."""

import numpy as np
import pytest
import torch
from recordings import Recording, read_json

from tinypose_torch.codecs.associative_embedding import MISSING
from tinypose_torch.losses.associative_embedding import (
    AssociativeEmbeddingTargets,
    associative_embedding_loss,
    tag_losses,
)
from tinypose_torch.models.higher_hrnet import BottomUpStages


def recorded():
    return Recording("training/other_losses.npz"), read_json("training/other_losses.json")


def places_of(tagmap, size):
    return np.where(tagmap[..., 3] > 0, tagmap[..., 1] * size + tagmap[..., 2], MISSING)


def targets_of(arrays):
    maps = (torch.from_numpy(arrays[f"hr.{name}"]) for name in ("heatmap_gt1x", "heatmap_gt2x"))
    masks = (torch.from_numpy(arrays[f"hr.{name}"]) > 0 for name in ("mask_1x", "mask_2x"))
    return AssociativeEmbeddingTargets(*maps, *masks, torch.from_numpy(places_of(arrays["hr.tagmap"], 32)))


@pytest.mark.parametrize("kind", ["hr_plain", "hr_swahr"])
def test_recorded_losses_and_gradients(kind):
    arrays, facts = recorded()
    names = ["pred1", "tag", "pred2"] + (["scale1", "scale2"] if kind == "hr_swahr" else [])
    inputs = {name: torch.from_numpy(arrays[f"hr.{name}"]).requires_grad_() for name in names}
    loss = associative_embedding_loss(BottomUpStages(*inputs.values()), targets_of(arrays))
    expected = facts[kind]
    for value, name in zip((*loss, loss.total), ("heatmap_loss", "pull_loss", "push_loss", "loss"), strict=True):
        assert value.item() == pytest.approx(expected[name][0], rel=1e-5)
    loss.total.backward()
    for name, tensor in inputs.items():
        gradient, wanted = arrays.sampled(f"{kind}.grad_{name}", tensor.grad.numpy())
        np.testing.assert_allclose(gradient, wanted, rtol=1e-5, atol=1e-6 * np.abs(wanted).max())


def test_recorded_tag_losses_of_images():
    arrays, facts = recorded()
    tags, tagmap = torch.from_numpy(arrays["hr.tag"]), arrays["hr.tagmap"].copy()
    single = np.zeros_like(tagmap[0])
    single[0] = tagmap[0][0]
    no_people = np.zeros_like(tagmap[0])
    cases = [(0, tagmap[0]), (1, tagmap[1]), (0, no_people), (0, single)]
    for (image, people), expected in zip(cases, facts["ae_single_unscaled"]["rows"], strict=True):
        places = torch.from_numpy(places_of(people, 32))[None]
        found = [float(value) for value in tag_losses(tags[image : image + 1], places)]
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_people_beyond_the_padding_change_nothing():
    torch.manual_seed(0)
    tags = torch.randn(1, 3, 4, 4)
    places = torch.tensor([[[0, 5, MISSING], [7, MISSING, 9]]])
    padded = torch.cat([places, torch.full((1, 5, 3), MISSING)], dim=1)
    for one, two in zip(tag_losses(tags, places), tag_losses(tags, padded), strict=True):
        assert torch.equal(one, two)
