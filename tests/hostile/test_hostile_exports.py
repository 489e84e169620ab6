"""Exports whose photos are damaged: those that cannot be used are named and left out."""

import pytest
from conftest import ROOT

from hostile.images import FAILS, READ, damaged, false_files, sound_files
from tinypose_torch.cli import main
from tinypose_torch.cli.photos import photos_for_network
from tinypose_torch.models.registry import get_config

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


@pytest.mark.parametrize("name", ["tinypose_128x96", "picodet_s_192_lcnet_pedestrian", "higherhrnet_w32_512"])
def test_broken_images_among_others(name, tmp_path, caplog):
    """What int8 is calibrated on, and receipts are made of: the images that can be read."""
    cases = {name: case for name, case in damaged().items() if case[1] == FAILS}
    cases["new\nline.png"] = b"nothing", FAILS
    fill(tmp_path / "photos", cases | {"sound.png": (sound_files()["png"], READ)})
    entry = get_config(name)
    assert photos_for_network(str(tmp_path / "photos"), entry).shape == (1, *entry.input_size, 3)
    left_out = [message for message in caplog.messages if " is left out: " in message]
    assert len(left_out) == len(cases) > 20
    assert all(message.isprintable() for message in left_out)
