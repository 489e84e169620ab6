"""Annotations through every format and back: nothing that both can express is lost, and the rest is named."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from properties.checks import holds
from tinypose_torch.cli.annotations import target_format
from tinypose_torch.data.formats.coco import read_coco
from tinypose_torch.data.formats.coco_content import Category, ImageAnnotations, Person, extent, from_coco, people_of
from tinypose_torch.data.formats.registry import list_annotation_formats, read_annotations

FORMATS = ("coco", "yolo", "cvat", "label_studio")
WORDS = ["nose", "left_wrist", "right wrist", "R hand", "tête <&>", "'quoted\"", "名", "a,b"]
numbers = st.floats(0, 1, width=32).map(lambda value: round(value * 60, 3))
points = st.tuples(numbers, numbers, st.sampled_from([0, 1, 2]))


@st.composite
def annotations(draw):
    """A category, and images of 64 x 72 pixels with people; the first person shows every keypoint in order."""
    names = draw(st.permutations(WORDS))[: draw(st.integers(1, len(WORDS)))]
    indices = st.integers(0, len(names) - 1)
    links = draw(st.lists(st.tuples(indices, indices).filter(lambda pair: pair[0] != pair[1]), max_size=4, unique=True))
    pairs = ((0, 1),) if len(names) > 1 and draw(st.booleans()) else ()
    images = [ImageAnnotations("a.png", 64, 72), ImageAnnotations("deep/b b.png", 64, 72)]
    first = Person([(5.0 + index, 7.5, 2) for index in range(len(names))])
    images[0].people.append(first)
    for image in images:
        for _ in range(draw(st.integers(0, 2))):
            kinds = draw(st.lists(points, min_size=len(names), max_size=len(names)))
            image.people.append(Person([(x, y, v) if v else (0.0, 0.0, 0) for x, y, v in kinds]))
    for person in people_of(images):
        x1, y1, x2, y2 = extent(person.points)
        person.box = (x1, y1, x2 + 1, y2 + 2) if draw(st.booleans()) else (x1, y1, x2, y2)
    return images, Category("person", tuple(names), tuple(links), pairs)


def through(name, images, category):
    """What is read of what was written, and what the format said that it loses."""
    with tempfile.TemporaryDirectory() as folder:
        for image in images:
            path = Path(folder, "images", image.file_name)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (image.width, image.height)).save(path)
        output = Path(folder, "annotations")
        lost = target_format(name).write(images, category, output)
        source = output / "labels" if name == "yolo" else output
        content = read_annotations(source, Path(folder, "images"))  # recognised
        found, kind = from_coco(read_coco(source, content=content))
        return found, kind, lost


@pytest.mark.parametrize("examples", [5, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FORMATS)
def test_nothing_is_lost_silently(name, examples):
    @holds(case=annotations())
    def check(case):
        images, category = case
        found, kind, lost = through(name, images, category)
        assert kind.keypoints == category.keypoints
        assert kind.name == category.name
        if "the links of the skeleton" not in lost:
            assert set(kind.links) == set(category.links)
        if "flip pairs" not in lost:
            assert [pair for pair in kind.flip_pairs if pair[0] != pair[1]] == list(category.flip_pairs)
        by_name = {image.file_name: image for image in found}
        for image in images:
            if not image.people and image.file_name not in by_name:
                continue  # a task without results
            read = by_name[image.file_name]
            assert (read.width, read.height) == (image.width, image.height)
            for person, again in zip(image.people, read.people, strict=True):
                expected = np.array([(x, y, v) if v else (0, 0, 0) for x, y, v in person.points])
                if "that keypoints are hidden" in lost:
                    expected[:, 2] = 2 * (expected[:, 2] > 0)
                np.testing.assert_allclose(again.points, expected, atol=1e-3)
                box = extent(person.points) if "boxes that are not the keypoints' extent" in lost else person.box
                np.testing.assert_allclose(again.box, box, atol=2e-2)

    check(examples)


def test_every_format_is_tested():
    written = {one.name for one in list_annotation_formats() if _is_writable(one.name)}
    assert written == set(FORMATS)


def _is_writable(name):
    try:
        return target_format(name).name == name
    except ValueError:
        return False
