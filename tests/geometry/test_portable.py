"""Bit for bit OpenCV's own arithmetic, which it uses where no library for the processor replaces it."""

from contextlib import contextmanager

import cv2
import numpy as np
import pytest
from conftest import DEMO_WEIGHTS

from tinypose_torch.estimators.pose_estimator import PoseEstimator
from tinypose_torch.estimators.preprocessing import resize_for_detector
from tinypose_torch.geometry.crops import deploy_regions, region_crops, udp_matrices
from tinypose_torch.geometry.portable import resize_cubic, warp_affine
from tinypose_torch.geometry.warp import warp
from tinypose_torch.models.registry import get_config

RNG = np.random.default_rng
DETECTOR, POSE = DEMO_WEIGHTS
WEIGHTS = tuple(DEMO_WEIGHTS.values())


@contextmanager
def plain_opencv():
    """OpenCV without libraries and dispatched code; the setting is the whole process's."""
    before = cv2.useOptimized()
    cv2.setUseOptimized(False)
    try:
        yield
    finally:
        cv2.setUseOptimized(before)


def noise(height, width, seed=0):
    """Noise of all frequencies: flat blocks, edges and single pixels."""
    rng = RNG([seed, height, width])
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    coarse = rng.integers(0, 256, (height // 7 + 1, width // 7 + 1, 3), dtype=np.uint8).repeat(7, 0).repeat(7, 1)
    return np.where(rng.random((height, width, 1)) < 0.5, image, coarse[:height, :width])


def test_resize_is_opencvs():
    """Up and down, wide and tall, equal sizes, single pixels: 2.2 million values."""
    sources = [(480, 640), (1280, 720), (37, 1000), (500, 20), (192, 192), (1, 1), (3, 2), (333, 517), (97, 51)]
    targets = [(192, 192), (320, 320), (96, 416), (33, 24)]
    count = 0
    for source in sources:
        image = noise(*source)
        for target in targets:
            with plain_opencv():
                expected = cv2.resize(image, target[::-1], interpolation=cv2.INTER_CUBIC)
            assert np.array_equal(resize_cubic(image, target), expected), (source, target)
            count += expected.size
    assert count > 2_000_000


def test_resize_to_any_width_is_opencvs_but_for_roundings():
    """OpenCV computes the last columns of such widths in integers, which round a few values in a million otherwise."""
    image = noise(333, 517)
    for width in (101, 203, 37):
        with plain_opencv():
            expected = cv2.resize(image, (width, 150), interpolation=cv2.INTER_CUBIC)
        found = resize_cubic(image, (150, width))
        whole = width * 3 // 8 * 8
        assert np.array_equal(found.reshape(150, -1)[:, :whole], expected.reshape(150, -1)[:, :whole])
        assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("size", [(128, 96), (256, 192)])
def test_warps_to_crops_are_opencvs(size):
    """Crops of all shapes, also at the image's border, as the pose networks get them."""
    image, rng, count = noise(480, 640), RNG(1), 0
    starts = rng.uniform([-100, -100], [600, 440], (40, 2))
    boxes = np.concatenate([starts, starts + rng.uniform(1, 500, (40, 2))], axis=1)
    regions = deploy_regions(boxes, (480, 640))
    for (x1, y1, x2, y2), matrix in zip(regions, region_crops(regions, size, (32, 24)).matrices, strict=True):
        with plain_opencv():
            expected = warp(image[y1:y2, x1:x2], matrix, size)
        assert np.array_equal(warp_affine(image[y1:y2, x1:x2], matrix, size), expected)
        count += expected.size
    assert count > 1_400_000


def test_warps_of_any_kind_are_opencvs():
    """Rotations, enlargements, reductions, all outside of the image, and the transforms of UDP."""
    image, rng = noise(90, 160), RNG(2)
    matrices = [rng.uniform(-3, 3, (2, 3)) * [1, 1, 60] for _ in range(40)]
    matrices += [np.array([[1, 0, 5000.0], [0, 1, 0]]), np.zeros((2, 3)), np.eye(3)[:2]]
    matrices += list(udp_matrices(np.array([[80.0, 45]], np.float32), np.array([[0.3, 0.4]], np.float32), (128, 96)))
    for matrix in matrices:
        for border in ((0, 0, 0), (127, 128, 255)):
            for inverse in (True, False):
                with plain_opencv():
                    expected = warp(image, matrix, (64, 48), inverse=inverse, border=border)
                found = warp_affine(image, matrix, (64, 48), inverse=inverse, border=border)
                assert np.array_equal(found, expected), matrix


def test_estimators_use_it_for_both_networks(monkeypatch):
    """With `resize="portable"` OpenCV neither resizes nor warps; the defaults do with OpenCV."""
    image = noise(120, 160)
    portable, default = (PoseEstimator(DETECTOR, POSE, *WEIGHTS, resize=name) for name in ("portable", "opencv"))
    with plain_opencv():
        expected = default(image, [[20, 10, 90, 110]])
        boxes = default.detect(image).boxes
    monkeypatch.setattr(cv2, "resize", None)
    monkeypatch.setattr(cv2, "warpAffine", None)
    assert np.array_equal(portable(image, [[20, 10, 90, 110]]).keypoints, expected.keypoints)
    assert np.array_equal(portable.detect(image).boxes, boxes)
    assert len(boxes)
    with pytest.raises(TypeError):
        default.detect(image)


def test_letterboxes_are_opencvs():
    with pytest.raises(ValueError, match="fairmot_dla34 keeps the image's aspect ratio; its resize is 'opencv'"):
        resize_for_detector(noise(20, 30), get_config("fairmot_dla34"), "portable")
