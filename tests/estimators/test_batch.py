"""Lists of images: the networks get them in batches, with the answers of one image at a time."""

import dataclasses

import cv2
import numpy as np
import pytest
from conftest import REAL, REAL_PAIRS, ROOT, gradient_image
from PIL import Image

from tinypose_torch import ImageError, PoseEstimator
from tinypose_torch.runtime import EagerRunner

NAMES = ("picodet_s_192_lcnet_pedestrian", "tinypose_128x96")
WEIGHTS = [ROOT / f"weights/{name}_demo.safetensors" for name in ("picodet_s_192", "tinypose_128x96")]
SIZES = [(60, 80), (90, 40), (60, 80), (50, 120), (33, 31)]
IMAGES = [gradient_image(*size) for size in SIZES]


@pytest.fixture(scope="module")
def estimator():
    """Of about one person in every image."""
    return PoseEstimator(*NAMES, *WEIGHTS, backend="eager", detection_threshold=0.1, batch_size=2)


@pytest.fixture
def runs(monkeypatch):
    """Sizes of the batches, as they are run."""
    run, sizes = EagerRunner.run, []

    def record(self, batch):
        sizes.append((self.metadata.config.task, len(batch)))
        return run(self, batch)

    monkeypatch.setattr(EagerRunner, "run", record)
    return sizes


def check_same(found, expected):
    for one, two in zip(found, expected, strict=True):
        assert len(one) == len(two)
        for name in ("boxes", "scores", "keypoints", "keypoint_scores"):
            assert np.allclose(getattr(one, name), getattr(two, name), atol=1e-4), name


def test_the_answers_of_one_by_one(estimator, runs):
    expected = [estimator(image) for image in IMAGES]
    assert sum(map(len, expected)) > len(IMAGES)
    runs.clear()
    check_same(estimator.batch(IMAGES), expected)
    assert [size for task, size in runs if task == "detection"] == [2, 2, 1]
    people = [len(poses) for poses in expected]
    filled = [sum(people[start : start + 2]) for start in range(0, 5, 2)]
    assert [size for task, size in runs if task == "pose"] == [
        size for count in filled for size in [2] * (count // 2) + [1] * (count % 2)
    ]
    check_same(estimator(tuple(IMAGES)), expected)


@pytest.mark.slow
@pytest.mark.needs_reference
def test_reference_photos():
    """Of different sizes, with people cut at whole pixels, who would move by a pixel if boxes rounded differently."""
    detector, pose = REAL_PAIRS["picodet192_tinypose128x96"]
    estimator = PoseEstimator(detector, pose, *(REAL / f"weights/{name}.pdparams" for name in (detector, pose)))
    photos = sorted((REAL / "images").glob("*.jpg"))
    found = estimator.batch(photos)
    assert sum(map(len, found)) == 35
    check_same(found, map(estimator, photos))


def test_files_of_a_fixed_batch_size(estimator, runs, monkeypatch):
    """As exported ones are."""
    expected = estimator.batch(IMAGES)
    for runner in (estimator.detector_runner, estimator.pose_runner):
        monkeypatch.setattr(runner, "metadata", dataclasses.replace(runner.metadata, batch=1))
    runs.clear()
    check_same(estimator.batch(IMAGES), expected)
    assert {size for _, size in runs} == {1}


def test_boxes_of_some_images(estimator, runs):
    """Images with boxes are not detected in; images without people give no poses."""
    boxes = [None, [[5, 5, 30, 60]], [], None, [[0, 0, 20, 20], [3, 3, 30, 30]]]
    found = estimator.batch(IMAGES, boxes)
    assert [size for task, size in runs if task == "detection"] == [1, 1]
    assert [len(found[index]) for index in (1, 2, 4)] == [1, 0, 2]
    check_same(found, [estimator(image, given) for image, given in zip(IMAGES, boxes, strict=True)])
    with pytest.raises(ValueError, match="5 images, but boxes of 1"):
        estimator.batch(IMAGES, boxes[:1])


def test_without_a_detector(runs):
    estimator = PoseEstimator(None, NAMES[1], pose_weights=WEIGHTS[1], backend="eager", batch_size=4)
    found = estimator.batch(IMAGES)
    assert [poses.boxes.tolist() for poses in found] == [[[0, 0, width, height]] for height, width in SIZES]
    assert [size for _, size in runs] == [4, 1]


def test_at_most_a_batch_of_images_in_memory(estimator, monkeypatch):
    """Of a generator, which is taken as far as needed."""
    taken = []

    def images():
        for image in IMAGES:
            taken.append(image)
            yield image

    monkeypatch.setattr(estimator, "_estimate", lambda images, boxes: [len(taken)] * len(images))
    assert estimator.batch(images()) == [2, 2, 4, 4, 5]
    assert estimator.batch(iter([])) == []


@pytest.mark.parametrize(
    ("broken", "error", "message"),
    [
        ("missing.png", FileNotFoundError, "image 3: no image 'missing.png'"),
        (np.zeros((5, 5)), ImageError, "image 3: image array of dtype float64"),
        (None, ImageError, "image 3: NoneType is not an image"),
    ],
)
def test_a_broken_image_is_named(broken, error, message, estimator):
    with pytest.raises(error, match=message):
        estimator.batch([*IMAGES[:3], broken, IMAGES[4]])
    with pytest.raises(error, match=message):
        estimator.batch(image for image in [*IMAGES[:3], broken])


class SensorError(ValueError):
    def __init__(self, sensor, temperature):
        super().__init__(f"{sensor} has {temperature} degrees")


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        (UnicodeDecodeError("utf-8", b"a\xff", 1, 2, "invalid start byte"), ValueError, "image 1: 'utf-8' codec"),
        (cv2.error("scale is 0"), ImageError, "image 1: cannot be processed: scale is 0"),
        (PermissionError(13, "Permission denied", "a.png"), OSError, "image 1: .*Permission denied: 'a.png'"),
        (SensorError("left", 99), ValueError, "image 1: left has 99 degrees"),
    ],
    ids=["UnicodeDecodeError", "cv2.error", "PermissionError", "SensorError"],
)
def test_errors_whose_classes_take_other_arguments_are_named(raised, kind, message, estimator, monkeypatch):
    def estimate(images, boxes):
        if any(image is IMAGES[1] for image in images):
            raise raised
        return [None] * len(images)

    monkeypatch.setattr(estimator, "_estimate", estimate)
    with pytest.raises(kind, match=message) as found:
        estimator.batch(IMAGES)
    assert raised in (found.value.__cause__, found.value.__cause__.__cause__)


def test_bad_arguments(estimator):
    with pytest.raises(ValueError, match="image 1: box 0 is"):
        estimator.batch(IMAGES[:2], [None, [[9, 9, 1, 1]]])
    with pytest.raises(ValueError, match="'a.png' is one image; pass a list"):
        estimator.batch("a.png")


def test_a_batch_too_large_for_the_memory(estimator, monkeypatch):
    """Is estimated one image at a time; an image that fails alone, too, is named."""
    run, expected = EagerRunner.run, estimator.batch(IMAGES)
    limit = 1

    def limited(self, batch):
        if self.metadata.config.task == "detection" and len(batch) > limit:
            raise MemoryError
        return run(self, batch)

    monkeypatch.setattr(EagerRunner, "run", limited)
    check_same(estimator.batch(IMAGES), expected)
    limit = 0
    with pytest.raises(ImageError, match="image 0: not enough memory for this image"):
        estimator.batch(IMAGES)


def test_streams_of_frames(estimator):
    """From a generator, which is taken one image at a time."""
    taken, errors = [], []

    def frames():
        for image in (IMAGES[0], None, Image.fromarray(IMAGES[1])):
            taken.append(image)
            yield image

    stream = estimator.stream(frames(), lambda source, error: errors.append(str(error)))
    frame, poses = next(stream)
    assert (frame.source, frame.index, len(taken)) == ("image 0", None, 1)
    ((last, others),) = stream
    assert last.source == "image 2"
    check_same([poses, others], estimator.batch(IMAGES[:2]))
    assert errors == ["image 1: NoneType is not an image; pass a path, a uint8 array or a PIL image"]
    assert list(estimator.stream([])) == []
