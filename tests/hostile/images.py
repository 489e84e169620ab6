"""Image files that are unusual, damaged or hostile, by name, each with what must become of it."""

import io
import random
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

READ, FAILS, EITHER = "read", "fails", "either"
Case = tuple[bytes, str]


def picture(height=36, width=48):
    """Smooth colours, which compress."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 5 % 256, y * 7 % 256, (x + y) * 3 % 256], axis=-1).astype(np.uint8)


def encoded(image, kind, **options):
    """Bytes of a PIL image in a format."""
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()


def chunk(kind, data):
    """One of PNG's chunks."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, data=b"", *, depth=8, colour=2, interlace=0, more=b""):
    """A PNG of a claimed size with any data."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    pixels = chunk(b"IDAT", zlib.compress(data))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more + pixels + chunk(b"IEND", b"")


def sound_files():
    """One small file of every format, by suffix."""
    rgb = Image.fromarray(picture())
    kinds = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF", "bmp": "BMP", "tif": "TIFF", "ppm": "PPM"}
    return {suffix: encoded(rgb, kind) for suffix, kind in kinds.items()} | {"tga.bmp": encoded(rgb, "TGA")}


def unusual():
    """Sound files of rare kinds."""
    rgb = Image.fromarray(picture())
    grey, palette = rgb.convert("L"), rgb.quantize(16)
    rgba, grey_alpha = rgb.convert("RGBA"), rgb.convert("LA")
    wide = Image.fromarray((picture()[..., 0].astype(np.uint16) << 8) | 9)
    frames = [Image.fromarray(np.roll(picture(), shift, axis=1)) for shift in range(5)]
    animated = {"save_all": True, "append_images": frames, "duration": 40, "loop": 0}
    files = {
        "grey.png": encoded(grey, "PNG"),
        "grey.jpg": encoded(grey, "JPEG"),
        "bilevel.png": encoded(grey.convert("1"), "PNG"),
        "bilevel.tif": encoded(grey.convert("1"), "TIFF", compression="group4"),
        "palette.png": encoded(palette, "PNG"),
        "palette alpha.png": encoded(palette, "PNG", transparency=bytes(range(16))),
        "palette.gif": encoded(palette, "GIF", interlace=1),
        "palette.tif": encoded(palette, "TIFF"),
        "alpha.png": encoded(rgba, "PNG"),
        "alpha.webp": encoded(rgba, "WEBP", lossless=True),
        "alpha.tif": encoded(rgba, "TIFF"),
        "grey alpha.png": encoded(grey_alpha, "PNG"),
        "16 bit.png": encoded(wide, "PNG"),
        "16 bit.tif": encoded(wide, "TIFF"),
        "16 bit rgb.png": png(2, 1, b"\0" + bytes(range(12)), depth=16),
        "16 bit rgba.png": png(1, 1, b"\0" + bytes(range(8)), depth=16, colour=6),
        "32 bit.tif": encoded(Image.fromarray(picture()[..., 0].astype(np.int32) * 1000), "TIFF"),
        "float.tif": encoded(Image.fromarray(picture()[..., 0].astype(np.float32)), "TIFF"),
        "nan.tif": encoded(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"),
        "infinite.tif": encoded(Image.fromarray(np.full((4, 4), np.inf, np.float32)), "TIFF"),
        "cmyk.jpg": encoded(rgb.convert("CMYK"), "JPEG"),
        "cmyk.tif": encoded(rgb.convert("CMYK"), "TIFF"),
        "ycbcr.tif": encoded(rgb.convert("YCbCr"), "TIFF"),
        "progressive.jpg": encoded(rgb, "JPEG", progressive=True),
        "lossless.webp": encoded(rgb, "WEBP", lossless=True),
        "deflate.tif": encoded(rgb, "TIFF", compression="tiff_deflate"),
        "lzw.tif": encoded(rgb, "TIFF", compression="tiff_lzw"),
        "animated.gif": encoded(frames[0], "GIF", **animated),
        "animated.png": encoded(frames[0], "PNG", **animated),
        "animated.webp": encoded(frames[0], "WEBP", **animated),
        "pages.tif": encoded(frames[0], "TIFF", save_all=True, append_images=frames),
        "many frames.gif": encoded(frames[0], "GIF", save_all=True, append_images=frames * 60),
        "interlaced.png": png(1, 1, b"\0\1\2\3", interlace=1),
        "1x1.png": encoded(Image.new("RGB", (1, 1)), "PNG"),
        "1x1.gif": encoded(Image.new("P", (1, 1)), "GIF"),
        "1x1.jpg": encoded(Image.new("L", (1, 1)), "JPEG"),
        "1x100000.png": encoded(Image.new("RGB", (1, 100_000), (200, 30, 90)), "PNG"),
        "100000x1.png": encoded(Image.new("RGB", (100_000, 1), (200, 30, 90)), "PNG"),
        "65500x2.jpg": encoded(Image.new("RGB", (65_500, 2), (200, 30, 90)), "JPEG"),
        "text chunks.png": png(1, 1, b"\0\1\2\3", more=chunk(b"tEXt", b"Comment\0" + b"\x1b[31m" * 200)),
    }
    return {name: (content, READ) for name, content in files.items()} | _metadata()


def _metadata():
    """EXIF orientations, sound and damaged; colour profiles."""
    rgb, cases = Image.fromarray(picture()), {}
    for orientation in (*range(10), 65535):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for suffix, kind in (("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP")):
            cases[f"orientation {orientation}.{suffix}"] = encoded(rgb, kind, exif=exif), READ
    good = exif.tobytes()
    for number in range(0, len(good), 3):
        damaged = bytearray(good)
        damaged[number] ^= 0xFF
        cases[f"exif {number}.jpg"] = encoded(rgb, "JPEG", exif=bytes(damaged)), EITHER
    cases["exif cut.jpg"] = encoded(rgb, "JPEG", exif=good[:9]), EITHER
    cases["exif text.jpg"] = encoded(rgb, "JPEG", exif=b"Exif\0\0" + b"orientation: up" * 9), EITHER
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, icc in (("sound", profile), ("cut", profile[:50]), ("junk", b"\xff" * 5000), ("empty", b"\0")):
        for suffix, kind in (("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("tif", "TIFF")):
            cases[f"icc {name}.{suffix}"] = encoded(rgb, kind, icc_profile=icc), READ
    return cases


def damaged(seed=0):
    """Sound files, cut at many places, and with bits flipped."""
    generator, cases = random.Random(seed), {}
    for suffix, content in sound_files().items():
        for percent in (1, 5, 10, 25, 50, 75, 90):
            must = FAILS if percent <= 50 else EITHER
            cases[f"cut to {percent} percent.{suffix}"] = content[: len(content) * percent // 100], must
        cases[f"cut by 1 byte.{suffix}"] = content[:-1], EITHER
        for number in range(8):
            flipped = bytearray(content)
            for _ in range(generator.choice((1, 1, 3, 20))):
                flipped[generator.randrange(len(flipped))] ^= 1 << generator.randrange(8)
            cases[f"flipped {number}.{suffix}"] = bytes(flipped), EITHER
    return cases


def false_files():
    """Files that are something else than their names or their headers say."""
    sound = sound_files()
    files = {
        "empty.jpg": b"",
        "zeros.png": bytes(1000),
        "text.jpg": b"hello, this is no image\n" * 20,
        "html.gif": b"<!DOCTYPE html><html><body>404</body></html>",
        "pdf.png": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
        "zip.webp": b"PK\x03\x04" + bytes(100),
        "script.jpg": b"#!/bin/sh\ntouch /tmp/never\n",
        "postscript.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
        "svg.png": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "signature.png": b"\x89PNG\r\n\x1a\n",
        "signature.jpg": b"\xff\xd8\xff",
        "signature.gif": b"GIF89a",
        "signature.webp": b"RIFF\xff\xff\xff\xffWEBP",
        "signature.tif": b"II*\0\x08\0\0\0",
        "signature.bmp": b"BM",
        "no pixels.png": png(0, 0),
        "negative.bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, -5, 5, 1, 24, 0, 0, 0, 0, 0, 0),
        "60000x60000.png": png(60_000, 60_000),
        "2147483647x2147483647.png": png(2**31 - 1, 2**31 - 1),
        "13000x13000.png": png(13_000, 13_000, b"short"),
        "65535x65535.gif": b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\0\0" + bytes(6) + b",",
        "60000x60000.bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60000, 60000, 1, 24, *[0] * 6),
        "50000x50000.ppm": b"P6 50000 50000 255\n",
        "huge text.png": png(1, 1, b"\0\1\2\3", more=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(5 << 20), 1))),
    }
    # All of its 169 million pixels are there: they need more memory than a file of the test may take.
    files["bomb.png"] = png(13_000, 13_000, bytes((13_000 // 8 + 1) * 13_000), depth=1, colour=0)
    cases = {name: (content, FAILS) for name, content in files.items()}
    for name, suffix in (("jpeg.png", "jpg"), ("png.jpg", "png"), ("webp.tif", "webp"), ("gif.jpg", "gif")):
        cases[f"really {name}"] = sound[suffix], READ
    cases["followed by junk.jpg"] = sound["jpg"] + b"junk" * 500, READ
    cases["twice.png"] = sound["png"] * 2, READ
    return cases


def all_cases():
    """Everything, by file name."""
    return unusual() | damaged() | false_files()
