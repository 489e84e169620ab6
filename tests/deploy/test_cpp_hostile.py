"""The C++ program refuses wrong arguments, files, descriptions and results: one line, a documented status, no output."""

import json
import os
import stat
import struct
import zlib

import cv2
import numpy as np
import pytest
from conftest import gradient_image
from cpp_programs import (
    FAR_AWAY,
    FRAME,
    NO_PEOPLE,
    NOT_FINITE,
    describe_app,
    files_in,
    run,
    shared_program,
    shared_small_app,
    write_described,
)

from tinypose_torch.checkpoints.errors import CheckpointError
from tinypose_torch.runtime.app_metadata import AppMetadata
from tinypose_torch.runtime.checksums import seal

pytestmark = pytest.mark.slow  # the program is built first


@pytest.fixture(scope="module")
def program(tmp_path_factory, worker_id):
    return shared_program(tmp_path_factory, worker_id)


@pytest.fixture(scope="module")
def app(tmp_path_factory, worker_id):
    return shared_small_app(tmp_path_factory, worker_id)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), gradient_image())
    return path


def check_refusal(result, message):
    """One line that says what is wrong, and exit status 2."""
    assert result.returncode == 2, (result.returncode, result.stdout, result.stderr)
    assert result.stdout == ""
    assert result.stderr.startswith("tinypose: error: ")
    assert result.stderr.endswith("\n")
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert message in result.stderr, result.stderr


ARGUMENTS = {
    "no arguments": ([], "--app is missing"),
    "unknown option": (["--wrong", "1"], "unknown option '--wrong'"),
    "control characters": (["--a\nb\x1b[2J"], r"unknown option '--a\nb\x1b[2J'"),
    "empty option": ([""], "unknown option ''"),
    "value is missing": (["--image", "PHOTO", "--json"], "--json needs a value"),
    "empty image": (["--image", ""], "--image is empty"),
    "empty JSON": (["--image", "PHOTO", "--json", ""], "--json is empty"),
    "no input": ([], "give one of --image"),
    "two inputs": (["--image", "PHOTO", "--video", "PHOTO"], "give one of --image"),
    "negative threads": (["--image", "PHOTO", "--threads", "-3"], "--threads -3: expected an integer from 1 to "),
    "no threads": (["--image", "PHOTO", "--threads", "0"], "expected an integer from 1 to "),
    "half a thread": (["--image", "PHOTO", "--threads", "1.5"], "expected an integer from 1 to "),
    "NaN threads": (["--image", "PHOTO", "--threads", "nan"], "expected an integer from 1 to "),
    "NaN threshold": (["--image", "PHOTO", "--keypoint-threshold", "nan"], "expected a number from 0 to 1"),
    "no such image": (["--image", "missing\n.png"], r"cannot open missing\n.png: there is no such file"),
    "image is a folder": (["--image", "."], ".: is a folder, not a file"),
    "image is a device": (["--image", "/dev/zero"], "/dev/zero: is not a regular file"),
    "image is a pipe": (["--image", "PIPE"], "is not a regular file"),
    "name is too long": (["--image", "x" * 5000], "File name too long"),
    "image is no image": (["--image", "APP"], "no image that can be read"),
    "folder is a file": (["--image-dir", "PHOTO"], "photo.png is no folder"),
    "folder without images": (["--image-dir", "EMPTY"], "holds no images"),
    "no such video": (["--video", "rtsp://127.0.0.1:9/x"], "no video that can be read"),
    "video is empty": (["--video", "NOTHING"], "no video that can be read"),
    "video is an app": (["--video", "APP"], "no video that can be read"),
    "output is a file": (["--image", "PHOTO", "--output", "TEXT"], "text.txt is a file; name a folder"),
    "output in a file": (["--image", "PHOTO", "--output", "TEXT/x"], "is no folder that can be written to"),
    "JSON is a folder": (["--image", "PHOTO", "--json", "EMPTY"], "empty is a folder; name a file"),
    "JSON is a device": (["--image", "PHOTO", "--json", "/dev/null"], "/dev/null is not a regular file"),
    "no such app": (["--image", "PHOTO", "--app", "none.pte"], "cannot open none.pte: there is no such file"),
    "app is a folder": (["--image", "PHOTO", "--app", "."], ".: is a folder, not a file"),
    "app is a pipe": (["--image", "PHOTO", "--app", "PIPE"], "is not a regular file"),
    "app is text": (["--image", "PHOTO", "--app", "TEXT"], "has no checksum at its end"),
    "app is empty": (["--image", "PHOTO", "--app", "NOTHING"], "has no checksum at its end"),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments(case, program, app, photo, tmp_path):
    given, message = ARGUMENTS[case]
    names = {"PHOTO": photo, "APP": app}
    for name in ("TEXT", "NOTHING", "EMPTY", "PIPE"):
        names[name] = tmp_path / (f"{name.lower()}.txt" if name in ("TEXT", "NOTHING") else name.lower())
    names["TEXT"].write_text("some text " * 100)
    names["NOTHING"].touch()
    names["EMPTY"].mkdir()
    os.mkfifo(names["PIPE"])
    arguments = [str(names.get(word, word)).replace("TEXT/", f"{names['TEXT']}/") for word in given]
    if case != "no arguments":
        arguments = ["--app", app, "--output", tmp_path / "out", *arguments]
    before = {path.name: stat.S_IFMT(path.stat().st_mode) for path in tmp_path.iterdir()}
    check_refusal(run(program, *arguments), message)
    assert {path.name: stat.S_IFMT(path.stat().st_mode) for path in tmp_path.iterdir()} == before


def png_of_size(width, height):
    """A PNG file that claims a size and has next to no pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def encoded(suffix):
    return bytes(cv2.imencode(suffix, np.roll(gradient_image(), 9, axis=0))[1])


IMAGES = {
    "empty": (lambda: b"", "the file is empty"),
    "text": (lambda: b"nothing", "no image that can be read"),
    "cut.png": (lambda: encoded(".png")[:-200], "no image that can be read"),
    "cut.jpg": (lambda: encoded(".jpg")[:-200], "the file is cut short"),
    "cut-in-header.jpg": (lambda: encoded(".jpg")[:40], "the file is cut short"),
    "cut.bmp": (lambda: encoded(".bmp")[:-9000], "no image that can be read"),
    "cut.webp": (lambda: encoded(".webp")[:-200], "no image that can be read"),
    "0x5.png": (lambda: png_of_size(0, 5), "no image that can be read"),
    "huge claim.png": (lambda: png_of_size(70_000, 70_000), "no image that can be read"),
    "large claim.png": (lambda: png_of_size(20_000, 20_000), "no image that can be read"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images(name, program, app, tmp_path):
    content, message = IMAGES[name]
    (tmp_path / name).write_bytes(content())
    before = files_in(tmp_path)
    common = ("--app", app, "--output", tmp_path / "out")
    check_refusal(run(program, *common, "--image", tmp_path / name, "--json", tmp_path / "x.json"), message)
    assert files_in(tmp_path) == before


def test_small_and_long_images(program, app, tmp_path):
    """Sizes at which boxes, crops and overlays shrink to a pixel."""
    shapes = ((1, 1), (1, 2000), (2000, 1), (3, 2))
    for height, width in shapes:
        cv2.imwrite(str(tmp_path / f"{height}x{width}.png"), np.full((height, width, 3), 200, np.uint8))
    result = run(
        program,
        *("--app", app, "--image-dir", tmp_path, "--output", tmp_path / "out"),
        *("--json", tmp_path / "x.json"),
    )
    assert result.returncode == 0, result.stderr
    assert len(json.loads((tmp_path / "x.json").read_text())) == len(shapes)
    for height, width in shapes:
        assert cv2.imread(str(tmp_path / f"out/{height}x{width}.png")).shape == (height, width, 3)


def test_some_images_fail(program, app, photo, tmp_path):
    (tmp_path / "cut.jpg").write_bytes(encoded(".jpg")[:-200])
    (tmp_path / "bro\nken.png").write_bytes(b"nothing")
    common = ("--app", app, "--output", tmp_path / "out")
    result = run(program, *common, "--image-dir", tmp_path, "--json", tmp_path / "x.json")
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("failed: ") for line in lines)
    assert r"bro\nken.png: no image" in lines[0]
    assert [record["image"] for record in json.loads((tmp_path / "x.json").read_text())] == [str(photo)]


@pytest.mark.parametrize("change", ["cut", "longer", "flipped start", "flipped middle", "flipped end", "flipped mark"])
def test_damaged_apps(change, program, app, photo, tmp_path):
    data = bytearray(app.read_bytes())
    place = {"start": 1, "middle": len(data) // 2, "end": -1, "mark": -40}.get(change.removeprefix("flipped "))
    if place is not None:
        data[place] ^= 4
    damaged = tmp_path / "damaged.pte"
    damaged.write_bytes(data[:-7] if change == "cut" else data + b"more" if change == "longer" else data)
    lost = change in ("cut", "longer", "flipped mark")
    result = run(program, "--app", damaged, "--image", photo, "--output", tmp_path / "out")
    check_refusal(result, "has no checksum at its end" if lost else "its checksum is wrong")


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 119, 120, 65_535, 65_536, 200_000])
def test_the_checksum_is_no_promise(size, program, photo, tmp_path):
    """Sealed correctly, of sizes around those of SHA-256's blocks and of the pieces that are read, and yet no program."""
    (tmp_path / "sealed.pte").write_bytes(seal(b"\x05" * size))
    arguments = ("--app", tmp_path / "sealed.pte", "--image", photo, "--output", tmp_path / "out")
    check_refusal(run(program, *arguments), "sealed.pte: ExecuTorch refuses it")


def change(path, value):
    """A change of a description: of the entry at a path, which is removed if the value is ``"removed"``."""

    def apply(facts):
        *parents, last = path.split(".")
        for name in parents:
            facts = facts[name]
        if value == "removed":
            del facts[last]
        else:
            facts[last] = value

    return apply


UNREADABLE = "carries no description that can be read ("
DESCRIPTIONS = {
    "another format": (change("format", "tinypose-torch export 9"), "was made for 'tinypose-torch export 9'"),
    "format is a number": (change("format", 1), "was made for 1"),
    "no format": (change("format", "removed"), UNREADABLE),
    "no app": (change("app", "removed"), "holds no app; make one with: tinypose export"),
    "app is a list": (change("app", []), UNREADABLE),
    "size is zero": (change("app.frame.size", [0, 0]), UNREADABLE),
    "size is huge": (change("app.frame.size", [1 << 20, 192]), UNREADABLE),
    "size is beyond integers": (change("app.frame.size", [1 << 80, 192]), UNREADABLE),
    "size of three": (change("app.frame.size", [120, 160, 3]), UNREADABLE),
    "size is half": (change("app.frame.size", [120.5, 160]), UNREADABLE),
    "no people": (change("app.people", 0), UNREADABLE),
    "1000 people": (change("app.people", 1000), UNREADABLE),
    "people is true": (change("app.people", True), UNREADABLE),
    "no networks": (change("networks", "removed"), UNREADABLE),
    "skeleton": (change("networks.pose.skeleton", None), UNREADABLE),
    "no keypoints": (change("networks.pose.skeleton.keypoint_names", []), UNREADABLE),
    "keypoint name": (change("networks.pose.skeleton.keypoint_names", ["nose\u0085"]), UNREADABLE),
    "long keypoint name": (change("networks.pose.skeleton.keypoint_names", ["x" * 300]), UNREADABLE),
    "link beyond": (change("networks.pose.skeleton.links", [[0, 17]]), UNREADABLE),
    "link below": (change("networks.pose.skeleton.links", [[-1, 0]]), UNREADABLE),
    "state of one side": (change("app.follow.state", [9]), UNREADABLE),
    "empty state": (change("app.follow.state", [0, 9]), UNREADABLE),
    "follow is a list": (change("app.follow", []), UNREADABLE),
}
FRAME_KINDS = {
    "frame kind": (change("app.frame.kind", "uint16 HWC RGB"), UNREADABLE),
    "float frames": (change("app.frame.kind", "float32 NCHW RGB, normalised"), UNREADABLE),
    "NV21 with odd sides": (
        lambda facts: facts["app"].update(frame={"kind": "uint8 NV21", "size": [121, 160]}),
        UNREADABLE,
    ),
}
MISFITS = {  # the program in the file is another one
    "people": (change("app.people", 3), "its method forward does not fit its description"),
    "size": (change("app.frame.size", [160, 120]), "its method forward does not fit its description"),
    "pixels": (change("app.frame.kind", "uint8 HWC RGBA"), "its method forward does not fit its description"),
    "state": (change("app.follow.state", [3, 119]), "its method follow does not fit its description"),
}


@pytest.mark.parametrize("case", [*DESCRIPTIONS, *FRAME_KINDS, *MISFITS])
def test_descriptions(case, program, app, photo, tmp_path):
    """What Python refuses, C++ refuses; tests/export has the frame kinds that Python refuses."""
    facts = describe_app()
    apply, message = (DESCRIPTIONS | FRAME_KINDS | MISFITS)[case]
    apply(facts)
    if case in DESCRIPTIONS:
        with pytest.raises(CheckpointError):
            AppMetadata.from_json(json.dumps(facts))
    path = write_described(tmp_path / "x.pte", app, facts)
    result = run(program, "--app", path, "--image", photo, "--output", tmp_path / "out")
    check_refusal(result, f"{path}: {message}")


TEXTS = {
    "empty": b"",
    "more": json.dumps(describe_app()).encode() + b"{}",
    "deep": b"[" * 19_000,
    "deep object": b'{"a":' * 3_000 + b"1" + b"}" * 3_000,
    "NaN": json.dumps(describe_app()).encode().replace(b'"person_threshold": 0.5', b'"person_threshold": NaN'),
    "infinite": json.dumps(describe_app()).encode().replace(b'"person_threshold": 0.5', b'"person_threshold": 1e999'),
    "list": b"[]",
    "not UTF-8": b'{"format": "\xff"}',
    "bad escape": rb'{"format": "\x"}',
}


@pytest.mark.parametrize("case", TEXTS)
def test_texts_of_descriptions(case, program, app, photo, tmp_path):
    path = write_described(tmp_path / "x.pte", app, TEXTS[case])
    result = run(program, "--app", path, "--image", photo, "--output", tmp_path / "out")
    check_refusal(result, f"{path}: {UNREADABLE}")


def test_descriptions_in_any_language(program, app, photo, tmp_path):
    """Escaped characters, as Python writes them, and extra space."""
    facts = describe_app()
    facts["networks"]["pose"]["skeleton"]["keypoint_names"][:3] = ["코", "left 👁", 'right "eye"\\']
    path = write_described(tmp_path / "x.pte", app, json.dumps(facts, indent=1).encode() + b"\n\t ")
    result = run(program, "--app", path, "--image", photo, "--output", tmp_path / "out")
    assert result.returncode == 0, result.stderr


def test_results(program, app, tmp_path):
    """An image whose numbers are not finite is refused; one without people has an empty list."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in (0, NO_PEOPLE, FAR_AWAY, *NOT_FINITE):
        frame = np.zeros((*FRAME, 3), np.uint8)
        frame[0, 0, 2] = number  # red
        cv2.imwrite(str(photos / f"{number}.png"), frame)
    common = ("--app", app, "--output", tmp_path / "out", "--json", tmp_path / "x.json")
    result = run(program, *common, "--image-dir", photos)
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    message = "the app gave NaN or infinite numbers; check the weights"
    assert lines == [f"failed: {photos}/{number}.png: {message}" for number in NOT_FINITE]
    records = json.loads((tmp_path / "x.json").read_text())
    assert [len(record["poses"]) for record in records] == [1, 0, 1]
    assert records[2]["poses"][0]["box"] == pytest.approx([-1e30, 0, 1e30, 9])
    assert records[0]["poses"][0]["keypoints"][1] == [50.0, 60.0, 0.8]
    check_refusal(run(program, *common, "--image", photos / "3.png"), f"3.png: {message}")
