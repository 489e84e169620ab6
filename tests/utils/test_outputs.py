"""No output of a command replaces one of its inputs."""

import os

import pytest
from PIL import Image

from tinypose_torch.cli import main
from tinypose_torch.utils.outputs import check_outputs


def test_inputs_under_other_names(tmp_path, monkeypatch):
    (tmp_path / "ann.json").write_text("{}")
    (tmp_path / "link.json").symlink_to("ann.json")
    os.link(tmp_path / "ann.json", tmp_path / "hard.json")
    monkeypatch.chdir(tmp_path)
    for name in ("ann.json", "./ann.json", str(tmp_path / "ann.json"), "link.json", "hard.json"):
        for given in ("ann.json", "link.json"):
            with pytest.raises(ValueError, match=f"--json {name.removeprefix('./')} would replace an input, {given}"):
                check_outputs({"--json": name}, [None, given])
    check_outputs({"--json": "other.json", "--plot": None}, ["ann.json", "gone.json"])


def test_images_of_a_folder(tmp_path):
    (tmp_path / "images/deep").mkdir(parents=True)
    for name in ("images/deep/a.JPG", "images/figures.json", "b.png"):
        (tmp_path / name).write_text("x")
    (tmp_path / "images/b.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "images/broken.png").symlink_to(tmp_path / "gone.png")
    for name in ("images/deep/a.JPG", "b.png"):
        with pytest.raises(ValueError, match="would replace an input"):
            check_outputs({"--json": tmp_path / name}, images=tmp_path / "images")
    check_outputs({"--json": tmp_path / "images/figures.json"}, images=tmp_path / "images")
    with pytest.raises(ValueError, match="would replace an input"):  # of a deployed model
        check_outputs({"--json": tmp_path / "images/figures.json"}, [tmp_path / "images"])


def test_folders_and_one_file_twice(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match=f"--json .* cannot be written: {tmp_path / 'file'} is no folder"):
        check_outputs({"--json": tmp_path / "file/deep/a.json"})
    check_outputs({"--json": tmp_path / "new/deep/a.json"})
    assert not (tmp_path / "new").exists()
    with pytest.raises(ValueError, match=f"--json {tmp_path} is a folder; name a file"):
        check_outputs({"--json": tmp_path})
    with pytest.raises(ValueError, match="--json and --predictions name the same file"):
        check_outputs({"--json": tmp_path / "a", "--predictions": f"{tmp_path}/./a"})


COMMANDS = {
    "annotations": ["evaluate", "--annotations", "{file}", "--json", "{file}"],
    "predictions": ["evaluate", "--annotations", "{file}", "--predictions", "{file}"],
    "detections": ["evaluate", "--annotations", "a.json", "--detections", "{file}", "--json", "{file}"],
    "truth": ["evaluate", "--annotations", "a.json", "--truth", "{file}", "--json", "{file}"],
    "weights": ["evaluate", "--annotations", "a.json", "--weights", "{file}", "--json", "{file}"],
    "detector": [
        "evaluate",
        "--annotations",
        "a.json",
        "--with-detector",
        "picodet_s_192_pedestrian",
        "--detector-weights",
        "{file}",
        "--predictions",
        "{file}",
    ],
    "tracks": ["evaluate", "--annotations", "a.txt", "--tracks", "{file}", "--json", "{file}"],
    "photo": ["predict", "{photo}", "--json", "{photo}"],
    "pose weights": ["predict", "{photo}", "--pose-weights", "{file}", "--json", "{file}"],
    "exported": ["export", "tinypose_128x96", "--weights", "{file}", "--output", "{file}"],
    "calibration": ["export", "tinypose_128x96", "--images", "{folder}", "--output", "{photo}"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands(name, tmp_path, capsys):
    """Said before anything else is looked at, and the file stays."""
    names = {"file": tmp_path / "input.json", "photo": tmp_path / "photo.png", "folder": tmp_path}
    names["file"].write_text("precious")
    Image.new("RGB", (8, 8)).save(names["photo"])
    before = names["photo"].read_bytes()
    assert main([word.format_map(names) for word in COMMANDS[name]]) == 2
    assert "would replace an input" in capsys.readouterr().err
    assert names["file"].read_text() == "precious"
    assert names["photo"].read_bytes() == before
