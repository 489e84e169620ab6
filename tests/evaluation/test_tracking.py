"""Identity scores on cases that can be counted by hand; rendered videos."""

import json
import re
import sys
from itertools import pairwise

import numpy as np
import pytest

from tinypose_torch.cli import main
from tinypose_torch.evaluation.tracking import People, score_tracking
from tinypose_torch.utils.hints import install_hint
from train.synthetic.videos import render_video


def people(**places):
    """Ids and boxes of 10 x 20 pixels at x."""
    ids = np.array([int(name[1:]) for name in places])
    boxes = np.array([[x, 0, x + 10, 20] for x in places.values()], float).reshape(-1, 4)
    return People(ids, boxes)


def test_perfect():
    frames = [people(_1=0, _2=50), people(_1=3, _2=47)]
    assert score_tracking(frames, frames) == (1.0, 1.0, 0, 1.0, 1.0)


def test_a_switch():
    """Four frames of one person, the last under another id: 3 of 4 kept, 1 of 4 wrong."""
    truth = [people(_1=x) for x in range(4)]
    found = [people(_7=x) for x in range(3)] + [people(_8=3)]
    assert score_tracking(truth, found) == (pytest.approx(3 / 4), pytest.approx(2 * 3 / 8), 1, 1.0, 1.0)


def test_missed_and_false():
    truth = [people(_1=0), people(_1=0)]
    found = [people(), people(_4=0, _5=200)]
    assert score_tracking(truth, found) == (pytest.approx(0), pytest.approx(2 * 1 / 4), 0, 0.5, 0.5)


def test_swapped_people():
    truth = [people(_1=0, _2=50)] * 2
    found = [people(_1=0, _2=50), people(_1=50, _2=0)]
    scores = score_tracking(truth, found)
    assert scores.switches == 2
    assert scores.idf1 == pytest.approx(0.5)


def test_nothing_at_all():
    assert score_tracking([people()], [people()]) == (0.0, 0.0, 0, 0.0, 0.0)


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "motmetrics", None)
    with pytest.raises(RuntimeError, match=re.escape(install_hint("train"))):
        score_tracking([people()], [people()])


def followed(tmp_path, name="tracks.jsonl", **changes):
    """What predict --track writes: two frames of a person, found in both, and in the second of somebody else."""
    keypoints = [[0, 0, 1]] * 17
    poses = [[{"id": 4, "box": [0, 0, 10, 20], "score": 1, "keypoints": keypoints}] for _ in range(2)]
    poses[1].append({"id": 5, "box": [200, 0, 210, 20], "score": 1, "keypoints": keypoints})
    records = [{"image": "a.mp4", "frame": f, "time": f / 30, "poses": p, **changes} for f, p in enumerate(poses)]
    path = tmp_path / name
    path.write_text("\n".join(map(json.dumps, records)) if name.endswith("l") else json.dumps(records))
    return path


TRUTH = (
    "1,1,0,0,10,20,1,1,1.0\n2,1,0,0,10,20,1,1,1.0\n2,2,50,0,10,20,0,1,1.0\n2,3,90,0,9,9,1,3,1\n3,1,1,0,10,20,1,1,1\n"
)


@pytest.mark.parametrize("name", ["tracks.jsonl", "tracks.json"])
def test_command(name, tmp_path, capsys):
    """Three people in the truth that count, two of them found, and one false: MOTA 1 - 2 / 3."""
    (tmp_path / "gt.txt").write_text(TRUTH)
    given = ["--tracks", followed(tmp_path, name), "--annotations", tmp_path / "gt.txt", "--json", tmp_path / "x.json"]
    assert main(["evaluate", *map(str, given)]) == 0
    figures = json.loads((tmp_path / "x.json").read_text())
    assert figures["MOTA"] == pytest.approx(1 / 3)
    assert figures["IDF1"] == pytest.approx(2 * 2 / 6)
    assert (figures["switches"], figures["recall"], figures["precision"]) == (
        0,
        pytest.approx(2 / 3),
        pytest.approx(2 / 3),
    )
    assert "MOTA" in capsys.readouterr().out


BAD = {
    "no truth": ("gone.txt", None, None, "no annotation file"),
    "words": ("gt.txt", "frame,id\n", None, "line 1: 'frame,id'; expected frame, id, left, top, width, height"),
    "frame 0": ("gt.txt", "0,1,0,0,10,20\n", None, "frames from 1"),
    "NaN": ("gt.txt", "1,1,nan,0,10,20\n", None, "finite numbers"),
    "empty": ("gt.txt", "\n", None, "no people in the file"),
    "not followed": ("gt.txt", TRUTH, {"poses": [{"box": [0, 0, 1, 1]}]}, "writes: 'id' is missing"),
    "photos": ("gt.txt", TRUTH, {"frame": None}, "not what tinypose predict --track --json writes"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(case, tmp_path, capsys):
    name, truth, changes, message = BAD[case]
    if truth is not None:
        (tmp_path / name).write_text(truth)
    tracks = followed(tmp_path, **(changes or {}))
    assert main(["evaluate", "--tracks", str(tracks), "--annotations", str(tmp_path / name)]) == 2
    assert message in capsys.readouterr().err


def test_options_that_do_not_go_together(tmp_path, capsys):
    (tmp_path / "gt.txt").write_text(TRUTH)
    common = ["evaluate", "--annotations", str(tmp_path / "gt.txt")]
    assert main([*common, "--tracks", str(followed(tmp_path)), "--flip"]) == 2
    assert "--flip has no effect on --tracks" in capsys.readouterr().err
    assert main(common) == 2
    assert "--images is missing" in capsys.readouterr().err


def test_rendered_videos_are_the_same_again_and_keep_identities():
    first, again = (list(render_video(np.random.default_rng(4), (120, 160), 3, 6)) for _ in range(2))
    assert all(np.array_equal(one, two) for (one, _), (two, _) in zip(first, again, strict=True))
    still = [frame[1].keypoints for _, frame in first]
    assert all(np.array_equal(places[:, :2], still[0][:, :2]) for places in still), "the first one stands still"
    moved = [
        abs(one[identity].bbox[0] - other[identity].bbox[0])
        for (_, one), (_, other) in pairwise(first)
        for identity in one.keys() & other.keys()
        if identity > 1
    ]
    assert moved
    assert max(moved) < 12
