"""Folders of unusual, damaged and hostile images: each is predicted or reported, and none ends the others."""

import json
import os
import re
import socket
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from fuzz.mutations import MEMORY, SECONDS_PER_FILE, limited_memory
from PIL import Image

from hostile.images import EITHER, FAILS, READ, all_cases, damaged, false_files, picture, sound_files
from tinypose_torch.cli import main, predict
from tinypose_torch.utils.images import find_inputs, load_image
from tinypose_torch.utils.messages import escaped
from tinypose_torch.utils.provenance import printable

POSE = ["--pose", "tinypose_128x96", "--pose-weights", str(ROOT / "weights/tinypose_128x96_demo.safetensors")]
DETECTOR = ["--detector", "picodet_s_192_lcnet_pedestrian"]
DETECTOR += ["--detector-weights", str(ROOT / "weights/picodet_s_192_demo.safetensors")]


def odd_names():
    """Sound images under names that terminals and parsers stumble over."""
    names = [
        "new\nline",
        "\x1b[31mred\x1b[0m",
        "tab\there",
        "return\rhere",
        "quote\"'`$(touch never)",
        " space ",
        "-rf",
    ]
    names += ["null\\0", "bell\a", "*", "[a]", "%s%n", "\u202egnp", "名前", "e\u0301", "\u2028", "x" * 251]
    names += [os.fsdecode(b"odd\xff\xfe"), os.fsdecode(b"\xed\xa0\x80"), ".hidden", "webcam"]
    return {f"{name}.png": (sound_files()["png"], READ) for name in names}


def add_special_files(folder):
    """Things that are no files, under names of images; gives what must become of each."""
    (folder / "folder.jpg").mkdir()
    Image.fromarray(picture()).save(folder / "folder.jpg/inside.png")
    os.mkfifo(folder / "pipe.jpg")
    os.mkfifo(folder / "pipe.png")
    (folder / "broken link.jpg").symlink_to("gone.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "link to itself").symlink_to(folder, target_is_directory=True)
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "null.jpg").symlink_to("/dev/null")
    here = os.getcwd()
    os.chdir(folder)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
    os.chdir(here)
    (folder / "locked.png").write_bytes(sound_files()["png"])
    (folder / "locked.png").chmod(0)
    names = ("pipe.jpg", "pipe.png", "broken link.jpg", "loop.jpg", "zero.png", "null.jpg", "socket.jpg")
    locked = READ if os.access(folder / "locked.png", os.R_OK) else FAILS  # root reads it
    return {**dict.fromkeys(names, FAILS), "folder.jpg/inside.png": READ, "locked.png": locked}


def fill(folder, cases):
    """Write files; gives what must become of each, by path."""
    folder.mkdir()
    for name, (content, _) in cases.items():
        (folder / name).write_bytes(content)
    expected = {name: verdict for name, (_, verdict) in cases.items()} | add_special_files(folder)
    return {str(folder / name): verdict for name, verdict in expected.items()}


def snapshot(folder):
    """Everything about the files of a folder that must stay."""
    found = {}
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = os.path.join(parent, name)
            facts = os.lstat(path)
            content = Path(path).read_bytes() if os.path.isfile(path) and os.access(path, os.R_OK) else None
            found[path] = facts.st_mode, facts.st_size, facts.st_mtime_ns, content
    return found


def refuse_constant(text):
    raise AssertionError(f"{text} is no JSON")


def check_batch(folder, expected, tmp_path, monkeypatch, capsys, options, memory=None):
    """Predict a folder, and compare what is said and written with what must become of its files."""
    before, seconds = snapshot(folder), {}
    predict_image = predict._predict_image

    def timed(estimator, source, wanted):
        began = time.process_time()
        try:
            yield from predict_image(estimator, source, wanted)
        finally:
            seconds[source] = time.process_time() - began

    monkeypatch.setattr(predict, "_predict_image", timed)
    arguments = ["predict", str(folder), *POSE, *options, "--json", str(tmp_path / "x.json")]
    if memory is None:
        status = main(arguments)
    else:
        with limited_memory(memory):
            status = main(arguments)
    out, err = capsys.readouterr()
    assert snapshot(folder) == before
    assert not seconds.keys() ^ expected.keys()
    assert max(seconds.values()) < SECONDS_PER_FILE
    lines = [line for line in re.split("[\n\r]", err) if line.startswith("failed: ")]
    failed = {
        path for path in expected if [line.startswith(f"failed: {escaped(path)}: ") for line in lines].count(True) == 1
    }
    assert len(lines) == len(failed)
    assert all(line.isprintable() for line in (*lines, *out.splitlines()))
    records = json.loads((tmp_path / "x.json").read_text(), parse_constant=refuse_constant)
    read = {record["image"] for record in records}
    assert len(read) == len(records) == len(out.splitlines())
    wrong = {path for path, verdict in expected.items() if verdict != EITHER and (path in failed) != (verdict == FAILS)}
    assert not wrong, [line for line in lines if any(escaped(path) in line for path in wrong)]
    assert not read ^ {printable(path) for path in expected.keys() - failed}
    assert status == (1 if failed else 0)
    assert f"{len(failed)} of {len(expected)} inputs failed" in err
    return records, failed


@pytest.mark.slow
def test_all_images(tmp_path, monkeypatch, capsys):
    """At most 10 s of processor time each, and 300 MB more than the size of the files."""
    cases = all_cases() | odd_names()
    assert len(cases) >= 250
    expected = fill(tmp_path / "in", cases)
    main(["predict", str(tmp_path / "in/grey.png"), *POSE, "--detector", "none", "--json", str(tmp_path / "y.json")])
    capsys.readouterr()
    size = max(len(content) for content, _ in cases.values())
    options = ["--detector", "none", "--output", str(tmp_path / "out")]
    records, failed = check_batch(
        tmp_path / "in", expected, tmp_path, monkeypatch, capsys, options, memory=MEMORY + size
    )
    assert all(len(record["poses"]) == 1 for record in records)
    assert len(list((tmp_path / "out").iterdir())) == len(records)
    assert len(failed) > 60


def test_some_images(tmp_path, monkeypatch, capsys):
    """With a detector; every 20th file, and some odd names."""
    cases = dict([*list(damaged().items())[::20], *list(odd_names().items())[::3]])
    expected = fill(tmp_path / "in", cases)
    _, failed = check_batch(tmp_path / "in", expected, tmp_path, monkeypatch, capsys, DETECTOR)
    assert len(failed) >= 10


@pytest.mark.parametrize(
    ("name", "case"),
    list((damaged() | false_files()).items())[4::7],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_bad_image_between_two_good_ones(name, case, tmp_path, monkeypatch, capsys, estimator):
    """In Python: the images before and after it have the poses that they have alone."""
    (tmp_path / f"b {name}").write_bytes(case[0])
    for other in "ac":
        Image.fromarray(picture()).save(tmp_path / f"{other}.png")
    errors = {}
    found = {frame.source: poses for frame, poses in estimator.stream(str(tmp_path), errors.__setitem__)}
    alone = estimator(picture())
    for other in "ac":
        assert np.array_equal(found[str(tmp_path / f"{other}.png")].keypoints, alone.keypoints)
    bad = str(tmp_path / f"b {name}")
    assert (bad in found) != (bad in errors)
    assert case[1] == EITHER or (bad in errors) == (case[1] == FAILS)


@pytest.fixture(scope="module")
def estimator():
    from tinypose_torch import PoseEstimator

    return PoseEstimator(None, POSE[1], pose_weights=POSE[3], backend="eager")


@pytest.mark.parametrize("name", ["pipe.png", "pipe.jpg"])
def test_pipes_are_never_opened(name, tmp_path):
    os.mkfifo(tmp_path / name)
    assert find_inputs([str(tmp_path)]) == ([str(tmp_path / name)], [])
    with pytest.raises(ValueError, match="not a regular file"):
        load_image(tmp_path / name)


def test_infinite_numbers(tmp_path):
    """They are black, and the others keep their share of the largest number."""
    values = np.array([[1, 2, np.inf], [np.nan, 4, -np.inf]], np.float32)
    Image.fromarray(values).save(tmp_path / "x.tif")
    assert load_image(tmp_path / "x.tif")[..., 0].tolist() == [[63, 127, 0], [0, 255, 0]]


def test_names_longer_than_file_systems_take(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.png").write_bytes(sound_files()["png"])
    inputs = ["good.png", "y" * 300 + ".png", "\ud800\n.png", "a" * 5000, "b/" * 3000 + "x.png"]
    assert main(["predict", *inputs, *POSE, "--detector", "none", "--json", "x.json"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("failed: ") and line.endswith(": no such file") for line in lines) == 4
    assert all(line.isprintable() for line in lines)


def test_texts_as_one_line():
    assert escaped("a\nb\x1b[31m\u202e\u2028\udcff") == r"a\nb\x1b[31m\u202e\u2028\udcff"
    shown = "名前 é 👩\u200d👧 9.41\u202fPM"  # joined emoji, and a space of macOS's screenshots
    assert escaped(shown) == shown
