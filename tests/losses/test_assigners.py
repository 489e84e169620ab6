"""Assigners and box losses against PaddleDetection's, on its recorded scenes."""

import numpy as np
import pytest
import torch
from recordings import Recording

from tinypose_torch.geometry.boxes import giou, pairwise_iou
from tinypose_torch.losses.assigners import Anchors, Targets, assign_atss, assign_simota, assign_task_aligned
from tinypose_torch.losses.boxes import distribution_focal_loss
from tinypose_torch.losses.classification import varifocal_loss, varifocal_loss_with_logits

SCENES = ("single", "overlap", "tiny", "border")
LEVELS = (1600, 400, 100, 25)


@pytest.fixture(scope="module")
def arrays():
    return dict(Recording("training/assigners_and_losses.npz"))


def anchors_of(arrays):
    return Anchors(torch.from_numpy(arrays["points"]), torch.from_numpy(arrays["stride"]), LEVELS)


def scene_of(arrays, scene):
    boxes = torch.from_numpy(arrays[f"{scene}.gt"])[None]
    targets = Targets(
        boxes, torch.zeros(boxes.shape[:2], dtype=torch.long), torch.ones(boxes.shape[:2], dtype=torch.bool)
    )
    predicted = torch.from_numpy(arrays[f"{scene}.pred_boxes"])[None]
    scores = torch.from_numpy(arrays[f"{scene}.pred_scores"])[None]
    return targets, predicted, scores


def compare(assignment, arrays, prefix):
    positive = arrays[f"{prefix}_labels"][0] == 0
    assert positive.any()
    np.testing.assert_array_equal(assignment.positive[0], positive)
    np.testing.assert_array_equal(assignment.boxes[0][positive], arrays[f"{prefix}_bboxes"][0][positive])
    np.testing.assert_allclose(assignment.class_scores(1)[0], arrays[f"{prefix}_scores"][0], atol=1e-5)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("nearest", [9, 4])
def test_atss(scene, nearest, arrays):
    targets, predicted, _ = scene_of(arrays, scene)
    compare(assign_atss(targets, anchors_of(arrays), predicted, nearest), arrays, f"{scene}.atss{nearest}")


@pytest.mark.parametrize("scene", SCENES)
def test_task_aligned(scene, arrays):
    targets, predicted, scores = scene_of(arrays, scene)
    compare(assign_task_aligned(targets, anchors_of(arrays), predicted, scores), arrays, f"{scene}.tal")


@pytest.mark.parametrize("scene", SCENES)
def test_simota(scene, arrays):
    targets, predicted, scores = scene_of(arrays, scene)
    found = assign_simota(targets, anchors_of(arrays), predicted, scores)
    positive = arrays[f"{scene}.simota_label"] == 0
    np.testing.assert_array_equal(found.positive[0], positive)
    np.testing.assert_array_equal(found.boxes[0][positive], arrays[f"{scene}.simota_bbox_target"][positive])


@pytest.mark.parametrize("assign", ["atss", "task aligned", "simota"])
def test_a_batch_is_its_images(assign, arrays):
    """All scenes in one batch, padded, and one image without boxes: each as alone."""
    anchors = anchors_of(arrays)
    scenes = [scene_of(arrays, scene) for scene in SCENES]

    def run(targets, predicted, scores):
        if assign == "atss":
            return assign_atss(targets, anchors, predicted)
        chosen = assign_task_aligned if assign == "task aligned" else assign_simota
        return chosen(targets, anchors, predicted, scores)

    boxes, valid = torch.zeros(5, 3, 4), torch.zeros(5, 3, dtype=torch.bool)
    for index, (targets, _, _) in enumerate(scenes):
        count = targets.boxes.shape[1]
        boxes[index, :count], valid[index, :count] = targets.boxes[0], True
    predicted = torch.cat([p for _, p, _ in scenes] + [scenes[0][1]])
    scores = torch.cat([s for _, _, s in scenes] + [scenes[0][2]])
    together = run(Targets(boxes, torch.zeros(5, 3, dtype=torch.long), valid), predicted, scores)
    assert not together.positive[4].any()
    assert not together.scores[4].any()
    for index, scene in enumerate(scenes):
        alone = run(*scene)
        assert torch.equal(together.positive[index], alone.positive[0])
        torch.testing.assert_close(together.scores[index], alone.scores[0])


@pytest.mark.parametrize("assign", [assign_task_aligned, assign_simota])
def test_no_boxes_at_all(assign):
    points = torch.tensor([[4.0, 4.0], [12.0, 4.0]])
    anchors = Anchors(points, torch.full((2, 1), 8.0), (2,))
    targets = Targets(torch.zeros(2, 1, 4), torch.zeros(2, 1, dtype=torch.long), torch.zeros(2, 1, dtype=torch.bool))
    found = assign(targets, anchors, torch.rand(2, 2, 4), torch.rand(2, 2, 1))
    assert not found.positive.any()
    assert found.class_scores(3).shape == (2, 2, 3)


def test_losses(arrays):
    prediction = torch.from_numpy(arrays["giou.pred"]).requires_grad_()
    loss = 2.0 * (1 - giou(prediction, torch.from_numpy(arrays["giou.target"])))  # weighted as for ESNet
    np.testing.assert_allclose(loss.detach(), arrays["giou.loss"][:, 0], rtol=1e-5, atol=1e-6)
    loss.sum().backward()
    np.testing.assert_allclose(prediction.grad, arrays["giou.grad_of_sum"], rtol=1e-4, atol=1e-6)
    logits = torch.from_numpy(arrays["dfl.in"]).requires_grad_()
    weights = torch.from_numpy(arrays["dfl.weight"])
    losses = distribution_focal_loss(logits, torch.from_numpy(arrays["dfl.target"])) * weights
    loss = 0.25 * losses.sum() / 4  # weighted and divided as for ESNet
    assert loss.item() == pytest.approx(float(arrays["dfl.loss"]), rel=1e-5)
    loss.backward()
    np.testing.assert_allclose(logits.grad, arrays["dfl.grad"], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "function"), [("vfl_probs", varifocal_loss), ("vfl_logits", varifocal_loss_with_logits)]
)
def test_varifocal(name, function, arrays):
    values = torch.from_numpy(arrays[f"{name}.in"]).requires_grad_()
    loss = function(values, torch.from_numpy(arrays[f"{name}.target"])).sum() / 3  # as recorded
    assert loss.item() == pytest.approx(float(arrays[f"{name}.loss"]), rel=1e-5)
    loss.backward()
    np.testing.assert_allclose(values.grad, arrays[f"{name}.grad"], rtol=1e-4, atol=1e-6)


def test_iou_of_known_boxes():
    one = torch.tensor([[0.0, 0, 2, 2], [5, 5, 6, 6]])
    two = torch.tensor([[1.0, 0, 3, 2]])
    torch.testing.assert_close(pairwise_iou(one, two), torch.tensor([[1 / 3], [0.0]]))
