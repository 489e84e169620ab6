"""PicoDet's reader, draw by draw against PaddleDetection's."""

import numpy as np
import pytest
from recordings import Recording, read_json

pytest.importorskip("albumentations")

from tinypose_torch.data.detection.sample import DetectionSample
from tinypose_torch.data.detection.transforms import (
    CROP_OVERLAPS,
    INTERPOLATIONS,
    DetectionRandomFlip,
    PhotometricDistort,
    RandomIoUCrop,
    adjust_colour,
    resize_with_boxes,
)

SIZES = (128, 160, 192, 224, 256)
OPERATIONS = {f"apply_{name}": index for index, name in enumerate(PhotometricDistort._OPERATIONS)}


class Recorded:
    """A generator that gives recorded draws, in order, to whoever asks for the same kind with the same bounds."""

    def __init__(self, draws):
        self.draws = [draw for draw in draws if draw["fn"] != "python.random"]

    def _next(self, kinds):
        draw = self.draws.pop(0)
        assert draw["fn"].split(".")[1] in kinds, draw
        return draw

    def permutation(self, count):
        value = self._next(("shuffle", "permutation"))["value"]
        assert len(value) == count
        if isinstance(value[0], str) and value[0] in OPERATIONS:
            return [OPERATIONS[name] for name in value]
        return [CROP_OVERLAPS.index(None if share == "no_crop" else share) for share in value]

    def uniform(self, low, high):
        draw = self._next(("uniform",))
        assert draw["args"] == pytest.approx([low, high])
        return draw["value"]

    def integers(self, low, high):
        draw = self._next(("randint",))
        assert draw["args"] == [low, high]
        return draw["value"]


def cases():
    return [(batch["file"], index) for batch in read_json("transforms/picodet_reader_cases.json") for index in range(3)]


@pytest.fixture(scope="module")
def batches():
    return {batch["file"]: batch for batch in read_json("transforms/picodet_reader_cases.json")}


@pytest.mark.parametrize(("file", "index"), cases())
def test_recorded(file, index, batches):
    arrays = Recording(f"transforms/{file}")
    draws = batches[file]["samples"][index]
    image, boxes = arrays[f"s{index}_in_image"], arrays[f"s{index}_in_bbox"]
    sample = {"image": image, "objects": DetectionSample(boxes, np.zeros(len(boxes), np.int64))}

    def check(step):
        assert arrays.equals(f"s{index}_{step}_image", sample["image"]), step

    crop = RandomIoUCrop()
    crop.set_random_state(Recorded(draws["crop_draws"]), None)
    sample = crop(**sample)
    assert not crop.random_generator.draws, "every recorded draw was made"
    check("crop")
    np.testing.assert_allclose(sample["objects"].boxes, arrays[f"s{index}_crop_bbox"], atol=1e-4)
    if draws["flip_draws"][0]["value"] < 0.5:
        sample = DetectionRandomFlip(p=1.0)(**sample)
    check("flip")
    np.testing.assert_allclose(sample["objects"].boxes, arrays[f"s{index}_flip_bbox"], atol=1e-4)
    distort = PhotometricDistort()
    distort.set_random_state(Recorded(draws["distort_draws"]), None)
    sample = distort(**sample)
    check("distort")
    size, interpolation = (draw["value"] for draw in batches[file]["resize_draws"])
    resized, boxes = resize_with_boxes(sample["image"], sample["objects"].boxes, SIZES[size], interpolation)
    assert interpolation in INTERPOLATIONS
    assert arrays.difference(f"s{index}_resize_image", resized) <= 1e-3
    np.testing.assert_allclose(boxes, arrays[f"s{index}_resize_bbox"], atol=1e-4)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_colours(name):
    arrays = Recording("transforms/picodet_colour_ops.npz")
    compared = 0
    for key in arrays:
        if key.startswith(name):
            key = key.partition("@")[0]
            found = adjust_colour(arrays["in_image"], name, float(key.split("_")[1]))
            assert arrays.equals(key, found), key
            compared += 1
    assert compared >= 3
