"""Images with a side above 32,766 pixels, which OpenCV does not warp in one piece."""

import dataclasses
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from conftest import ROOT, gradient_image
from PIL import Image

from tinypose_torch import PoseEstimator
from tinypose_torch.cli import main
from tinypose_torch.data.bottom_up.samples import BottomUpSample
from tinypose_torch.data.bottom_up.transforms import BORDER, BottomUpAffine
from tinypose_torch.data.detection.transforms import INTERPOLATIONS, resize_with_boxes
from tinypose_torch.data.pose.transforms import TopDownAffine
from tinypose_torch.estimators.bottom_up import BottomUp
from tinypose_torch.estimators.drawing import draw_poses
from tinypose_torch.estimators.preprocessing import photos_for_bottom_up, resized_size, whole_image
from tinypose_torch.geometry.crops import person_matrix, square_matrix
from tinypose_torch.geometry.skeletons import COCO17
from tinypose_torch.geometry.warp import warp
from tinypose_torch.models.registry import get_config

SIZES = [(8, 32768), (40000, 8)]
DETECTOR, POSE = "picodet_s_192_lcnet_pedestrian", "tinypose_128x96"
WEIGHTS = [ROOT / f"weights/{name}_demo.safetensors" for name in ("picodet_s_192", "tinypose_128x96")]
BOTTOM_UP = dataclasses.replace(get_config("higherhrnet_w32_512"), input_size=(64, 64))


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def interpolated(image, inverse, size):
    """A warp as its definition says, in double precision."""
    height, width = image.shape[:2]
    y, x = np.mgrid[: size[0], : size[1]]
    places = inverse @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    low = np.floor(places).astype(int)
    result = np.zeros((x.size, 3))
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, row = low[0] + dx, low[1] + dy
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        weight = (1 - np.abs(places[0] - column)) * (1 - np.abs(places[1] - row)) * inside
        result += weight[:, None] * image[row.clip(0, height - 1), column.clip(0, width - 1)]
    return result.reshape(*size, 3)


@pytest.mark.parametrize("border", [(0, 0, 0), BORDER])
@pytest.mark.parametrize("inverse", [False, True])
def test_ordinary_images_are_warped_by_opencv(inverse, border):
    image, matrix = noise(300, 400), person_matrix(np.float32([90, 80]), np.float32([1, 1.3]), 25, (64, 48), True)
    flags = cv2.INTER_LINEAR | (cv2.WARP_INVERSE_MAP if inverse else 0)
    expected = cv2.warpAffine(image, matrix, (48, 64), flags=flags, borderValue=border)
    assert np.array_equal(warp(image, matrix, (64, 48), inverse=inverse, border=border), expected)


@pytest.mark.parametrize("place", [0, 20, 33_000, 59_980, 59_999])
def test_a_part_of_a_large_image(place):
    """As of an image that is cut to the part."""
    image = noise(30, 60_000)
    start, stop = max(place - 500, 0), min(place + 500, 60_000)
    matrix = square_matrix(np.array([place, 12]), 60, 20, 64)
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ (start, 0)
    for shown, part in ((image, image[:, start:stop]), (image[..., 0], image[:, start:stop, 0])):
        expected = cv2.warpAffine(np.ascontiguousarray(part), moved, (64, 64), flags=cv2.INTER_LINEAR)
        assert np.abs(warp(shown, matrix, (64, 64)).astype(int) - expected).max() <= 8, (
            "noise, a 32nd of a pixel beside"
        )
        tall = matrix[:, [1, 0, 2]]
        assert np.array_equal(warp(np.swapaxes(shown, 0, 1), tall, (64, 64)), warp(shown, matrix, (64, 64)))


@pytest.mark.parametrize("shape", [(9, 40_000), (40_000, 9), (1, 3_000_000), (33_000, 70)])
def test_a_large_image_as_a_whole(shape):
    image = noise(*shape)
    crop = whole_image(image, (64, 96))
    inverse = cv2.invertAffineTransform(crop.matrices[0])
    expected = interpolated(image, inverse, (64, 96))
    assert np.abs(warp(image, crop.matrices[0], (64, 96)) - expected).max() <= 10
    assert np.array_equal(warp(image, inverse, (64, 96), inverse=True), warp(image, crop.matrices[0], (64, 96)))


def test_outside_a_large_image_is_the_border():
    image = noise(8, 40_000)
    far = np.array([[1, 0, 1e9], [0, 1, 0]])
    assert (warp(image, far, (5, 6), border=(1, 2, 3)) == (1, 2, 3)).all()
    assert (warp(image[..., 0], far, (5, 6)) == 0).all()


@pytest.mark.parametrize(
    "crop", ["evaluation", *(pytest.param(rule, marks=pytest.mark.slow) for rule in ("deploy", "consistent"))]
)
def test_predict(crop, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for size in SIZES:
        Image.fromarray(noise(*size)).save(f"{size[1]}.png")
    Image.fromarray(gradient_image()).save("ordinary.png")
    networks = ["--detector-weights", str(WEIGHTS[0]), "--pose-weights", str(WEIGHTS[1])]
    options = ["--detection-threshold", "0.05", "--crop", crop, "--output", "out", "--json", "x.json"]
    assert main(["predict", ".", *networks, *options]) == 0, capsys.readouterr().err
    records = json.loads((tmp_path / "x.json").read_text())
    assert [record["image"] for record in records] == ["32768.png", "8.png", "ordinary.png"]
    assert all(record["poses"] for record in records[:2])
    for size in SIZES:
        with Image.open(f"out/{size[1]}.png") as overlay:
            assert overlay.size == size[::-1]


@pytest.mark.parametrize("crop", ["evaluation", "consistent"])
def test_poses_far_from_the_origin(crop):
    """The same as in a photo of their own, moved."""
    photo, start = gradient_image(160, 120), 36_000
    wide = np.zeros((160, 40_000, 3), np.uint8)
    wide[:, start : start + 120] = photo
    narrow = np.zeros((160, 1000, 3), np.uint8)
    narrow[:, 400:520] = photo
    estimator = PoseEstimator(None, POSE, pose_weights=WEIGHTS[1], backend="eager", crop=crop, decoding="plain")
    (one,) = estimator(wide, [[start + 20, 10, start + 100, 150]]).keypoints
    (other,) = estimator(narrow, [[420, 10, 500, 150]]).keypoints
    assert np.abs(one - (start - 400, 0) - other).max() < 0.02


class BrightnessRunner:
    """A bottom-up network that finds a bright place."""

    def __init__(self, dynamic_shape):
        self.dynamic_shape, self.metadata = dynamic_shape, SimpleNamespace(config=BOTTOM_UP)

    def __call__(self, images):
        heat = images[:, ::2, ::2, 0].astype(np.float32)[:, None].repeat(17, 1) / 255
        return heat, np.zeros_like(heat)


@pytest.mark.parametrize("dynamic_shape", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_bottom_up(size, dynamic_shape):
    """Eager networks take images of any shape, exported ones have one size."""
    image = np.zeros((*size, 3), np.uint8)
    image[tuple(slice(3 * side // 4 - 200, 3 * side // 4 + 200) if side > 8 else slice(None) for side in size)] = 255
    (poses,) = BottomUp(BrightnessRunner(dynamic_shape), flip=False).estimate([image], [None])
    long = int(np.argmax(size[::-1]))
    assert len(poses)
    pixel = max(size) / (512 if dynamic_shape else 64)  # of the network's input
    assert abs(poses.keypoints[0, 0, long] - 0.75 * max(size)) < 4 * pixel


def test_sizes_of_bottom_up_inputs():
    assert resized_size((480, 640), 512) == (512, 704)
    assert resized_size((640, 480), 512) == (704, 512)
    assert resized_size((500, 4000), 512) == (512, 4096)
    assert resized_size((8, 40_000), 512) == (512, 4096), "PaddleDetection would make it 512 x 2560000"


def test_bottom_up_calibration(tmp_path):
    for size in SIZES:
        Image.fromarray(noise(*size)).save(tmp_path / f"{size[1]}.png")
    assert photos_for_bottom_up(tmp_path, BOTTOM_UP).shape == (2, 64, 64, 3)


@pytest.mark.parametrize("udp", [True, False])
@pytest.mark.parametrize("mirrored", [True, False])
def test_a_person_of_training(udp, mirrored):
    image, start = noise(30, 40_000), 35_000
    affine = TopDownAffine((64, 48), udp)
    crops = []
    for shown, x in ((image, start + 300), (np.ascontiguousarray(image[:, start : start + 600]), 300)):
        center = np.float32([shown.shape[1] - 1 - x if mirrored else x, 12])
        matrix = person_matrix(center, np.float32([0.2, 0.3]), 10, (64, 48), udp).astype(np.float64)
        crops.append(affine.apply(shown[:, ::-1] if mirrored else shown, matrix=matrix).astype(int))
    assert np.abs(crops[0] - crops[1]).mean() < 3, "float32 matrices differ by a few thousandths of a pixel"


def test_a_group_of_training():
    image = np.full((40_000, 8, 3), 200, np.uint8)
    affine = BottomUpAffine(128)
    matrix = square_matrix(np.array([4, 39_000]), 100, 0, 128)
    square = affine.apply(image, matrix=matrix)
    assert (square[64, 64] == 200).all()
    assert (square[64, 0] == BORDER).all()
    people = BottomUpSample(np.zeros((1, 17, 2), np.float32), np.zeros((1, 17), np.float32))
    masks = affine.apply_to_sample(people, matrix=matrix, shape=image.shape).masks
    assert [(mask[len(mask) // 2, len(mask) // 2], mask[0, 0]) for mask in masks] == [(True, False)] * 2


@pytest.mark.parametrize("size", SIZES)
def test_objects_of_training(size):
    for interpolation in INTERPOLATIONS:
        resized, boxes = resize_with_boxes(noise(*size), np.float32([[0, 0, *size[::-1]]]), 64, interpolation)
        assert resized.shape == (64, 64, 3)
        assert np.allclose(boxes, [[0, 0, 64, 64]])


@pytest.mark.parametrize("start", [0, 16_000, 35_000, 100_000])
def test_drawing_far_from_the_origin(start):
    """The same as near it."""
    points = np.random.default_rng(1).uniform(20, 80, (1, 17, 2))
    box, visible = np.array([[5.5, 6, 90, 95]]), np.ones((1, 17), bool)
    small = draw_poses(np.zeros((100, 100, 3), np.uint8), box, ["0.5"], points, visible, COCO17)
    wide = np.zeros((100, start + 100, 3), np.uint8)
    drawn = draw_poses(wide, box + [start, 0] * 2, ["0.5"], points + np.array([start, 0]), visible, COCO17)
    assert small.any()
    assert np.array_equal(drawn[:, start:], small)


@pytest.mark.parametrize("far", [np.inf, -1e12, 2.0**31])
def test_drawing_out_of_sight(far):
    points = np.full((1, 17, 2), 50.0)
    points[0, 5] = far
    drawn = draw_poses(gradient_image(), np.array([[far, 6, far, far]]), ["0"], points, np.ones((1, 17), bool), COCO17)
    assert drawn.shape == (120, 160, 3)
