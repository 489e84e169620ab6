"""Arithmetic of boxes: the same numbers from NumPy and torch, and torchvision's."""

import numpy as np
import pytest
import torch

from tinypose_torch.geometry import boxes as geometry

ONE = np.float32([[0, 0, 10, 10], [2, 3, 7, 9], [20, 20, 21, 30], [5, 5, 5, 8]])
TWO = np.float32([[5, 5, 15, 15], [0, 0, 10, 10], [10, 0, 20, 10]])
FUNCTIONS = {
    "box_area": (ONE,),
    "box_centers": (ONE,),
    "xywh_to_xyxy": (ONE,),
    "xyxy_to_xywh": (ONE,),
    "expand_boxes": (ONE, 2.5),
    "overlap_sizes": (ONE[:3], TWO),
    "iou": (ONE[:3], TWO),
    "giou": (ONE[:3], TWO),
    "pairwise_iou": (ONE, TWO, 1, 0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numpy_and_torch(name):
    function = getattr(geometry, name)
    expected = function(*FUNCTIONS[name])
    found = function(*(torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in FUNCTIONS[name]))
    assert isinstance(found, torch.Tensor)
    assert expected.dtype == np.float32
    assert np.array_equal(found.numpy(), expected)


def test_overlaps_of_torchvision():
    ops = pytest.importorskip("torchvision.ops")
    generator = np.random.default_rng(0)
    one, two = (
        torch.from_numpy(np.concatenate([low, low + generator.uniform(1, 60, low.shape)], axis=1))
        for low in (generator.uniform(0, 100, (count, 2)) for count in (30, 40))
    )
    assert torch.allclose(geometry.pairwise_iou(one, two), ops.box_iou(one, two), atol=1e-9)
    giou = geometry.giou(one[:, None], two[None])
    assert torch.allclose(giou, ops.generalized_box_iou(one, two), atol=1e-9)
    assert torch.allclose(geometry.box_area(one), ops.box_area(one))


def test_values():
    assert geometry.pairwise_iou(ONE, TWO, epsilon=0)[0].tolist() == pytest.approx([25 / 175, 1, 0])
    assert geometry.pairwise_iou(ONE, TWO, last_pixel=1, epsilon=0)[0] == pytest.approx([36 / 206, 1, 11 / 231])
    assert geometry.box_area(np.array([[5.0, 5, 1, 9]])) == 0, "corners swapped"
    assert geometry.xyxy_to_xywh(ONE)[1].tolist() == [2, 3, 5, 6]
    assert np.array_equal(geometry.xywh_to_xyxy(geometry.xyxy_to_xywh(ONE)), ONE)
    assert geometry.clip_boxes(TWO - 3, (8, 10)).tolist() == [[2, 2, 10, 8], [0, 0, 7, 7], [7, 0, 10, 7]]
    assert geometry.expand_boxes(ONE, np.arange(4)[:, None])[2].tolist() == [18, 18, 23, 32]


def test_boxes_of_points():
    points = np.float32([[[1, 2], [5, 0], [9, 9]]] * 2)
    boxes = geometry.boxes_of_points(points, np.array([[True, True, False], [False] * 3]))
    assert boxes.tolist() == [[1, 0, 5, 2], [np.inf, np.inf, -np.inf, -np.inf]]
    assert geometry.boxes_of_points(points[:0], np.zeros((0, 3), bool)).shape == (0, 4)


@pytest.mark.parametrize("function", [geometry.iou, geometry.giou])
def test_gradients(function):
    """Of the boxes that are learned."""
    boxes = torch.from_numpy(ONE[:3]).requires_grad_()
    function(boxes, torch.from_numpy(TWO)).sum().backward()
    assert boxes.grad.abs().sum() > 0
    assert boxes.grad.isfinite().all()
