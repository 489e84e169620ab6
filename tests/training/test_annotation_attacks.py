"""Annotation files that cannot be right, for pose, bottom-up and detector: one line, by the check and by the run."""

import copy
import json
import os
import re
import shutil

import cv2
import numpy as np
import pytest

from train.__main__ import main

from .annotation_attacks import CASES, CONTENT, FILES, INF, NAN, RECIPES, first, point


class Dataset:
    """Two images, a training and a validation file."""

    def __init__(self, folder):
        self.folder, self.train, self.val = folder, folder / "train.json", folder / "val.json"
        for index in (1, 2):
            cv2.imwrite(str(folder / f"{index}.png"), np.full((48, 64, 3), 40 * index, np.uint8))
        self.restore()

    def restore(self):
        for path in (self.train, self.val):
            path.unlink(missing_ok=True)
            path.write_text(json.dumps(CONTENT))

    def run(self, task, *options):
        options = ["accelerator=cpu", "data.workers=0", "batch_size=2", "max_steps=1", *options]
        data = [f"data.train={self.train}", f"data.val={self.val}", f"data.images={self.folder}"]
        return main([RECIPES[task], *data, f"output={self.folder / 'run'}", *options])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return Dataset(tmp_path_factory.mktemp("attacked"))


@pytest.fixture(autouse=True)
def restored(dataset):
    yield
    dataset.restore()


def refused(dataset, task, way, message, capsys):
    """In one line; nothing is begun."""
    assert dataset.run(task, *WAYS[way]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line), line
    assert line.startswith("train: error: ")
    assert line.isprintable()
    assert len(line) < 700
    assert not (dataset.folder / "run").exists()


WAYS = {"by the check": ["--check"], "by the run": []}
both_ways = pytest.mark.parametrize("way", ["by the check", pytest.param("by the run", marks=pytest.mark.slow)])


@both_ways
@pytest.mark.parametrize(
    ("task", "name", "change", "message"), CASES, ids=lambda value: value if type(value) is str else ""
)
def test_attacks(task, name, change, message, way, dataset, capsys):
    """The training file, and every second case the validation file."""
    content = copy.deepcopy(CONTENT)
    change(content)
    path = dataset.val if len(name) % 2 else dataset.train
    path.write_text(json.dumps(content))
    refused(dataset, task, way, message, capsys)


@both_ways
@pytest.mark.parametrize("task", RECIPES)
@pytest.mark.parametrize("name", FILES)
def test_files(name, task, way, dataset, capsys):
    content, message = FILES[name]
    for path in (dataset.train, dataset.val):
        path.write_bytes(content)
        refused(dataset, task, way, re.escape(str(path)) + ".*" + message, capsys)
        dataset.restore()


@both_ways
@pytest.mark.parametrize("task", RECIPES)
@pytest.mark.parametrize("kind", ["folder", "FIFO", "link to itself", "device"])
def test_what_is_no_file(kind, task, way, dataset, capsys):
    """A FIFO without a writer would wait for ever."""
    dataset.train.unlink()
    try:
        if kind == "folder":
            dataset.train.mkdir()
        elif kind == "FIFO":
            os.mkfifo(dataset.train)
        else:
            dataset.train.symlink_to(dataset.train if kind == "link to itself" else "/dev/zero")
        message = "no annotation format recognises it" if kind == "folder" else "data.train: no annotation file"
        refused(dataset, task, way, message, capsys)
    finally:
        if kind == "folder":
            dataset.train.rmdir()


def texts(content):
    """Ids as text, everywhere."""
    for row in content["images"]:
        row["id"] = str(row["id"])
    for row in content["annotations"]:
        row["image_id"] = str(row["image_id"])


def without_fields(content):
    for row in content["annotations"]:
        for name in ("area", "iscrowd", "num_keypoints", "id"):
            del row[name]


USABLE = {
    "BOM": (lambda content: None, "utf-8-sig", ""),
    "UTF-16": (lambda content: None, "utf-16", ""),
    "ids of text": (texts, "utf-8", ""),
    "no area, iscrowd, num_keypoints, id": (without_fields, "utf-8", ""),
    "bbox infinite": (first(bbox=[0, 0, INF, 5]), "utf-8", "1 with NaN or infinite numbers"),
    "area NaN": (first(area=NAN), "utf-8", "1 with NaN or infinite numbers"),
    "area negative": (first(area=-5), "utf-8", "1 without area"),
    "bbox negative": (first(bbox=[5, 5, -9, -9]), "utf-8", "1 without area"),
    "visibility 7": (point(2, 7), "utf-8", ""),
    "keypoint NaN": (point(0, NAN), "utf-8", "1 with NaN or infinite numbers"),
    "image of another file": (first(image_id=99), "utf-8", "1 of images that are not in the file"),
}


@pytest.mark.slow
@pytest.mark.parametrize("task", RECIPES)
@pytest.mark.parametrize("name", USABLE)
def test_usable_files(name, task, dataset, capsys):
    """Fields are derived, annotations that cannot be used are counted; the run trains."""
    change, encoding, row = USABLE[name]
    content = copy.deepcopy(CONTENT)
    change(content)
    dataset.train.write_bytes(json.dumps(content).encode(encoding))
    needs_box = name.startswith(("area", "bbox"))
    if (task == "boxes" and name == "keypoint NaN") or (task == "bottom-up" and needs_box):
        row = ""  # what it does not need may be anything
    try:
        assert dataset.run(task) == 0
        assert row in capsys.readouterr().out
    finally:
        shutil.rmtree(dataset.folder / "run", ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize("task", RECIPES)
def test_images_that_cannot_be_decoded(task, dataset, capsys):
    """Named by the check."""
    (dataset.folder / "1.png").write_bytes(b"not an image")
    try:
        assert dataset.run(task, "--check") == 1
        assert f"cannot be decoded: {dataset.folder / '1.png'}" in capsys.readouterr().out
    finally:
        dataset.__init__(dataset.folder)
