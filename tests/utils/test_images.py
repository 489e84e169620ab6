"""Images of every kind, good and bad."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from conftest import REAL, gradient_image
from PIL import Image

from tinypose_torch import ImageError
from tinypose_torch.utils.images import find_inputs, load_image, save_png

RGB = gradient_image(24, 36)


def saved(tmp_path, image, name="x.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


@pytest.mark.needs_reference
@pytest.mark.parametrize("photo", sorted((REAL / "images").glob("*.jpg")), ids=lambda path: path.stem)
def test_photos_decode_as_in_the_original(photo):
    """PaddleDetection reads with OpenCV; the pixels are the same."""
    assert np.array_equal(load_image(photo), cv2.cvtColor(cv2.imread(str(photo)), cv2.COLOR_BGR2RGB))


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp", "tif", "ppm"])
def test_lossless_formats(suffix, tmp_path):
    options = {"lossless": True} if suffix == "webp" else {}
    assert np.array_equal(load_image(saved(tmp_path, Image.fromarray(RGB), f"x.{suffix}", **options)), RGB)


def test_greyscale(tmp_path):
    image = load_image(saved(tmp_path, Image.fromarray(RGB[..., 0])))
    assert np.array_equal(image, np.repeat(RGB[..., :1], 3, axis=2))


def test_rgba_drops_transparency(tmp_path):
    rgba = np.concatenate([RGB, np.zeros_like(RGB[..., :1])], axis=2)
    assert np.array_equal(load_image(saved(tmp_path, Image.fromarray(rgba))), RGB)


def test_palette(tmp_path):
    image = load_image(saved(tmp_path, Image.fromarray(RGB).quantize(16)))
    assert image.shape == RGB.shape


def test_cmyk(tmp_path):
    solid = Image.new("RGB", (40, 30), (200, 30, 90)).convert("CMYK")
    image = load_image(saved(tmp_path, solid, "x.jpg", quality=95))
    assert np.abs(image.astype(int) - (200, 30, 90)).max() < 25


def test_16_bit_keeps_the_upper_bits(tmp_path):
    values = (RGB[..., 0].astype(np.uint16) << 8) | 77
    image = load_image(saved(tmp_path, Image.fromarray(values)))
    assert np.array_equal(image[..., 0], RGB[..., 0])
    cv2.imwrite(str(tmp_path / "rgb16.png"), RGB[..., ::-1].astype(np.uint16) * 257)
    assert np.array_equal(load_image(tmp_path / "rgb16.png"), RGB)


def test_float_tiff(tmp_path):
    image = load_image(saved(tmp_path, Image.fromarray(RGB[..., 0].astype(np.float32) / 255), "x.tif"))
    assert image.max() == 255


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_rotation_is_applied(orientation, turns, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = load_image(saved(tmp_path, Image.fromarray(RGB), exif=exif))
    assert np.array_equal(image, np.rot90(RGB, turns))


def test_one_pixel(tmp_path):
    assert load_image(saved(tmp_path, Image.new("RGB", (1, 1)))).shape == (1, 1, 3)


def test_arrays_and_pil_images():
    assert load_image(RGB) is RGB
    assert np.array_equal(load_image(Image.fromarray(RGB)), RGB)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (RGB[..., 0], r"shape \(24, 36\); expected \(height, width, 3\)"),
        (np.zeros((4, 4, 4), np.uint8), "shape"),
        (np.zeros((3, 24, 36), np.uint8), "shape"),
        (RGB.astype(np.float32), "dtype float32; expected uint8"),
        (RGB.astype(np.uint16), "dtype uint16"),
        (np.zeros((0, 5, 3), np.uint8), "no pixels"),
        (None, "NoneType is not an image"),
        (3.5, "float is not an image"),
    ],
)
def test_wrong_arrays(array, message):
    with pytest.raises(ImageError, match=message):
        load_image(array)


def huge_png():
    """A PNG of 60000 x 60000 pixels by its header, and of none by its contents."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def jpeg_bytes():
    return cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))[1].tobytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: b"", "empty file"),
        (lambda: b"hello, not an image", "not an image"),
        (lambda: jpeg_bytes()[:2000], "damaged image: .*truncated"),
        (lambda: jpeg_bytes()[:20], "not an image|damaged"),
        (lambda: cv2.imencode(".png", RGB)[1].tobytes()[:-40], "damaged image"),
        (huge_png, "60000x60000 pixels; at most|larger than"),
        (lambda: b"\x89PNG\r\n\x1a\n", "not an image"),
        (lambda: b"GIF89a", "not an image|damaged"),
        (lambda: b"%PDF-1.4", "not an image"),
    ],
)
def test_bad_files(content, message, tmp_path):
    path = tmp_path / "bad.jpg"
    path.write_bytes(content())
    with pytest.raises(ImageError, match=message) as caught:
        load_image(path)
    assert str(path) in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no image"):
        load_image(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match="is a folder"):
        load_image(tmp_path)


def test_find_inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/2.jpg", "a/b/1.PNG", "a/notes.txt", "c.webp", "v.mp4"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "empty").mkdir()
    files, missing = find_inputs(["a", "*.webp", "c.webp", "v.mp4", "nothing*.jpg", "empty"])
    assert files == ["a/2.jpg", "a/b/1.PNG", "c.webp", "v.mp4"]
    assert missing == ["nothing*.jpg", "empty"]


def test_saving_leaves_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "x.png"
    save_png(RGB, path)
    assert np.array_equal(load_image(path), RGB)
    with pytest.raises((TypeError, ValueError)):
        save_png(np.zeros((2, 2, 7), np.uint8), path)
    assert np.array_equal(load_image(path), RGB)
    assert len(list(tmp_path.iterdir())) == 1
