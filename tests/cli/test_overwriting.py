"""Outputs replace earlier results of the same command, and nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, gradient_image, write_video
from PIL import Image

from convert.__main__ import main as convert
from tinypose_torch import create_model
from tinypose_torch.cli import main
from tinypose_torch.export.receipt import compare
from tinypose_torch.runtime import EagerRunner
from tinypose_torch.runtime.checksums import seal
from tinypose_torch.utils.images import find_inputs, save_png
from tinypose_torch.utils.outputs import overlay_paths
from tinypose_torch.utils.provenance import is_overlay, is_own_output, printable

DEMO = ["--detector", "picodet_s_192_lcnet_pedestrian", "--pose", "tinypose_128x96"]
DEMO += ["--detector-weights", str(ROOT / "weights/picodet_s_192_demo.safetensors")]
DEMO += ["--pose-weights", str(ROOT / "weights/tinypose_128x96_demo.safetensors")]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def photo(path):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(gradient_image(60, 80)).save(path)
    return Path(path)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("files", "arguments", "message"),
    [
        (
            ["v2/x.jpg", "v2/x.png"],
            ["v2", "--output", "v2"],
            "the overlay of v2/x.jpg, v2/x.png would replace an input, v2/x.png",
        ),
        (["v2/x.png"], ["v2", "--output", "v2", "--overwrite"], "v2/x.png would replace an input"),
        (["x.jpg", "v/x.png"], ["x.jpg", "--output", "v"], "v/x.png exists and is no earlier result"),
        (
            ["x.jpg", "photo.jpg"],
            ["x.jpg", "--json", "photo.jpg"],
            "--json photo.jpg exists and is no earlier result; name another file, or replace it with --overwrite",
        ),
        (["x.jpg"], ["x.jpg", "--json", "x.jpg", "--overwrite"], "--json x.jpg would replace an input, x.jpg"),
        (["x.jpg", "v/a.png"], ["x.jpg", "--json", "v", "--overwrite"], "v is a folder; name a file"),
        (
            ["x.jpg"],
            ["x.jpg", "--output", "v", "--json", "v/x.png"],
            "--json and the overlay of x.jpg, name the same file",
        ),
        (["x.jpg", "v.png"], ["x.jpg", "--output", "v.png"], "--output v.png is a file; name a folder"),
        (["x.jpg"], ["x.jpg", "--json", "/dev/null", "--overwrite"], "--json /dev/null is not a regular file"),
    ],
)
def test_refused_before_any_work(files, arguments, message, folder, capsys):
    for file in files:
        photo(file)
    before = contents(folder)
    assert main(["predict", *arguments, "--pose-weights", "none.pdparams"]) == 2, "weights are not even looked for"
    assert message in capsys.readouterr().err
    assert contents(folder) == before


def test_video_beside_its_overlay(folder, capsys):
    """`clip.mov` would become `clip.mp4`, which is a recording."""
    write_plain_video(folder / "clip.mp4")
    write_plain_video(folder / "clip.mov")
    before = contents(folder)
    assert main(["predict", "clip.mov", *DEMO, "--output", "."]) == 2
    assert "clip.mp4 exists and is no earlier result" in capsys.readouterr().err
    assert contents(folder) == before
    assert main(["predict", "clip.mov", *DEMO, "--output", ".", "--overwrite"]) == 0
    assert is_overlay("clip.mp4")


def write_plain_video(path):
    """As a camera writes it."""
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        file.mux(stream.encode(av.VideoFrame.from_ndarray(gradient_image(), format="rgb24")))
        file.mux(stream.encode())


@pytest.mark.parametrize(
    "output",
    [
        [],
        pytest.param(["--output", "."], marks=pytest.mark.slow),
        pytest.param(["--output", "sub/deep"], marks=pytest.mark.slow),
    ],
)
def test_running_twice(output, folder):
    """Earlier results are replaced, and overlays are no inputs."""
    photo("a.jpg")
    photo("sub/b.jpg")
    arguments = ["predict", ".", *DEMO, *output, "--json", "poses.json"]
    assert main(arguments) == 0
    first = contents(folder)
    assert main(arguments) == 0
    assert contents(folder) == first
    assert len(json.loads((folder / "poses.json").read_text())) == 2


def test_video_twice(folder):
    write_video(folder / "in.mp4", frames=2)
    arguments = ["predict", "in.mp4", *DEMO, "--output", "out", "--json", "x.jsonl"]
    assert [main(arguments), main(arguments)] == [0, 0]
    assert len((folder / "x.jsonl").read_text().splitlines()) == 2


def test_own_outputs_are_recognised(folder):
    save_png(gradient_image(), folder / "own.png")
    photo("plain.png")
    Image.fromarray(gradient_image()).save("named tinypose-torch.png")
    texts = {
        "a.json": '[\n{"image": "a \\"b\\".jpg", "poses": []}\n]\n',
        "b.jsonl": '{"image": "v.mp4", "frame": 0, "time": 0.0, "poses": []}\n',
        "empty.json": "[]\n",
        "killed.jsonl": "",
        "no.json": '{"image": "a.jpg", "caption": "mine"}',
        "coco.json": '{"images": [], "annotations": []}',
        "notes.txt": "[]",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    recording = b"\0\0\0\x18ftypmp42" + bytes(100_000)
    (folder / "camera.mp4").write_bytes(recording)
    (folder / "cpp.mp4").write_bytes(recording + b"\0\0\0\x16freetinypose-torch")  # as deploy/cpp ends it
    own = {path.name for path in folder.iterdir() if is_own_output(path)}
    assert own == {"own.png", "a.json", "b.jsonl", "empty.json", "killed.jsonl", "cpp.mp4"}
    assert not is_own_output(folder)
    assert not is_own_output("missing")
    files, missing = find_inputs(["*.png", "."])
    assert sorted(files) == ["named tinypose-torch.png", "plain.png"]
    assert missing == []
    assert find_inputs(["own.png"])[0] == ["own.png"], "asked for by its name"


def test_overlay_names(folder):
    sources = [
        "a/x.jpg",
        "b/x.png",
        "c/X.jpg",
        "x_2.jpg",
        "clip.mov",
        "x.mp4",
        "webcam:1",
        "y" * 255,
        "é" * 126 + ".jpg",
    ]
    names = [path.name for path in overlay_paths(Path("out"), sources).values()]
    assert names[:7] == ["x.png", "x_2.png", "X_3.png", "x_2_2.png", "clip.mp4", "x.mp4", "webcam_1.mp4"]
    assert len({name.casefold() for name in names}) == len(names)
    assert max(len(name.encode()) for name in names) <= 255
    many = overlay_paths(Path("out"), [f"{index}/x.jpg" for index in range(20_000)])
    assert len(set(many.values())) == 20_000, "in a time that does not grow with their square"


def test_printable():
    assert printable("a b.jpg é 中") == "a b.jpg é 中"
    assert printable("x\udcff.jpg") == "x\\udcff.jpg"
    assert np.all([ord(letter) < 0xD800 or ord(letter) > 0xDFFF for letter in printable("\ud800\udcff")])


def test_export(folder, capsys):
    """A file whose checksum is right may be made again, with its receipt or without; any other stays."""
    Path("x.pte").write_bytes(b"exported")
    arguments = ["export", "tinypose_128x96", "--weights", "none.pdparams", "--output", "x.pte"]
    assert main(arguments) == 2
    assert "--output x.pte exists and is no earlier result" in capsys.readouterr().err
    Path("x.pte").write_bytes(seal(b"exported"))
    for again in (arguments, [*arguments, "--overwrite"]):
        assert main(again) == 2
        assert "no weight file 'none.pdparams'" in capsys.readouterr().err
    Path("x.pte").write_bytes(b"something else")
    assert main(arguments) == 2
    assert "--output x.pte exists and is no earlier result" in capsys.readouterr().err


def test_convert(folder, capsys):
    weights = folder / "trained.safetensors"
    weights.write_bytes((ROOT / "weights/tinypose_128x96_demo.safetensors").read_bytes())
    trained = weights.read_bytes()
    base = ["--model", "tinypose_128x96", "--receipt", str(folder)]
    assert convert([str(weights), *base, "--output", "trained.safetensors", "--overwrite"]) == 2
    assert "--output trained.safetensors would replace an input" in capsys.readouterr().err
    for output, overwrite in (("new.safetensors", []), ("new.safetensors", []), ("kept.safetensors", ["--overwrite"])):
        Path("kept.safetensors").write_bytes(trained)
        assert convert([str(weights), *base, "--output", output, *overwrite]) == 0
        assert is_own_output(output)
    Path("kept.safetensors").write_bytes(trained)
    assert convert([str(weights), *base, "--output", "kept.safetensors"]) == 2
    assert "kept.safetensors exists and is no earlier result" in capsys.readouterr().err
    assert Path("kept.safetensors").read_bytes() == weights.read_bytes() == trained


def test_receipt_without_nan():
    """A network of damaged weights is no network to compare with."""
    network = create_model("tinypose_128x96")
    runner = EagerRunner(create_model("tinypose_128x96"))
    torch.nn.init.constant_(next(iter(network.parameters())), float("nan"))
    with pytest.raises(ValueError, match="tinypose_128x96: NaN or infinite outputs on 1 photo"):
        compare(runner, network, np.zeros((1, 128, 96, 3), np.uint8), "1 photo", {})
