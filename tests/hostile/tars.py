"""Attacks on tars of a deployed model: every field of every kind of header, links, devices, extensions, sparse files."""

import gzip
import io
import struct
import tarfile
import zlib

from . import deployed
from .attack import HARMLESS, READABLE, changed, part
from .texts import TEXTS

FOLDER = "model/"
# Name, offset and size of the fields of a header.
_FIELDS = {
    "name": (0, 100),
    "mode": (100, 8),
    "owner": (108, 8),
    "group": (116, 8),
    "size": (124, 12),
    "time": (136, 12),
}
_FIELDS |= {
    "link": (157, 100),
    "magic": (257, 6),
    "version": (263, 2),
    "owner's name": (265, 32),
    "group's name": (297, 32),
}
_FIELDS |= {"major number": (329, 8), "minor number": (337, 8), "prefix": (345, 155)}
_VALUES = {
    "zeros": b"\0" * 155,
    "nines": b"9" * 155,
    "sevens": b"7" * 155,
    "a minus": b"-1\0",
    "a plus": b"+12\0",
    "underscores": b"1_2\0",
    "hexadecimal": b"0x10\0",
    "text": b"elephant\0",
    "bytes of 255": b"\xff" * 155,
    "a number of base 256": b"\x80" + b"\xff" * 11,
    "a negative number of base 256": b"\xff" * 12,
    "a number of base 256 that is one": b"\x80" + b"\0" * 10 + b"\x01",
    "blanks": b" " * 155,
    "a path upwards": b"../../../../ATTACK_RAN\0",
    "an absolute path": b"/tmp/ATTACK_RAN\0",
    "an escape": b"\x1b[2J\0",
    "not UTF-8": b"\xc3\x28\0",
    "a number of Arabic digits": "١٢".encode() + b"\0",
}


def packed(files=None, style=tarfile.GNU_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=style) as archive:
        for name, content in (files or deployed.legacy()).items():
            member = tarfile.TarInfo(FOLDER + name if "/" not in name else name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def summed(header: bytes) -> bytes:
    """A header with its right checksum."""
    header = changed(header, 148, b" " * 8)
    return changed(header, 148, b"%06o\0 " % sum(header))


def block(name: bytes = b"model/x", kind: bytes = b"0", content: bytes = b"", size: bytes | None = None) -> bytes:
    """A member, with its padding."""
    header = changed(bytes(512), 0, name[:100])
    header = changed(header, 124, size or b"%011o\0" % len(content))
    header = changed(changed(header, 156, kind), 257, b"ustar\x0000")
    return summed(header) + content + bytes(-len(content) % 512)


def headers(data: bytes) -> list[int]:
    found, position = [], 0
    while position < len(data) and data[position : position + 512].strip(b"\0"):
        found.append(position)
        position += 512 + (int(data[position + 124 : position + 135], 8) + 511) // 512 * 512
    return found


def tars():
    """Attacks on ``.tar``."""
    data = packed()
    yield from _fields(data)
    yield from _kinds(data)
    yield from _names(data)
    yield from _extensions(data)
    yield from _ends(data)


@part
def _kinds(data):
    for kind in range(256):
        byte = bytes([kind])
        yield f"a member of type {byte!r} in front", block(kind=byte) + data, HARMLESS
        yield f"a member of type {byte!r} with content in front", block(kind=byte, content=b"x" * 700) + data, HARMLESS
        place = headers(data)[1]
        altered = summed(changed(data[place : place + 512], 156, byte))
        yield f"the tensors as a member of type {byte!r}", changed(data, place, altered), HARMLESS


@part
def _fields(data):
    places = headers(data)
    for number, place in enumerate(places):
        header = data[place : place + 512]
        for field, (offset, size) in _FIELDS.items():
            for intent, value in _VALUES.items():
                altered = summed(changed(header, offset, value[:size]))
                # Without its name or a right program, a member is another one.
                yield f"{field} of member {number}: {intent}", changed(data, place, altered), HARMLESS
        for intent, checksum in {
            "zero": b"0",
            "one more": b"%06o\0 " % (sum(header) + 1),
            "text": b"x" * 8,
            "minus": b"-1",
        }.items():
            altered = changed(header, 148, checksum.ljust(8, b"\0"))
            yield f"checksum of member {number}: {intent}", changed(data, place, altered)


@part
def _names(data):
    files = deployed.legacy()
    for intent, text in TEXTS.items():
        if "\0" in text or "\ud800" <= text[:1] <= "\udfff":
            continue
        raw = text.encode("utf-8", "surrogatepass")
        yield f"a member more whose name is {intent}", block(b"model/" + raw) + data, HARMLESS
        yield f"the program called {intent}", packed({text or "x": files["model.pdmodel"], **_without("model.pdmodel")})
        yield (
            f"tensors more called {intent}",
            packed({**files, f"a/{text}.pdiparams": b"x"}, tarfile.PAX_FORMAT),
            HARMLESS,
        )
        yield (
            f"a folder called {intent}",
            packed({f"{text or 'x'}/{name}": content for name, content in files.items()}),
            READABLE,
        )
    for prefix in ("/", "../", "../../../../", "./", "a/./", "a//", "a/../", "C:/", "~/", "/proc/self/"):
        moved = {f"{prefix}{name}": content for name, content in files.items()}
        yield f"members called {prefix}...", packed(moved), READABLE
        yield f"{prefix}ATTACK_RAN more", packed({**files, f"{prefix}ATTACK_RAN": b"x"}), HARMLESS
        yield f"tensors more as {prefix}model.pdiparams", packed({**files, f"{prefix}model.pdiparams": b"x"})
    for name in files:
        yield f"{name} twice", packed({**files, f"./{FOLDER}{name}": b"x"})
        yield f"without {name}", packed(_without(name)), READABLE if name == deployed.INFO else "refused"
        for other in files:
            if other != name:
                yield f"{other} as {name}", packed({**files, name: files[other]})


def _without(name):
    return {key: content for key, content in deployed.legacy().items() if key != name}


@part
def _extensions(data):
    """Long names, attributes and sparse files, whose own sizes lie."""
    sizes = {
        "2 GiB": b"\x80" + struct.pack(">Q", 1 << 31).rjust(11, b"\0"),
        "2^88": b"\x80" + b"\xff" * 11,
        "8 GiB": b"7" * 11 + b"\0",
    }
    for kind in (b"L", b"K", b"x", b"g", b"X", b"S", b"D", b"M", b"V", b"N"):
        for intent, size in sizes.items():
            yield f"an extension {kind!r} of {intent}", block(kind=kind, size=size) + data
        for content in (
            b"",
            b"\0",
            b"x" * 5000,
            b"../../ATTACK_RAN\0",
            b"\x1b[2J",
            b"\xff" * 100,
            b"model/model.pdiparams\0",
        ):
            yield f"an extension {kind!r} of {content[:16]!r}", block(kind=kind, content=content) + data, HARMLESS
        yield f"two thousand extensions {kind!r}", block(kind=kind, content=b"x") * 2000 + data, HARMLESS
    attributes = [
        "path=/etc/passwd",
        "path=../x",
        "size=99999999999999",
        "size=-1",
        "size=x",
        "linkpath=/etc/passwd",
        "path=",
    ]
    attributes += [
        "GNU.sparse.major=1",
        "GNU.sparse.size=1099511627776",
        "GNU.sparse.map=0,1099511627776",
        "SCHILY.xattr.x=y",
    ]
    attributes += [
        "hdrcharset=BINARY",
        "mtime=1e999",
        "uid=99999999999999999999",
        "path=\x1b[2J",
        "=",
        "path",
        "charset=x",
    ]
    for attribute in attributes:
        line = f" {attribute}\n"
        for length in (len(line) + 2, 0, 1, 999_999_999, -1):
            content = f"{length}{line}".encode()
            for kind in (b"x", b"g"):
                yield (
                    f"attribute {attribute!r} of length {length}, {kind!r}",
                    block(kind=kind, content=content) + data,
                    HARMLESS,
                )
    yield "11,000 members", block() * 11_000 + data


@part
def _ends(data):
    for end in range(0, headers(data)[-1], 64):
        yield f"cut after {end} bytes", data[:end]
    yield "no end", data[: len(data) // 512 * 512 - 1024], HARMLESS
    yield "text behind the end", data + b"x" * 1000, HARMLESS
    yield "another archive behind the end", data + packed({"a/evil.pdiparams": b"x"}), HARMLESS
    yield "zeros in front", bytes(512) + data
    yield "a megabyte of zeros", bytes(1 << 20)
    yield "a tar in a tar", packed({"inner.tar": data})


def gzips():
    """Attacks on ``.tar.gz``: every third of those on tars, and those on gzip."""
    for number, (intent, content, *outcome) in enumerate(tars()):
        if number % 3 == 0:
            yield f"compressed: {intent}", gzip.compress(content, 1, mtime=0), *outcome
    yield from _compressed()


@part
def _compressed():
    data = packed()
    whole = gzip.compress(data, mtime=0)
    for place in range(10):
        for value in (0, 1, 2, 4, 8, 16, 32, 64, 128, 255):
            yield f"byte {place} of the header {value}", changed(whole, place, bytes([value])), HARMLESS
    for place in range(8):
        for value in (0, 0x7F, 0xFF):
            yield (
                f"byte {place} of checksum and size {value}",
                changed(whole, len(whole) - 8 + place, bytes([value])),
                HARMLESS,
            )
    for end in range(1, len(whole), len(whole) // 100):
        yield f"cut after {end} bytes", whole[:end]
    for place in range(10, len(whole) - 8, len(whole) // 100):
        yield f"byte {place} altered", changed(whole, place, bytes([whole[place] ^ 0x55]))
    for megabytes in (1, 50, 200):
        zeros = zlib.compressobj(9, zlib.DEFLATED, 31)
        bomb = zeros.compress(data) + b"".join(zeros.compress(bytes(1 << 20)) for _ in range(megabytes)) + zeros.flush()
        yield f"{megabytes} MB of zeros behind", bomb, HARMLESS
        yield f"{megabytes} MB of zeros alone", gzip.compress(bytes(megabytes << 20), 9, mtime=0)
        size = b"%011o\0" % (megabytes << 20)
        yield (
            f"a member of {megabytes} MB",
            gzip.compress(block(b"m/x.txt", size=size) + bytes(megabytes << 20) + data, 9, mtime=0),
            HARMLESS,
        )
        yield (
            f"tensors of {megabytes} MB",
            gzip.compress(
                packed(_without(deployed.PARAMS))[:-1024]
                + block(b"model/model.pdiparams", size=size)
                + bytes(megabytes << 20),
                9,
                mtime=0,
            ),
        )
    yield "compressed twice", gzip.compress(whole, mtime=0)
    yield "two parts", gzip.compress(data[:1000], mtime=0) + gzip.compress(data[1000:], mtime=0), HARMLESS
    yield "a thousand empty parts", gzip.compress(b"", mtime=0) * 1000 + whole, HARMLESS
    yield "text behind", whole + b"x" * 100, HARMLESS
    named = whole[:3] + b"\x08" + whole[4:10] + b"../../ATTACK_RAN\0" + whole[10:]
    yield "a file name that is a path upwards", named, HARMLESS
    yield "a file name without an end", whole[:3] + b"\x08" + whole[4:10] + b"x" * 100_000
