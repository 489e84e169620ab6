"""Rendered people with exact keypoints, and the command on them with this project's demo weights."""

import json

import cv2
import numpy as np
import pytest
from conftest import ROOT

from tinypose_torch.cli import main
from tinypose_torch.data.formats.ai_challenger import coco_category
from train.synthetic.scenes import render_scene

PEOPLE = (1, 2, 4, 1)  # painted in each image; all of them can be seen
POSE = ("tinypose_128x96", ROOT / "weights/tinypose_128x96_demo.safetensors")
DETECTOR = ("picodet_s_192_lcnet_pedestrian", ROOT / "weights/picodet_s_192_demo.safetensors")


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    """Folder of ``val.json`` and its images."""
    folder = tmp_path_factory.mktemp("rendered")
    content = {"images": [], "annotations": [], "categories": [coco_category()]}
    for index, count in enumerate(PEOPLE):
        image, people = render_scene(np.random.default_rng([3, index]), people_count=count)
        name = f"{index}.jpg"
        cv2.imwrite(str(folder / name), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        content["images"].append({"id": index + 10, "file_name": name, "height": 240, "width": 320})
        for person in people:
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": index + 10,
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": list(person.bbox),
                    "area": person.area,
                    "keypoints": person.keypoints.reshape(-1).tolist(),
                    "num_keypoints": int((person.keypoints[:, 2] > 0).sum()),
                }
            )
    assert len(content["annotations"]) == sum(PEOPLE)
    (folder / "val.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def evaluate(rendered, tmp_path):
    """Runs the command; gives the figures."""

    def run(*options, network=None, annotations=None):
        network = network or ["--pose", POSE[0], "--weights", POSE[1]]
        given = ["--annotations", annotations or rendered / "val.json", "--images", rendered, *options]
        figures = tmp_path / "figures.json"
        assert main(["evaluate", *map(str, network), *map(str, given), "--json", str(figures)]) == 0
        return json.loads(figures.read_text())

    return run


@pytest.fixture
def changed(rendered, tmp_path):
    """Writes an annotation file like the rendered one, changed by a function."""

    def write(change):
        content = json.loads((rendered / "val.json").read_text())
        change(content)
        path = tmp_path / "changed.json"
        path.write_text(json.dumps(content))
        return path

    return write
