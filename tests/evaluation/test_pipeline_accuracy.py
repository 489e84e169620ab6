"""Detector and pose network together: PaddleDetection's accuracy on the photos, and images by their number of people."""

import io
import json

import pytest
from conftest import REAL, REAL_PAIRS

from evaluation.conftest import DETECTOR, POSE
from tinypose_torch.cli import main
from tinypose_torch.data.formats.coco import read_coco
from tinypose_torch.evaluation.coco import STATISTICS
from tinypose_torch.evaluation.images import select_images

PIPELINE = ["--with-detector", DETECTOR[0], "--detector-weights", DETECTOR[1]]
EXPECTED = {
    "picodet192_tinypose128x96": "given_all5_192_det_box",
    "picodet320_tinypose256x192": "given_all5_320_det_box",
}


@pytest.mark.needs_reference
@pytest.mark.parametrize("pair", EXPECTED)
def test_recorded_accuracy(pair, tmp_path):
    detector, pose = REAL_PAIRS[pair]
    given = ["--pose", pose, "--weights", REAL / f"weights/{pose}.pdparams"]
    given += ["--with-detector", detector, "--detector-weights", REAL / f"weights/{detector}.pdparams"]
    given += ["--annotations", REAL / "annotations/person_keypoints_small.json", "--images", REAL / "images"]
    assert main(["evaluate", *map(str, given), "--json", str(tmp_path / "figures.json")]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    recorded = json.loads((REAL / "expected/ap_summary.json").read_text())["deploy_path"][EXPECTED[pair]]
    for name, value in zip(STATISTICS, recorded, strict=True):
        assert figures[name] == pytest.approx(value, abs=1e-3), name
    assert (figures["detector"], figures["detection_threshold"], figures["decoding"]) == (detector, 0.5, "dark")


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ([], [10, 11, 12, 13]),
        (["--max-people", 3], [10, 11, 13]),
        (["--single-person"], [10, 13]),
        (["--single-person", "--limit", 1], [10]),
    ],
)
@pytest.mark.parametrize("boxes", [[], PIPELINE], ids=["annotated", "pipeline"])
def test_images_are_chosen_by_people(options, ids, boxes, evaluate, changed, tmp_path, capsys):
    """The same as a file of these images alone."""
    figures = evaluate(*boxes, *options, "--predictions", tmp_path / "p.json")
    assert f"images: {len(ids)}, people found: " in capsys.readouterr().out
    assert figures["images"] == len(ids)
    assert {row["image_id"] for row in json.loads((tmp_path / "p.json").read_text())} == set(ids)

    def keep(content):
        content["images"] = [image for image in content["images"] if image["id"] in ids]
        content["annotations"] = [row for row in content["annotations"] if row["image_id"] in ids]

    alone = evaluate(*boxes, annotations=changed(keep))
    assert [figures[name] for name in STATISTICS] == [alone[name] for name in STATISTICS]


def test_groups_and_images_without_people(changed):
    """An iscrowd annotation stands for an unknown number of people; without a limit nothing is left out."""

    def change(content):
        content["images"].append({"id": 14, "file_name": "4.jpg", "height": 240, "width": 320})
        group = {**content["annotations"][0], "id": 99, "iscrowd": 1}
        content["annotations"].append(group)

    coco = read_coco(changed(change))
    assert [image.image_id for image in select_images(coco)] == [10, 11, 12, 13, 14]
    assert [image.image_id for image in select_images(coco, max_people=6)] == [11, 12, 13, 14]
    assert [image.image_id for image in select_images(coco, 1, 1)] == [13]


def test_threshold_and_decoding_matter(evaluate):
    usual = evaluate(*PIPELINE)
    assert evaluate(*PIPELINE, "--detection-threshold", 0.05)["AP"] != usual["AP"]
    assert evaluate(*PIPELINE, "--decoding", "plain")["AP"] != usual["AP"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("boxes", [[], PIPELINE], ids=["annotated", "pipeline"])
def test_table_and_progress(boxes, evaluate, capsys, monkeypatch):
    """A bar on a terminal only; figures under their names."""
    evaluate(*boxes)
    table = capsys.readouterr()
    assert table.err == ""
    header, lines, values = table.out.partition("next:")[0].splitlines()[-3:]
    assert header.split() == list(STATISTICS)
    ends = [
        [index for index, letter in enumerate(f"{row} ") if letter == " " and index and row[index - 1] != " "]
        for row in (header, lines, values)
    ]
    assert ends[0] == ends[1] == ends[2]
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    evaluate(*boxes)
    assert "100%" in terminal.getvalue()
    assert ("8/8" if not boxes else "4/4") in terminal.getvalue()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([*PIPELINE, "--flip"], "--flip is for a pose network without a detector"),
        ([*PIPELINE, "--truth", "gt.mat"], "--with-detector is for COCO files"),
        (["--with-detector", "tinypose_128x96", "--detector-weights", POSE[1]], "tinypose_128x96 is not a detector"),
        ([*PIPELINE, "--pose", "higherhrnet_w32_512", "--weights", "official"], "a bottom-up network"),
        (["--detector-weights", DETECTOR[1]], "--detector-weights is for --with-detector"),
        (["--person-class", "dog"], "--person-class is for --with-detector"),
        ([*PIPELINE, "--person-class", "dog"], "has no class 'dog'"),
        (["--detection-threshold", 0.5], "--detection-threshold is for the boxes of"),
        ([*PIPELINE, "--detection-threshold", 2], "expected 0 to 1"),
        (["--max-people", 0], "--max-people 0; at least 1 is needed"),
        ([*PIPELINE, "--single-person", "--annotations", "GROUP"], "no image with exactly 1 person"),
    ],
)
def test_wrong_options(options, message, rendered, changed, capsys):
    def several(content):
        del content["images"][3], content["images"][0]

    given = ["--pose", *POSE[:1], "--weights", POSE[1], "--annotations", rendered / "val.json", "--images", rendered]
    options = [changed(several) if option == "GROUP" else option for option in options]
    assert main(["evaluate", *map(str, [*given, *options])]) == 2
    assert message in capsys.readouterr().err


def test_a_detector_is_evaluated_alone_or_with_a_pose_network(rendered, capsys):
    given = ["--annotations", str(rendered / "val.json"), "--images", str(rendered)]
    assert main(["evaluate", "--detector", DETECTOR[0], "--with-detector", DETECTOR[0], *given]) == 2
    assert "--with-detector is for --pose NAME" in capsys.readouterr().err
    assert main(["evaluate", "--detector", DETECTOR[0], "--weights", str(DETECTOR[1]), "--single-person", *given]) == 2
    assert "--single-person is for pose networks" in capsys.readouterr().err
