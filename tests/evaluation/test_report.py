"""`tinypose evaluate --report`: its numbers, and a page that loads nothing and shows names as text."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from evaluation.conftest import POSE
from tinypose_torch.cli import main
from tinypose_torch.evaluation.report.matching import KeypointEvaluation, match_people
from tinypose_torch.evaluation.report.statistics import keypoint_groups, pck_curve, summarize_errors, summarize_groups
from tinypose_torch.evaluation.truth import read_truth
from tinypose_torch.geometry.skeletons import COCO17, Skeleton
from tinypose_torch.utils.provenance import is_own_output

pytest.importorskip("pycocotools")
pytest.importorskip("matplotlib")


def perfect(path):
    """The annotated people as predictions; keypoints without a label are predicted in the middle of the box."""
    records = []
    for row in json.loads(path.read_text())["annotations"]:
        keypoints, (x, y, width, height) = np.array(row["keypoints"], float).reshape(17, 3), row["bbox"]
        keypoints[keypoints[:, 2] == 0, :2] = x + width / 2, y + height / 2
        record = {"image_id": row["image_id"], "category_id": 1, "keypoints": keypoints.ravel().tolist(), "score": 0.9}
        records.append(record)
    return records


@pytest.fixture
def evaluation(rendered):
    def build(records):
        truth = read_truth(rendered / "val.json", keypoint_category=1)
        return KeypointEvaluation(truth, records, COCO17, COCO17.sigmas, [10, 11, 12, 13], rendered)

    return build


def test_perfect_predictions(rendered, evaluation):
    one = evaluation(perfect(rendered / "val.json"))
    matches = match_people(one)
    assert matches.oks == pytest.approx(np.ones(8))
    assert np.nanmax(matches.errors) == 0
    assert summarize_errors(matches.errors).pck == 1
    assert [one.keypoint_ap(index) for index in range(17)] == pytest.approx([1.0] * 17)


def test_errors_of_one_keypoint(rendered, evaluation):
    """A wrong nose changes the nose's figures, and no others; a missed person counts as far off."""
    records = perfect(rendered / "val.json")
    for record in records:
        record["keypoints"][0] += 40
    one = evaluation(records)
    errors = match_people(one).errors
    assert np.nanmin(errors[:, 0]) > 0.1
    assert np.nanmax(errors[:, 1:]) == 0
    assert one.keypoint_ap(0) < 0.1
    assert one.keypoint_ap(5) == pytest.approx(1)
    missed = match_people(evaluation(records[1:]))
    assert missed.oks[0] == 0
    assert np.isinf(missed.errors[0][missed.labelled[0]]).all()
    assert pck_curve(missed.errors)[20] == summarize_errors(missed.errors).pck < 1


def test_groups(rendered, evaluation):
    """Sizes and visibilities share the labelled keypoints."""
    matches = match_people(evaluation(perfect(rendered / "val.json")))
    groups = summarize_groups(matches)
    counts = {name: group.count for name, group in groups.items()}
    total = counts.pop("all keypoints")
    assert total == matches.labelled.sum()
    assert sum(counts.values()) == 2 * total
    assert list(keypoint_groups(COCO17)) == ["nose", "eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"]
    assert keypoint_groups(Skeleton("one", ("left", "x"), ((0, 0),))) == {"left": [0], "x": [1]}


class Page(HTMLParser):
    """Tags and attributes of a page, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.text += data


def test_page(rendered, changed, tmp_path, capsys):
    """Hostile names are text; nothing is loaded from elsewhere, and no script runs."""
    hostile = "<script>alert(1)</script>$x$"
    image = '"><img src=x onerror=alert(1)>.jpg'
    (tmp_path / "images").mkdir()
    for file in rendered.glob("*.jpg"):
        (tmp_path / "images" / (image if file.name == "1.jpg" else file.name)).write_bytes(file.read_bytes())

    def rename(content):
        content["images"][1]["file_name"] = image

    arguments = ["evaluate", "--pose", POSE[0], "--weights", str(POSE[1]), "--annotations", str(changed(rename))]
    arguments += ["--images", str(tmp_path / "images"), "--report", str(tmp_path / f"{hostile.replace('/', '')}.html")]
    assert main(arguments) == 0, capsys.readouterr().err
    (report,) = tmp_path.glob("*.html")
    assert f"wrote {report}" in capsys.readouterr().out
    text = report.read_text()
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "form", "a", "base"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    links = [value for name, value in page.attributes if name in ("src", "href", "xlink:href")]
    assert all(re.match(r"data:image/jpeg;base64,|#", link) for link in links)
    assert page.tags.count("img") == 8
    assert page.tags.count("svg") == 3
    policy = dict(page.attributes)["content"] and re.search(r'Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'; img-src data:")
    assert image in page.text
    assert "viewport" in text
    assert "prefers-color-scheme: dark" in text
    assert is_own_output(report)


def test_names_of_keypoints_are_text():
    """Of any characters; a formula is none."""
    from tinypose_torch.evaluation.report.charts import keypoint_chart

    names = ["<b>$\\frac$", "\x1b[31m", "膝" * 40]
    text = keypoint_chart(names, [0.5, -1, 1], [summarize_errors(np.array([0.1, np.inf]))] * 3)
    assert "&lt;b&gt;$\\frac$" in text
    assert "\x1b" not in text
    assert "no labels" in text
    assert "<metadata" not in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--detector", "picodet_s_192_lcnet_pedestrian"], "--report is for pose networks"),
        (["--truth", "gt.mat"], "--report is for COCO files"),
    ],
)
def test_refused(options, message, rendered, tmp_path, capsys):
    given = [
        "--annotations",
        str(rendered / "val.json"),
        "--images",
        str(rendered),
        "--report",
        str(tmp_path / "r.html"),
    ]
    weights = (
        ["--weights", str(POSE[1].with_name("picodet_s_192_demo.safetensors"))] if options[0] == "--detector" else []
    )
    assert main(["evaluate", *given, *options, *weights]) == 2
    assert message in capsys.readouterr().err


def test_annotations_are_needed(changed, rendered, tmp_path, capsys):
    empty = changed(lambda content: content.update(annotations=[]))
    given = ["--annotations", str(empty), "--images", str(rendered), "--report", str(tmp_path / "r.html")]
    assert main(["evaluate", "--pose", POSE[0], "--weights", str(POSE[1]), *given]) == 2
    assert "no annotations, with which --report compares" in capsys.readouterr().err
