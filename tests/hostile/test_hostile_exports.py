"""Exports whose photos are damaged: those that cannot be used are named and left out."""

import json

import pytest
from conftest import ROOT, photos_of_people
from PIL import Image

from hostile.images import FAILS, damaged, false_files, sound_files
from tinypose_torch.cli import main

POSE = ["tinypose_128x96", "--weights", str(ROOT / "weights/tinypose_128x96_demo.safetensors")]


def fill(folder, cases):
    folder.mkdir()
    for name, (content, _) in cases.items():
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("precision", "detector"), [("int8", []), ("fp32", ["--detector", "picodet_s_192_lcnet_pedestrian"])]
)
def test_nothing_but_broken_images(detector, precision, tmp_path, capsys, caplog):
    """One line, before anything is exported."""
    cases = {name: case for name, case in false_files().items() if case[1] == FAILS and name != "bomb.png"}
    fill(tmp_path / "photos", cases)
    if detector:
        detector = [*detector, "--detector-weights", str(ROOT / "weights/picodet_s_192_demo.safetensors")]
    arguments = ["export", *POSE, *detector, "--precision", precision, "--images", str(tmp_path / "photos")]
    assert main([*arguments, "--output", str(tmp_path / "x.pte")]) == 2
    errors = capsys.readouterr().err
    assert errors.count("tinypose: error: ") == 1
    assert f"tinypose: error: none of the {len(cases)} images in {tmp_path / 'photos'} can be used\n" in errors
    assert len(caplog.messages) == len(cases)
    assert all(message.isprintable() for message in caplog.messages)
    assert not (tmp_path / "x.pte").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "precision"), [("torchscript", "fp32"), ("executorch", "int8")])
def test_broken_images_among_others(kind, precision, tmp_path, capsys, caplog):
    """The file is made from the images that can be read, and the receipt counts them."""
    pytest.importorskip(kind if kind == "executorch" else "torch")
    cases = {name: case for name, case in damaged().items() if case[1] == FAILS}
    cases["new\nline.png"] = sound_files()["png"][:100], FAILS
    fill(tmp_path / "photos", cases)
    for number, photo in enumerate(photos_of_people()):
        Image.fromarray(photo).save(tmp_path / f"photos/people {number}.png")
    output = tmp_path / ("x.pte" if kind == "executorch" else "x.torchscript")
    arguments = ["export", *POSE, "--format", kind, "--precision", precision, "--images", str(tmp_path / "photos")]
    assert main([*arguments, "--output", str(output)]) == 0
    left_out = [message for message in caplog.messages if " is left out: " in message]
    assert len(left_out) == len(cases) > 20
    assert all(message.isprintable() for message in left_out)
    (receipt,) = (json.loads(path.read_text()) for path in tmp_path.glob("*.receipt.json"))
    assert f"{len(photos_of_people())} photos" in json.dumps(receipt)
