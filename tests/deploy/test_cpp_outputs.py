"""Outputs of the C++ program: always valid JSON, complete files, and nothing replaced but earlier results."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import gradient_image, write_video
from cpp_programs import FRAME, FrameBytes, describe_app, files_in, run, shared_program, shared_small_app, write_app

from tinypose_torch.utils.outputs import check_outputs
from tinypose_torch.utils.provenance import is_overlay, is_own_output, printable

pytestmark = pytest.mark.slow  # the program is built first


@pytest.fixture(scope="module")
def program(tmp_path_factory, worker_id):
    return shared_program(tmp_path_factory, worker_id)


@pytest.fixture(scope="module")
def app(tmp_path_factory, worker_id):
    return shared_small_app(tmp_path_factory, worker_id)


@pytest.fixture
def folder(tmp_path, app):
    """Photos, a clip, the app, links to them and files of others."""
    for name in ("photo.png", "other.bmp"):
        cv2.imwrite(str(tmp_path / name), gradient_image())
    write_video(tmp_path / "clip.mp4", frames=3)
    shutil.copy(app, tmp_path / "app.pte")
    (tmp_path / "link.png").symlink_to("photo.png")
    os.link(tmp_path / "photo.png", tmp_path / "hard.json")
    (tmp_path / "notes.txt").write_text('[{"image": "no poses"}]')
    (tmp_path / "taken").mkdir()
    shutil.copy(tmp_path / "other.bmp", tmp_path / "taken/photo.png")
    (tmp_path / "linked").symlink_to(".")
    return tmp_path


REFUSALS = {
    "photo": (["--image", "photo.png", "--output", "."], "would replace an input, photo.png"),
    "photo by another name": (["--image", "link.png", "--output", "out", "--json", "photo.png"], "replace an input"),
    "symlink": (["--image", "photo.png", "--output", "out", "--json", "link.png"], "would replace an input"),
    "hard link": (["--image", "photo.png", "--output", "out", "--json", "hard.json"], "would replace an input"),
    "folder by another name": (["--image", "photo.png", "--output", "linked"], "would replace an input"),
    "JSON": (["--image", "photo.png", "--output", "out", "--json", "photo.png"], "would replace an input"),
    "app": (["--image", "photo.png", "--output", "out", "--json", "app.pte"], "would replace an input"),
    "clip": (["--video", "clip.mp4", "--output", "."], "would replace an input, clip.mp4"),
    "clip as a folder": (["--video", "clip.mp4", "--output", "clip.mp4"], "clip.mp4 is a file; name a folder"),
    "photo of the folder": (["--image-dir", ".", "--output", "."], "would replace an input"),
    "file of others": (["--image", "photo.png", "--output", "out", "--json", "notes.txt"], "is no earlier result"),
    "another image": (["--image", "photo.png", "--output", "taken"], "is no earlier result"),
    "both the same": (["--image", "other.bmp", "--output", "out", "--json", "out/other.png"], "name the same file"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_nothing_is_replaced(case, program, folder, monkeypatch):
    arguments, message = REFUSALS[case]
    monkeypatch.chdir(folder)
    before = files_in(folder)
    common = ["--app", "app.pte"]
    overwrite = ["--overwrite"] if "earlier result" not in message else []  # an input is never replaced
    result = run(program, *common, *arguments, *overwrite)
    assert result.returncode == 2, result.stdout
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert files_in(folder) == before
    if "--json" in arguments and "same file" not in message:  # Python says the same
        inputs = ["photo.png", "app.pte"]
        with pytest.raises(ValueError, match="would replace an input|is no earlier result"):
            check_outputs({"--json": arguments[-1]}, inputs, overwrite=bool(overwrite))


def test_earlier_results_are_replaced(program, folder, monkeypatch):
    """Those of Python are recognised here, and these there; other files with --overwrite."""
    monkeypatch.chdir(folder)
    common = ["--app", "app.pte", "--output", "out"]
    for _ in range(2):
        for source in (["--image", "photo.png", "--json", "p.json"], ["--video", "clip.mp4", "--json", "v.json"]):
            result = run(program, *common, *source)
            assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in Path("out").iterdir()) == ["clip.mp4", "photo.png"]
    assert is_overlay("out/photo.png")
    assert is_overlay("out/clip.mp4")
    assert is_own_output("p.json")
    assert is_own_output("v.json")
    assert cv2.imread("out/photo.png").shape == (120, 160, 3)
    assert cv2.VideoCapture("out/clip.mp4").get(cv2.CAP_PROP_FRAME_COUNT) == 3
    Path("e.json").touch()
    Path("python.json").write_text('[\n{"image": "a\\"b", "frame": 3, "time": 1e-05, "poses": [')
    for name in ("e.json", "python.json"):
        assert run(program, *common, "--image", "photo.png", "--json", name).returncode == 0
    result = run(program, *common, "--image", "photo.png", "--json", "notes.txt", "--overwrite")
    assert result.returncode == 0, result.stderr
    assert json.loads(Path("notes.txt").read_text())[0]["image"] == "photo.png"
    assert not [path for path in folder.rglob("*") if ".tmp" in path.name]


def test_overlays_of_folders(program, folder, monkeypatch):
    """Equal names get numbers, and overlays are no images of the next run."""
    monkeypatch.chdir(folder)
    Path("many").mkdir()
    for name in ("a.png", "a.bmp", "A.bmp", f"{'x' * 250}.png", f"{'x' * 250}.bmp", f"{'é' * 125}.bmp"):
        shutil.copy("photo.png" if name.endswith("png") else "other.bmp", Path("many", name))
    common = ["--app", "app.pte", "--image-dir", "many"]
    result = run(program, *common, "--output", "out", "--json", "x.json")
    assert result.returncode == 0, result.stderr
    names = sorted(path.name for path in Path("out").iterdir())
    assert names[:3] == ["A.png", "a_2.png", "a_3.png"]
    assert names[3:] == sorted([f"{'x' * 250}.png", f"{'x' * 249}_2.png", f"{'é' * 125}.png"])
    shutil.copy("out/A.png", "many/overlay.png")
    assert run(program, *common, "--output", "out", "--json", "x.json").returncode == 0
    assert len(json.loads(Path("x.json").read_text())) == 6


NAMES = [
    b'say "cheese".png',
    b"back\\slash.png",
    b"a\nb\tc\x01\x7f.png",
    b"\xff\xfe.png",
    "é 👁 \u0085.png".encode(),
    b"\xed\xa0\x80\xc3.png",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_in_json(name, program, folder):
    source = os.fsencode(folder) + b"/photos/" + name
    (folder / "photos").mkdir()
    shutil.copy(folder / "photo.png", source)
    common = ["--app", folder / "app.pte", "--output", folder / "out", "--json", folder / "x.json"]
    for arguments in (["--image", source], ["--image-dir", folder / "photos"]):
        result = run(program, *common, *arguments)
        assert result.returncode == 0, result.stderr
        text = (folder / "x.json").read_bytes().decode("utf-8")
        assert [record["image"] for record in json.loads(text)] == [printable(os.fsdecode(source))]
        assert is_own_output(folder / "x.json")
    (folder / "photos" / os.fsdecode(name)).write_bytes(b"nothing")
    result = run(program, *common, "--image", source)
    assert len(result.stderr.splitlines()) == 1


def to_nv21(bgr):
    planes = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_YV12)
    chroma = planes[FRAME[0] :].reshape(2, -1)
    return np.concatenate([planes[: FRAME[0]].reshape(-1), chroma.T.reshape(-1)]).reshape(planes.shape)


PIXELS = {
    "uint8 HWC RGB": lambda bgr: bgr[..., ::-1],
    "uint8 HWC RGBA": lambda bgr: cv2.cvtColor(bgr, cv2.COLOR_BGR2RGBA),
    "uint8 HWC BGR": lambda bgr: bgr,
    "uint8 NV21": to_nv21,
}


@pytest.mark.parametrize("kind", PIXELS)
def test_pixel_formats(kind, program, tmp_path):
    """Photos are converted to the pixels that an app takes."""
    photo = np.random.default_rng(0).integers(0, 256, (*FRAME, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    frame = np.ascontiguousarray(PIXELS[kind](photo))
    facts = describe_app()
    facts["app"]["frame"]["kind"] = kind
    del facts["app"]["follow"]
    app = write_app(tmp_path / "app.pte", {"forward": (FrameBytes(), (torch.from_numpy(frame),))}, facts)
    output = ("--output", tmp_path / "out", "--json", tmp_path / "x.json")
    result = run(program, "--app", app, "--image", tmp_path / "photo.png", *output)
    assert result.returncode == 0, result.stderr
    ((person,),) = (record["poses"] for record in json.loads((tmp_path / "x.json").read_text()))
    found = np.array(person["keypoints"]).reshape(-1)
    assert found.tolist() == frame.reshape(-1)[:: frame.size // found.size][: found.size].tolist()


def test_failed_runs_leave_the_old_results(program, folder, monkeypatch):
    monkeypatch.chdir(folder)
    common = ["--app", "app.pte", "--output", "out", "--json", "x.json"]
    assert run(program, *common, "--image", "photo.png").returncode == 0
    Path("cut").mkdir()
    Path("cut/photo.png").write_bytes(Path("photo.png").read_bytes()[:-100])
    before = files_in(folder)
    assert run(program, *common, "--image", "cut/photo.png").returncode == 2
    assert files_in(folder) == before


def test_interruption(program, folder, monkeypatch):
    """Ctrl-C ends the run at the next frame and leaves nothing half done."""
    monkeypatch.chdir(folder)
    frame = cv2.imencode(".jpg", gradient_image(48, 64))[1].tobytes()
    Path("long.mjpeg").write_bytes(30_000 * frame)  # is not finished before the signal comes
    before = files_in(folder)
    command = [program, "--app", "app.pte", "--video", "long.mjpeg", "--output", "out", "--json", "x.json"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not Path("out").is_dir() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=300)
    assert process.returncode == 130
    assert message == "tinypose: interrupted; outputs that were not complete are removed\n"
    assert files_in(folder) == before
