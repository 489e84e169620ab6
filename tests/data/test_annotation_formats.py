"""Annotation formats: files are recognised by their content, and read as COCO's; others can be registered."""

import codecs
import json

import pytest
from PIL import Image

from tinypose_torch.data.errors import DatasetError
from tinypose_torch.data.formats import registry as annotation_formats
from tinypose_torch.data.formats.coco import read_coco
from tinypose_torch.data.formats.registry import (
    AnnotationFormat,
    find_annotation_format,
    read_annotations,
    register_annotation_format,
)

COCO = {"images": [], "annotations": [], "categories": []}
AI_CHALLENGER = [
    {
        "image_id": "a",
        "keypoint_annotations": {"human1": [30, 20, 1] * 14},
        "human_annotations": {"human1": [10, 10, 50, 60]},
    }
]
MPII = [{"joints_vis": [1] * 16, "joints": [[5, 5]] * 16, "image": "a.jpg", "scale": 1.0, "center": [9, 9]}]


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr(annotation_formats._FORMATS, "_entries", dict(annotation_formats._FORMATS._entries))


@pytest.mark.parametrize(("name", "content"), [("coco", COCO), ("ai_challenger", AI_CHALLENGER), ("mpii", MPII)])
def test_recognised(name, content, tmp_path):
    for text in (json.dumps(content), json.dumps(content, indent=2)):
        for encoded in (text.encode(), codecs.BOM_UTF8 + text.encode(), text.encode("utf-16")):
            (tmp_path / "x.json").write_bytes(encoded)
            assert find_annotation_format(tmp_path / "x.json").name == name


def test_ai_challenger_is_read_as_coco(tmp_path):
    Image.new("RGB", (80, 70)).save(tmp_path / "a.jpg")
    (tmp_path / "x.json").write_text(json.dumps(AI_CHALLENGER))
    coco = read_coco(tmp_path / "x.json", content=read_annotations(tmp_path / "x.json", tmp_path))
    assert coco.images[1]["width"] == 80
    assert coco.annotations[0]["num_keypoints"] == 12
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(DatasetError, match=r"a\.jpg"):
        read_annotations(tmp_path / "x.json", tmp_path)


def test_the_newest_format_that_recognises_a_file_reads_it(tmp_path):
    @register_annotation_format
    class Lines(AnnotationFormat):
        name = "lines"

        def recognises(self, path, start):
            return start.startswith(b"{lines}") or path.is_dir()

        def read(self, path, images):
            return {"images": [], "annotations": [], "categories": [[1][int((path / "x").read_text())]]}

    (tmp_path / "x").write_text("{lines}")
    assert find_annotation_format(tmp_path / "x").name == "lines"
    assert find_annotation_format(tmp_path / "x", "coco").name == "coco"
    for text, reason in (("0", None), ("1", "not an annotation file of format lines: .*index"), ("x", "invalid lit")):
        (tmp_path / "x").write_text(text)
        if reason is None:
            assert read_annotations(tmp_path, tmp_path)["categories"] == [1]
        else:
            with pytest.raises(DatasetError, match=reason):
                read_annotations(tmp_path, tmp_path)
    with pytest.raises(ValueError, match="annotation format 'lines' is already registered"):
        register_annotation_format(Lines)


def test_wrong_formats(tmp_path):
    with pytest.raises(TypeError, match="Nameless must have a `name`"):
        register_annotation_format(type("Nameless", (annotation_formats.CocoFormat,), {"name": None}))
    with pytest.raises(ValueError, match="metric 'F1'; choose one of AP, PCKh"):
        register_annotation_format(type("Other", (annotation_formats.CocoFormat,), {"name": "x", "metric": "F1"}))
    with pytest.raises(TypeError, match="abstract"):
        register_annotation_format(type("Unfinished", (AnnotationFormat,), {"name": "x"}))
    with pytest.raises(DatasetError, match="no annotation file 'gone'"):
        read_annotations("gone", tmp_path)
    with pytest.raises(
        DatasetError, match="no annotation format recognises it; name its format, one of coco, ai_chall"
    ):
        read_annotations(tmp_path, tmp_path)
    with pytest.raises(ValueError, match="unknown annotation format 'x'; choose one of coco, ai_challenger, mpii"):
        find_annotation_format(tmp_path, "x")
