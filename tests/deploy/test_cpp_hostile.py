"""The C++ program refuses wrong arguments, files, descriptions and results: one line, a documented status, no output."""

import dataclasses
import itertools
import json
import os
import stat
import struct
import zlib

import cv2
import numpy as np
import pytest
import torch
from conftest import gradient_image
from cpp_programs import (
    CANDIDATES,
    DETECTOR,
    POSE,
    FakeDetector,
    FakePose,
    describe,
    fake_detector,
    fake_pose,
    files_in,
    run,
    shared_build,
    write_fakes,
    write_torchscript,
)
from torch import Tensor, nn

from tinypose_torch import PoseEstimator
from tinypose_torch.checkpoints.errors import CheckpointError
from tinypose_torch.geometry.nms import GRAPH_NMS
from tinypose_torch.runtime.checksums import seal, seal_torchscript, unsealed
from tinypose_torch.runtime.metadata import ExportMetadata

pytestmark = pytest.mark.slow  # the programs are built first

INF, NAN = float("inf"), float("nan")


@pytest.fixture(scope="module")
def program(tmp_path_factory, worker_id):
    return shared_build("libtorch", tmp_path_factory, worker_id)


@pytest.fixture(scope="module")
def executorch_program(tmp_path_factory, worker_id):
    return shared_build("executorch", tmp_path_factory, worker_id)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    return write_fakes(tmp_path_factory.mktemp("networks"))


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
    "no arguments": ([], "--detector is missing"),
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
    "NaN threshold": (["--image", "PHOTO", "--detection-threshold", "nan"], "expected a number from 0 to 1"),
    "frames between": (["--video", "PHOTO", "--detect-every", "-1"], "expected an integer from 1 to 1000"),
    "follows a photo": (["--image", "PHOTO", "--smoothing", "off"], "are for --video"),
    "no such image": (["--image", "missing\n.png"], r"cannot open missing\n.png: there is no such file"),
    "image is a folder": (["--image", "."], ".: is a folder, not a file"),
    "image is a device": (["--image", "/dev/zero"], "/dev/zero: is not a regular file"),
    "image is a pipe": (["--image", "PIPE"], "is not a regular file"),
    "name is too long": (["--image", "x" * 5000], "File name too long"),
    "image is no image": (["--image", "DETECTOR"], "no image that can be read"),
    "folder is a file": (["--image-dir", "PHOTO"], "photo.png is no folder"),
    "folder without images": (["--image-dir", "EMPTY"], "holds no images"),
    "no such video": (["--video", "rtsp://127.0.0.1:9/x"], "no video that can be read"),
    "video is empty": (["--video", "NOTHING"], "no video that can be read"),
    "video is a network": (["--video", "DETECTOR"], "no video that can be read"),
    "output is a file": (["--image", "PHOTO", "--output", "TEXT"], "text.txt is a file; name a folder"),
    "output in a file": (["--image", "PHOTO", "--output", "TEXT/x"], "is no folder that can be written to"),
    "JSON is a folder": (["--image", "PHOTO", "--json", "EMPTY"], "empty is a folder; name a file"),
    "JSON is a device": (["--image", "PHOTO", "--json", "/dev/null"], "/dev/null is not a regular file"),
    "no such network": (["--image", "PHOTO", "--pose", "none.pte"], "cannot open none.pte: there is no such file"),
    "network is a folder": (["--image", "PHOTO", "--pose", "."], ".: is a folder, not a file"),
    "network is a pipe": (["--image", "PHOTO", "--pose", "PIPE"], "is not a regular file"),
    "network is text": (["--image", "PHOTO", "--pose", "TEXT"], "has no checksum at its end"),
    "networks are swapped": (["--image", "PHOTO", "--pose", "DETECTOR"], f"is {DETECTOR}, which is not for pose"),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments(case, program, networks, photo, tmp_path):
    given, message = ARGUMENTS[case]
    names = {"PHOTO": photo, "DETECTOR": networks[0]}
    for name in ("TEXT", "NOTHING", "EMPTY", "PIPE"):
        names[name] = tmp_path / (f"{name.lower()}.txt" if name in ("TEXT", "NOTHING") else name.lower())
    names["TEXT"].write_text("some text " * 100)
    names["NOTHING"].touch()
    names["EMPTY"].mkdir()
    os.mkfifo(names["PIPE"])
    arguments = [str(names.get(word, word)).replace("TEXT/", f"{names['TEXT']}/") for word in given]
    if case != "no arguments":
        arguments = ["--detector", networks[0], "--pose", networks[1], "--output", tmp_path / "out", *arguments]
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
def test_images(name, program, networks, tmp_path):
    content, message = IMAGES[name]
    (tmp_path / name).write_bytes(content())
    before = files_in(tmp_path)
    common = ("--detector", networks[0], "--pose", networks[1], "--output", tmp_path / "out")
    check_refusal(run(program, *common, "--image", tmp_path / name, "--json", tmp_path / "x.json"), message)
    assert files_in(tmp_path) == before


def test_small_and_long_images(program, networks, tmp_path):
    """Sizes at which boxes, crops and overlays shrink to a pixel."""
    shapes = ((1, 1), (1, 2000), (2000, 1), (3, 2))
    for height, width in shapes:
        cv2.imwrite(str(tmp_path / f"{height}x{width}.png"), np.full((height, width, 3), 200, np.uint8))
    result = run(
        program,
        *("--detector", networks[0], "--pose", networks[1], "--image-dir", tmp_path, "--output", tmp_path / "out"),
        *("--json", tmp_path / "x.json"),
    )
    assert result.returncode == 0, result.stderr
    assert len(json.loads((tmp_path / "x.json").read_text())) == len(shapes)
    for height, width in shapes:
        assert cv2.imread(str(tmp_path / f"out/{height}x{width}.png")).shape == (height, width, 3)


def test_some_images_fail(program, networks, photo, tmp_path):
    (tmp_path / "cut.jpg").write_bytes(encoded(".jpg")[:-200])
    (tmp_path / "bro\nken.png").write_bytes(b"nothing")
    common = ("--detector", networks[0], "--pose", networks[1], "--output", tmp_path / "out")
    result = run(program, *common, "--image-dir", tmp_path, "--json", tmp_path / "x.json")
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("failed: ") for line in lines)
    assert r"bro\nken.png: no image" in lines[0]
    assert [record["image"] for record in json.loads((tmp_path / "x.json").read_text())] == [str(photo)]


@pytest.mark.parametrize(
    ("runtime", "change"),
    [
        *itertools.product(["torchscript"], ["cut", "longer", "flipped start", "flipped middle", "flipped mark"]),
        *itertools.product(["executorch"], ["cut", "flipped end", "flipped middle"]),
    ],
)
def test_damaged_networks(runtime, change, request, networks, photo, tmp_path):
    if runtime == "torchscript":
        program, source = request.getfixturevalue("program"), networks[1]
    else:
        program = request.getfixturevalue("executorch_program")
        source = tmp_path / "good.pte"
        source.write_bytes(seal(os.urandom(5000)))
    data = bytearray(source.read_bytes())
    place = {"start": 1, "middle": len(data) // 2, "end": -1, "mark": -40}.get(change.removeprefix("flipped "))
    if place is not None:
        data[place] ^= 4
    damaged = tmp_path / "damaged"
    damaged.write_bytes(data[:-7] if change == "cut" else data + b"more" if change == "longer" else data)
    lost = change in ("cut", "longer", "flipped mark")
    arguments = ("--detector", damaged, "--pose", damaged, "--image", photo, "--output", tmp_path / "out")
    check_refusal(run(program, *arguments), "has no checksum at its end" if lost else "its checksum is wrong")


@pytest.mark.parametrize(
    "archive",
    [b"", b"PK\x05\x06" + bytes(18), b"nothing that LibTorch reads" * 9 + b"PK\x05\x06" + bytes(18)],
    ids=["nothing", "an empty archive", "no archive"],
)
def test_sealed_again(archive, program, photo, tmp_path):
    """The checksum is right, and yet the file is no network."""
    path = tmp_path / "x.torchscript"
    path.write_bytes(seal_torchscript(archive) if archive else seal(archive))
    arguments = ("--detector", path, "--pose", path, "--image", photo, "--output", tmp_path / "out")
    check_refusal(run(program, *arguments), "LibTorch refuses it")


def change(path, value):
    """A change of a description: of the entry at a path, which is removed if the value is ``None``."""

    def apply(facts):
        *parents, last = path.split(".")
        for name in parents:
            facts = facts[name]
        if value == "removed":
            del facts[last]
        else:
            facts[last] = value

    return apply


DETECTOR_CHANGES = {
    "format": change("format", "tinypose-torch export 9"),
    "format is a number": change("format", 1),
    "model with newline": change("model", "x\ny"),
    "model is long": change("model", "x" * 300),
    "task": change("task", "segmentation\n"),
    "task is missing": change("task", "removed"),
    "size is zero": change("input.size", [0, 0]),
    "size is odd": change("input.size", [190, 192]),
    "size is huge": change("input.size", [1 << 20, 192]),
    "size is beyond integers": change("input.size", [1 << 80, 192]),
    "std is zero": change("input.std", [1, 1, 0]),
    "batch is zero": change("input.batch", 0),
    "versions": change("versions", {"torch": 2}),
    "no classes": change("class_names", []),
    "class name": change("class_names", ["\x1b[31mperson"]),
    "person class": change("person_class", 1),
    "threshold is huge": change("person_threshold", 1e300),
    "suppression": change("suppression", []),
    "unknown setting": change("suppression.wrong", 1),
    "iou is true": change("suppression.iou_threshold", True),
    "limit": change("suppression.max_per_class", 1 << 40),
    "clip": change("suppression.clip", 1),
}
POSE_CHANGES = {
    "skeleton": change("skeleton", None),
    "no keypoints": change("skeleton.keypoint_names", []),
    "keypoint name": change("skeleton.keypoint_names", ["nose\u0085"]),
    "link beyond": change("skeleton.links", [[0, 17]]),
    "link below": change("skeleton.links", [[-1, 0]]),
    "flip pair twice": change("skeleton.flip_pairs", [[0, 1], [1, 2]]),
    "sigmas": change("skeleton.sigmas", [0.1]),
    "keypoint threshold": change("keypoint_threshold", [0.2]),
    "decodes": change("decodes", "yes"),
}


@pytest.mark.parametrize("case", [*DETECTOR_CHANGES, *POSE_CHANGES])
def test_descriptions(case, program, networks, photo, tmp_path):
    """What Python refuses, C++ refuses."""
    facts = describe(DETECTOR if case in DETECTOR_CHANGES else POSE)
    (DETECTOR_CHANGES.get(case) or POSE_CHANGES[case])(facts)
    with pytest.raises(CheckpointError):
        ExportMetadata.from_json(json.dumps(facts))
    network = write_torchscript(tmp_path / "x.torchscript", fake_pose(), facts)
    files = (network, networks[1]) if case in DETECTOR_CHANGES else (networks[0], network)
    result = run(program, "--detector", files[0], "--pose", files[1], "--image", photo, "--output", tmp_path / "out")
    wrong_format = case in ("format", "format is a number")
    check_refusal(
        result, f"{network}: {'was made for' if wrong_format else 'carries no description that can be read'} "
    )


TEXTS = {
    "empty": "",
    "more": json.dumps(describe(POSE)) + "{}",
    "deep": "[" * 100_000,
    "deep object": '{"a":' * 5_000 + "1" + "}" * 5_000,
    "NaN": json.dumps(describe(POSE)).replace('"keypoint_threshold": 0.2', '"keypoint_threshold": NaN'),
    "infinite": json.dumps(describe(POSE)).replace('"keypoint_threshold": 0.2', '"keypoint_threshold": 1e999'),
    "list": "[]",
    "not UTF-8": b'{"format": "\xff"}',
    "bad escape": r'{"format": "\x"}',
    "long": '"' + "x" * (5 << 20) + '"',
    "no methods": '{"methods": {}}',
}


@pytest.mark.parametrize("case", TEXTS)
def test_texts_of_descriptions(case, program, networks, photo, tmp_path):
    network = write_torchscript(tmp_path / "x.torchscript", fake_pose(), TEXTS[case])
    arguments = ("--detector", networks[0], "--pose", network, "--image", photo, "--output", tmp_path / "out")
    check_refusal(run(program, *arguments), f"{network}: carries no description that can be read (")


def test_descriptions_in_any_language(program, networks, photo, tmp_path):
    """Escaped characters, as Python writes them, and extra space."""
    facts = describe(POSE)
    facts["skeleton"]["keypoint_names"][:3] = ["코", "left 👁", 'right "eye"\\']
    network = write_torchscript(tmp_path / "x.torchscript", fake_pose(), json.dumps(facts, indent=1) + "\n\t ")
    result = run(program, "--detector", networks[0], "--pose", network, "--image", photo, "--output", tmp_path / "out")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("text", ["{" * 5000, '{"format": "x"}', '{"methods": {"pose": 1}}'])
def test_descriptions_in_executorch_files(text, executorch_program, app_folder, photo, tmp_path):
    content = unsealed(app_folder / "app.pte")
    start = content.index(b'{"format"')
    length = content[start:].index(b"\0") if b"\0" in content[start:] else len(content) - start
    path = tmp_path / "x.pte"
    path.write_bytes(seal(content[:start] + text.encode()[:length].ljust(length) + content[start + length :]))
    arguments = ("--detector", path, "--pose", path, "--image", photo, "--output", tmp_path / "out")
    result = run(executorch_program, *arguments)
    check_refusal(result, f"{path}: ")
    assert "description" in result.stderr or "was made for 'x'" in result.stderr


def boxes_of(*box):
    return fake_detector(box=box)


class Failing(nn.Module):
    """Fails when it runs."""

    def forward(self, image: Tensor) -> Tensor:
        raise ValueError("some\nreason")


class TwoLists(nn.Module):
    """Gives lists in place of tensors."""

    def forward(self, image: Tensor) -> tuple[list[int], list[int]]:
        return [1], [2]


def detector_of(scores, boxes):
    return FakeDetector(scores, boxes)


def describe_levels():
    """A detector whose candidates are chosen by pyramid level."""
    return describe(DETECTOR, nms=dataclasses.replace(GRAPH_NMS, candidates_per_level=400))


NOT_FINITE = "NaN or infinite numbers; check the weights"
RESULTS = {
    "NaN in a box": (boxes_of(30, NAN, 90, 170), None, NOT_FINITE),
    "a box beyond float32": (boxes_of(-3e38, 20, 3e38, 170), None, NOT_FINITE),
    "NaN in all boxes": (boxes_of(NAN, NAN, NAN, NAN), None, NOT_FINITE),
    "an infinite score": (fake_detector(score=INF), None, NOT_FINITE),
    "NaN in keypoints": (None, FakePose(torch.full((1, 17, 3), NAN)), NOT_FINITE),
    "infinite keypoints": (None, FakePose(torch.full((1, 17, 3), INF)), NOT_FINITE),
    "no candidates": (
        detector_of(torch.zeros(1, 0, 1), torch.zeros(1, 0, 4)),
        None,
        "gives scores of shape (0, 0); expected (0, 1)",
    ),
    "few candidates": (detector_of(torch.zeros(1, 8, 1), torch.zeros(1, 8, 4)), None, "gives 8 candidates"),
    "fewer boxes": (
        detector_of(torch.zeros(1, CANDIDATES, 1), torch.zeros(1, 5, 4)),
        None,
        "gives boxes of shape (5, 4)",
    ),
    "other boxes": (
        detector_of(torch.zeros(1, CANDIDATES, 1), torch.zeros(1, CANDIDATES, 2)),
        None,
        "gives boxes of shape (765, 2); expected (765, 4)",
    ),
    "no classes": (
        detector_of(torch.zeros(1, CANDIDATES, 0), torch.zeros(1, CANDIDATES, 4)),
        None,
        "gives scores of shape (0, 0); expected (0, 1)",
    ),
    "doubles": (
        detector_of(torch.zeros(1, CANDIDATES, 1).double(), torch.zeros(1, CANDIDATES, 4).double()),
        None,
        "other outputs than float32",
    ),
    "one output": (fake_pose(), None, "gives 1 outputs; expected 2"),
    "two dimensions": (None, FakePose(torch.zeros(17, 3)), "other outputs than float32"),
    "few keypoints": (None, FakePose(torch.zeros(1, 5, 3)), "gives keypoints of shape (5, 3); expected (17, 3)"),
    "lists": (TwoLists(), None, "other outputs than float32"),
    "an exception": (Failing(), None, "LibTorch failed to run it: "),
}


@pytest.mark.parametrize("case", RESULTS)
def test_results(case, program, photo, tmp_path):
    detector, pose, message = RESULTS[case]
    folder = tmp_path / "networks"
    folder.mkdir()
    files = (
        write_torchscript(folder / "detector.torchscript", detector or fake_detector(), describe_levels()),
        write_torchscript(folder / "pose.torchscript", pose or fake_pose(), describe(POSE)),
    )
    before = files_in(tmp_path)
    common = ("--detector", files[0], "--pose", files[1], "--output", tmp_path / "out", "--image", photo)
    result = run(program, *common, "--json", tmp_path / "x.json")
    check_refusal(result, message)
    assert files_in(tmp_path) == before


def test_results_that_do_not_matter(program, networks, photo, tmp_path):
    """NaN among candidates that score too little, and numbers far beyond the image: as in Python."""
    detector = fake_detector()
    detector.scores[0, 100:200] = NAN
    detector.boxes[0, 300:400] = INF
    far = FakePose(torch.full((1, 17, 3), 1e30))
    files = (
        write_torchscript(tmp_path / "detector.torchscript", detector, describe(DETECTOR)),
        write_torchscript(tmp_path / "pose.torchscript", far, describe(POSE)),
    )
    common = ("--detector", files[0], "--pose", files[1], "--output", tmp_path / "out", "--image", photo)
    result = run(program, *common, "--json", tmp_path / "x.json")
    assert result.returncode == 0, result.stderr
    (record,) = json.loads((tmp_path / "x.json").read_text())
    expected = PoseEstimator(DETECTOR, POSE, *files)(photo).to_records()
    assert [person["box"] for person in record["poses"]] == [person["box"] for person in expected]
    assert np.array(record["poses"][0]["keypoints"]) == pytest.approx(np.array(expected[0]["keypoints"]), rel=1e-5)


class Looking(nn.Module):
    """Boxes and scores that depend on every part of the image, so that they tell how the image was prepared."""

    def __init__(self, embeddings: bool) -> None:
        super().__init__()
        self.embeddings = embeddings

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        picture = image[0].float()
        inner = (picture != 128).any(dim=2)
        rows, columns = torch.where(inner.any(dim=1))[0], torch.where(inner.any(dim=0))[0]
        red, green, blue = picture.mean(dim=0).mean(dim=0).unbind()
        box = torch.stack([columns.min() + red / 9, rows.min() + green / 7, columns.max() - blue / 8, rows.max() + 1.0])
        boxes = torch.stack([box, box - 3, torch.zeros(4)])[None]
        return torch.tensor([[[0.9], [0.8], [0.1]]]), boxes, torch.zeros(1, 3, 128)


@pytest.mark.parametrize("size", [(120, 160), (160, 90), (45, 333), (700, 640), (65, 64)])
def test_letterbox(size, program, networks, tmp_path):
    """FairMOT, whose input keeps the aspect ratio and which gives embeddings, too."""
    detector = write_torchscript(tmp_path / "detector.torchscript", Looking(True), describe("fairmot_dla34"))
    noise = np.random.default_rng(0).integers(130, 256, (*size, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "x.png"), cv2.GaussianBlur(noise, (0, 0), 2))
    result = run(
        program,
        *("--detector", detector, "--pose", networks[1], "--image", tmp_path / "x.png", "--output", tmp_path / "out"),
        *("--json", tmp_path / "x.json"),
    )
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "x.json").read_text())[0]["poses"]
    cv2.ipp.setUseIPP(False)
    try:
        expected = PoseEstimator("fairmot_dla34", POSE, detector, networks[1])(tmp_path / "x.png").to_records()
    finally:
        cv2.ipp.setUseIPP(True)
    assert len(found) == len(expected) == 2
    for one, two in zip(found, expected, strict=True):
        assert one["box"] == pytest.approx(two["box"], abs=0.02)
        assert one["score"] == two["score"]


def test_matrix_nms(program, networks, photo, tmp_path):
    """PP-YOLOv2's boxes need another rule, which this program does not have."""
    network = write_torchscript(tmp_path / "x.torchscript", fake_detector(), describe("ppyolov2_r50vd_dcn"))
    arguments = ("--detector", network, "--pose", networks[1], "--image", photo, "--output", tmp_path / "out")
    check_refusal(run(program, *arguments), "is ppyolov2_r50vd_dcn, which needs matrix NMS")


def test_class_of_people(program, networks, photo, tmp_path):
    """A single class counts as people's; of several, one must."""
    for names, person in ((["head"], None), (["cat", "dog"], None)):
        facts = describe(DETECTOR)
        facts["class_names"], facts["person_class"] = names, person
        network = write_torchscript(tmp_path / "x.torchscript", fake_detector(), facts)
        result = run(
            program, "--detector", network, "--pose", networks[1], "--image", photo, "--output", tmp_path / "out"
        )
        if len(names) == 1:
            assert result.returncode == 0, result.stderr
        else:
            check_refusal(result, "has no class 'person'")
