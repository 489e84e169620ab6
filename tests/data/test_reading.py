"""Reading of training images: OpenCV's pixels, whatever the file is."""

import struct

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from tinypose_torch.data.formats.coco_content import size_of
from tinypose_torch.data.images import read_image

FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


def picture(height=67, width=101):
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (9, 13, 3), dtype=np.uint8)
    return cv2.add(cv2.resize(small, (width, height)), generator.integers(0, 20, (height, width, 3), dtype=np.uint8))


JPEGS = {
    "420": {"subsampling": "4:2:0"},
    "422": {"subsampling": "4:2:2"},
    "444": {"subsampling": "4:4:4"},
    "progressive": {"progressive": True},
    "rough": {"quality": 10},
    "turned": {"exif": Image.Exif()},
}
JPEGS["turned"]["exif"][0x0112] = 6  # a quarter turn, which annotations do not follow


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("size", [(67, 101), (64, 96), (1, 1), (480, 640)])
def test_jpeg(kind, size, tmp_path):
    file = tmp_path / "a.jpg"
    Image.fromarray(picture(*size)).save(file, **JPEGS[kind])
    np.testing.assert_array_equal(read_image(file), cv2.imread(str(file), FLAGS))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpeg_of_other_colours(mode, tmp_path):
    file = tmp_path / "a.jpg"
    Image.fromarray(picture()).convert(mode).save(file)
    np.testing.assert_array_equal(read_image(file), cv2.imread(str(file), FLAGS))


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp"])
def test_other_formats(suffix, tmp_path):
    file = tmp_path / f"a.{suffix}"
    Image.fromarray(picture()).save(file)
    np.testing.assert_array_equal(read_image(file), cv2.imread(str(file), FLAGS))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_annotated_size_decides_on_a_quarter_turn(orientation, tmp_path):
    """Phones write upright photos as turned ones, which annotation tools show and measure upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / "a.png"
    Image.fromarray(picture(20, 30)).save(file, exif=exif)
    stored = read_image(file)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(file)))
    np.testing.assert_array_equal(read_image(file, (20, 30)), stored)
    np.testing.assert_array_equal(read_image(file, (30, 20)), upright if orientation > 4 else stored)
    np.testing.assert_array_equal(read_image(file, (7, 9)), stored)
    assert size_of(file) == upright.shape[1::-1]


def test_out_of_memory(tmp_path, monkeypatch):
    """Concerns one image: another takes its place."""

    def fail(*_):
        raise MemoryError

    file = tmp_path / "a.jpg"
    Image.fromarray(picture()).save(file)
    monkeypatch.setattr(cv2, "imdecode", fail)
    assert read_image(file) is None


def test_cut_short(tmp_path):
    file = tmp_path / "a.jpg"
    Image.fromarray(picture(480, 640)).save(file)
    file.write_bytes(file.read_bytes()[:20_000])
    assert read_image(file) is None


def test_what_is_no_image(tmp_path):
    assert read_image(tmp_path / "missing.jpg") is None
    assert read_image(tmp_path) is None
    for name, content in (("empty", b""), ("text", b"no image"), ("start", b"\xff\xd8\xff\xe0 and nothing else")):
        (tmp_path / name).write_bytes(content)
        assert read_image(tmp_path / name) is None


def test_a_header_that_asks_for_gigabytes(tmp_path):
    """A file of a few bytes that says it is 65000 x 65000 pixels gets no memory."""
    file = tmp_path / "a.jpg"
    Image.fromarray(picture(16, 16)).save(file)
    content = bytearray(file.read_bytes())
    start = content.index(b"\xff\xc0") + 5
    content[start : start + 4] = struct.pack(">HH", 65000, 65000)
    file.write_bytes(content)
    assert read_image(file) is None
