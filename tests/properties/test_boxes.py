"""Boxes: overlap, non-maximum suppression, crops and the way back, warps of parts."""

import cv2
import numpy as np
import torch
from hypothesis import strategies as st

from properties.checks import holds
from tinypose_torch.geometry import warp as warping
from tinypose_torch.geometry.boxes import giou, pairwise_iou
from tinypose_torch.geometry.crops import deploy_regions, make_crops, square_matrix
from tinypose_torch.geometry.matrix_nms import MatrixNMSConfig, in_image, matrix_nms
from tinypose_torch.geometry.nms import NMSConfig, multiclass_nms
from tinypose_torch.geometry.warp import warp

SIZE = (128, 96)


@st.composite
def box_lists(draw, least=0, most=12, side=2000.0):
    """``(N, 4)`` float32 x1, y1, x2, y2; some equal, some touching, some beyond the image."""
    count = draw(st.integers(least, most))
    number = st.floats(-side / 4, side, width=32) | st.integers(0, 8).map(lambda n: 10.0 * n)
    length = st.floats(1, side, width=32) | st.integers(1, 8).map(lambda n: 10.0 * n)
    rows = [[draw(number), draw(number), draw(length), draw(length)] for _ in range(count)]
    boxes = np.array(rows, np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    if count and draw(st.booleans()):
        boxes[-1] = boxes[0]
    return boxes


def overlaps(one, two):
    return pairwise_iou(torch.from_numpy(one).double(), torch.from_numpy(two).double()).numpy()


@holds(one=box_lists(), two=box_lists())
def test_overlaps(one, two):
    """Symmetric, between 0 and 1, 1 with itself; the generalised one is never above it and not below -1."""
    found = overlaps(one, two)
    assert found.shape == (len(one), len(two))
    assert ((found >= 0) & (found <= 1)).all()
    assert np.array_equal(found, overlaps(two, one).T)
    if len(one):
        assert np.allclose(np.diag(overlaps(one, one)), 1, atol=1e-6)
    general = giou(torch.from_numpy(one).double()[:, None], torch.from_numpy(two).double()[None]).numpy()
    assert ((general <= found + 1e-9) & (general >= -1 - 1e-9)).all()


@holds(boxes=box_lists(), seed=st.integers(0, 99), threshold=st.floats(0.1, 0.9), classes=st.integers(1, 3))
def test_nms(boxes, seed, threshold, classes):
    """A subset without overlaps within a class, by falling score; and the same once more."""
    scores = np.random.default_rng(seed).choice(np.linspace(0.03, 0.97, 20), (len(boxes), classes)).astype(np.float32)
    rule = NMSConfig(iou_threshold=threshold)
    found = multiclass_nms(scores, boxes, rule)
    assert np.array_equal(found.boxes, boxes[found.rows])
    assert np.array_equal(found.scores, scores[found.rows, found.class_ids])
    for label in range(classes):
        mine = found.class_ids == label
        assert (np.diff(found.scores[mine]) <= 0).all()
        rest = overlaps(found.boxes[mine], found.boxes[mine]) - np.eye(int(mine.sum()))
        assert (rest <= threshold + 1e-5).all()
        again = np.zeros((int(mine.sum()), classes), np.float32)
        again[:, label] = found.scores[mine]
        assert multiclass_nms(again, found.boxes[mine], rule).rows.tolist() == list(range(int(mine.sum())))


@holds(boxes=box_lists(), seed=st.integers(0, 99), sigma=st.none() | st.floats(0.5, 4))
def test_matrix_nms(boxes, seed, sigma):
    """Scores are only lowered, the best one's is not, and they fall."""
    scores = np.random.default_rng(seed).uniform(0.02, 1, (len(boxes), 1)).astype(np.float32)
    found = matrix_nms(scores, boxes, MatrixNMSConfig(gaussian_sigma=sigma))
    assert np.array_equal(found.boxes, boxes[found.rows])
    assert (np.diff(found.scores) <= 0).all()
    assert (found.scores <= scores[found.rows, 0] + 1e-6).all()
    if len(boxes):
        assert found.scores[0] == scores.max()


@holds(boxes=box_lists(), height=st.integers(1, 3000), width=st.integers(1, 3000))
def test_clipping(boxes, height, width):
    """Boxes inside the image, and crops of whole pixels that are never empty."""
    inside = in_image(boxes, (416, 416), (416 / height, 416 / width))
    assert (inside >= 0).all()
    assert (inside <= np.array([width - 1, height - 1] * 2, np.float32)).all()
    regions = deploy_regions(boxes.astype(np.float64), (height, width))
    assert (regions[:, :2] >= 0).all()
    assert (regions[:, 2:] > regions[:, :2]).all()
    assert (regions[:, :2] < (width, height)).all()


@holds(
    boxes=box_lists(least=1),
    rule=st.sampled_from(["deploy", "evaluation", "consistent"]),
    udp=st.booleans(),
    cell=st.tuples(st.floats(0, 23), st.floats(0, 31)),
)
def test_crops_and_the_way_back(boxes, rule, udp, cell):
    """A heatmap cell goes to the place of the image that the warp takes there: exactly by the consistent rule, within the
    known differences by the others."""
    heatmap = (SIZE[0] // 4, SIZE[1] // 4)
    found = make_crops(boxes, (1500, 2000), SIZE, heatmap, rule, udp)
    assert all(np.isfinite(values).all() for values in (found.matrices, found.scales, found.offsets))
    places = found.to_image(np.tile(cell, (len(boxes), 1, 1)).astype(np.float64))[:, 0]
    for row in range(len(boxes)):
        in_region = places[row] - found.regions[row, :2]
        shown = found.matrices[row] @ [*in_region, 1]
        pixel = 1.0 / np.array([found.matrices[row][0, 0], found.matrices[row][1, 1]])
        # of the network's input: UDP counts sizes between pixel centres, and the deployment rounds the centre
        slack = {"consistent": 0.02, "evaluation": 2.0, "deploy": 0.01 + 0.51 / pixel.min()}[rule]
        assert np.abs(shown - 4 * np.array(cell)).max() <= slack


@holds(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    center=st.tuples(st.floats(-50, 130), st.floats(-50, 130)),
    side=st.floats(1, 400),
    degrees=st.floats(-180, 180),
    seed=st.integers(0, 9),
)
def test_warps_in_parts(height, width, center, side, degrees, seed):
    """As in one piece: with images that count as large when a side is above 20 pixels."""
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = cv2.blur(image, (3, 3))
    matrix = square_matrix(np.array(center), side, degrees, 32)
    whole = warp(image, matrix, (32, 32), border=(9, 8, 7))
    limit, warping._MAX_SIDE = warping._MAX_SIDE, 20
    try:
        parts = warp(image, matrix, (32, 32), border=(9, 8, 7))
    finally:
        warping._MAX_SIDE = limit
    assert np.abs(parts.astype(int) - whole).max() <= 12, "a 32nd of a pixel beside"
