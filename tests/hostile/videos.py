"""Video files that are unusual, damaged or hostile, by name, each with what must become of it."""

import io
import random
import struct
import wave
from fractions import Fraction

import av
import numpy as np
from PIL import Image

from hostile.images import EITHER, FAILS, READ, encoded, picture

SIZE = (64, 48)
TICK = Fraction(1, 90_000)
FORMATS = {"mp4": "libx264", "mov": "mpeg4", "mkv": "libx264", "avi": "mjpeg", "webm": "libvpx", "mpg": "mpeg1video"}


def clip(suffix, frames=6, times=None, size=SIZE, codec=None, rate=25):
    """Bytes of a small video.

    Args:
        times: Of its frames in seconds; by the rate unless given.
    """
    file = io.BytesIO()
    container = {"mkv": "matroska", "mpg": "mpeg"}.get(suffix, suffix)
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec or FORMATS[suffix], rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if stream.codec.name == "mjpeg" else "yuv420p"
        stream.bit_rate = 200_000
        if times is not None:
            stream.time_base = stream.codec_context.time_base = TICK
        for index in range(frames if times is None else len(times)):
            frame = av.VideoFrame.from_ndarray(np.roll(picture(size[1], size[0]), 3 * index, axis=1), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = round(times[index] / TICK), TICK
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


def sound_only():
    """A WAV file, and an MP4 of sound alone."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(bytes(8000))
    audio = io.BytesIO()
    with av.open(audio, "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return {"wave.mp4": file.getvalue(), "aac.mp4": audio.getvalue()}


def patched(content, mark, offset, layout, *values):
    """Bytes with numbers written behind a mark."""
    data = bytearray(content)
    struct.pack_into(layout, data, data.index(mark) + offset, *values)
    return bytes(data)


def unusual():
    """Sound files of rare kinds, and those whose headers say strange things of sound frames."""
    avi, mp4 = clip("avi"), clip("mp4")
    variable = [0.0, 0.01, 0.02, 0.3, 0.31, 1.5]
    files = {f"sound.{suffix}": clip(suffix) for suffix in FORMATS}
    files |= {f"one frame.{suffix}": clip(suffix, frames=1) for suffix in FORMATS}
    files |= {f"variable.{suffix}": clip(suffix, times=variable) for suffix in ("mp4", "mkv")}
    files |= {
        "rotated.mp4": patched(mp4, b"tkhd", 44, ">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30),
        "odd size.avi": clip("avi", size=(49, 37)),
        "2x2.avi": clip("avi", size=(2, 2)),
        "1 frame per hour.mp4": clip("mp4", times=[0.0, 3600.0, 7200.0]),
        "1000 frames per second.mp4": clip("mp4", rate=1000),
        "late start.mp4": clip("mp4", times=[1000.0, 1000.1, 1000.2]),
        "negative start.mkv": clip("mkv", times=[-0.2, -0.1, 0.0, 0.1]),
    }
    cases = {name: (content, READ) for name, content in files.items()}
    strange = {
        "rate 0.avi": patched(avi, b"strh", 28, "<II", 1, 0),
        "scale 0.avi": patched(avi, b"strh", 28, "<II", 0, 25),
        "rate 0 over 0.avi": patched(avi, b"strh", 28, "<II", 0, 0),
        "negative rate.avi": patched(avi, b"strh", 28, "<ii", 1, -25),
        "giant rate.avi": patched(avi, b"strh", 28, "<II", 1, 0xFFFFFFFF),
        "slow rate.avi": patched(avi, b"strh", 28, "<II", 0xFFFFFFFF, 1),
        "no microseconds.avi": patched(avi, b"avih", 8, "<I", 0),
        "many frames declared.avi": patched(avi, b"avih", 24, "<I", 0xFFFFFFFF),
        "giant size.avi": patched(avi, b"strf", 12, "<ii", 65535, 65535),
        "negative size.avi": patched(avi, b"strf", 12, "<ii", -64, -48),
        "no time scale.mp4": patched(mp4, b"mdhd", 16, ">I", 0),
        "giant duration.mp4": patched(mp4, b"mdhd", 20, ">I", 0xFFFFFFFF),
        "changing sizes.avi": _with_other_frames(avi),
        "gif.mp4": encoded(Image.fromarray(picture()), "GIF"),
    }
    return cases | {name: (content, EITHER) for name, content in strange.items()}


def _with_other_frames(avi):
    """An AVI whose later JPEG frames are of another size, as far as they fit into the place of the first ones."""
    other = encoded(Image.fromarray(picture(8, 16)), "JPEG", quality=20)
    data, place = bytearray(avi), 0
    for number in range(6):
        place = data.index(b"00dc", place) + 8
        (length,) = struct.unpack_from("<I", data, place - 4)
        if number >= 3 and len(other) <= length:
            data[place : place + length] = other.ljust(length, b"\0")
    return bytes(data)


def damaged(seed=0):
    """Sound files, cut at many places, and with bits flipped."""
    generator, cases = random.Random(seed), {}
    for suffix in FORMATS:
        content = clip(suffix)
        for percent in (0, 1, 20, 50, 80, 95):
            cases[f"cut to {percent} percent.{suffix}"] = content[: len(content) * percent // 100], EITHER
        for number in range(5):
            flipped = bytearray(content)
            for _ in range(generator.choice((1, 3, 20))):
                flipped[generator.randrange(len(flipped))] ^= 1 << generator.randrange(8)
            cases[f"flipped {number}.{suffix}"] = bytes(flipped), EITHER
        cases[f"cut to 0 percent.{suffix}"] = b"", FAILS
    return cases


def false_files():
    """Files that are no videos, or that point to others."""
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n"
    files = {
        "text.mp4": b"hello, this is no video\n" * 20,
        "zeros.mkv": bytes(1000),
        "playlist.mp4": playlist,
        "outside.mp4": b"ffconcat version 1.0\nfile /etc/hostname\nfile ../../x.mp4\n",
        "image.mp4": encoded(Image.fromarray(picture()), "PNG"),
        "beside.mp4": b"ffconcat version 1.0\nfile sound.mp4\n",
        "itself.avi": b"ffconcat version 1.0\nfile itself.avi\n",
        "address.mov": b"ffconcat version 1.0\nfile http://127.0.0.1:9/x.mp4\n",
        "box.mp4": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\xff\xff\xff\xffmoov" + bytes(50),
        "no frames.avi": clip("avi", frames=0),
        "no frames.mkv": clip("mkv", frames=0, codec="libx264"),
    }
    return {name: (content, FAILS) for name, content in (files | sound_only()).items()}


def all_cases():
    """Everything, by file name."""
    return unusual() | damaged() | false_files()
