"""Attacks on zip archives, whatever they hold: lies in every field of their headers, names, bombs, overlaps."""

import io
import struct
import zipfile
import zlib

from .attack import HARMLESS, READABLE, changed, part
from .texts import TEXTS

LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
# Name, offset and size of every field behind the signature.
_LOCAL_FIELDS = {"version": (4, 2), "flags": (6, 2), "compression": (8, 2), "time": (10, 4), "checksum": (14, 4)}
_LOCAL_FIELDS |= {
    "compressed size": (18, 4),
    "size": (22, 4),
    "length of the name": (26, 2),
    "length of the extra": (28, 2),
}
_CENTRAL_FIELDS = {"maker": (4, 2), "version": (6, 2), "flags": (8, 2), "compression": (10, 2), "time": (12, 4)}
_CENTRAL_FIELDS |= {"checksum": (16, 4), "compressed size": (20, 4), "size": (24, 4), "length of the name": (28, 2)}
_CENTRAL_FIELDS |= {"length of the extra": (30, 2), "length of the comment": (32, 2), "disk": (34, 2)}
_CENTRAL_FIELDS |= {"internal attributes": (36, 2), "external attributes": (38, 4), "offset": (42, 4)}
_END_FIELDS = {"disk": (4, 2), "disk of the directory": (6, 2), "entries on the disk": (8, 2), "entries": (10, 2)}
_END_FIELDS |= {"size of the directory": (12, 4), "offset of the directory": (16, 4), "length of the comment": (20, 2)}


def packed(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def attacks(members: dict[str, bytes], needed: str):
    """Archives that do harm.

    Args:
        members: Of the genuine archive.
        needed: The member that every reader needs; it does not come last.
    """
    genuine = packed(members)
    yield from _fields(genuine, members, needed)
    yield from _names(members, needed)
    yield from _bombs(members, needed)
    yield from _records(genuine, members, needed)


def _positions(data: bytes, signature: bytes) -> list[int]:
    found, position = [], data.find(signature)
    while position >= 0:
        found.append(position)
        position = data.find(signature, position + 1)
    return found


@part
def _fields(genuine, members, needed):
    names = list(members)
    for kind, signature, fields in (("header", LOCAL, _LOCAL_FIELDS), ("entry", CENTRAL, _CENTRAL_FIELDS)):
        for number, position in enumerate(_positions(genuine, signature)):
            if names[number] not in (needed, names[-1]):
                continue
            for field, (offset, size) in fields.items():
                for value in (0, 1, 2, 9, 0x7F, (1 << 8 * size - 1), (1 << 8 * size) - 1, (1 << 8 * size) - 2):
                    altered = changed(genuine, position + offset, value.to_bytes(size, "little"))
                    yield f"{value} as the {field} in the {kind} of {names[number]}", altered, HARMLESS
    end = genuine.rfind(END)
    for field, (offset, size) in _END_FIELDS.items():
        for value in (0, 1, 2, 0x7F, 0xFF, (1 << 8 * size - 1), (1 << 8 * size) - 1):
            altered = changed(genuine, end + offset, value.to_bytes(size, "little"))
            yield f"{value} as the {field} at the end", altered, HARMLESS
    for signature in (LOCAL, CENTRAL, END):
        for position in _positions(genuine, signature)[:2]:
            for number in range(4):
                yield (
                    f"byte {number} of the signature {signature!r} lost",
                    changed(genuine, position + number, b"x"),
                    HARMLESS,
                )


@part
def _names(members, needed):
    for intent, text in TEXTS.items():
        if "\0" in text or len(text) > 60_000 or "\ud800" <= text[:1] <= "\udfff":
            continue
        yield f"a member more, whose name is {intent}", packed({**members, f"archive/{text}": b"x"}), HARMLESS
        renamed = {text + "/x" if name == needed else name: content for name, content in members.items()}
        yield f"{needed} called {intent}", packed(renamed)
    for prefix in ("/", "//", "../", "../../../", "C:\\", "./", "a/../", "\\\\host\\"):
        yield (
            f"members called {prefix}...",
            packed({prefix + name: content for name, content in members.items()}),
            READABLE,
        )
        yield f"a member called {prefix}ATTACK_RAN", packed({**members, f"{prefix}ATTACK_RAN": b"x"}), HARMLESS


@part
def _bombs(members, needed):
    for size in (1 << 20, 50_000_000):
        for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
            bomb = packed({**members, needed: bytes(size)}, method)
            yield f"{size} zeros in {needed}, compressed by method {method}", bomb
    small = packed({**members, needed: bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    for declared in (0, 1, 100):
        position = _positions(small, CENTRAL)[list(members).index(needed)]
        yield f"50,000,000 zeros that declare {declared}", changed(small, position + 24, struct.pack("<I", declared))
    nested = packed({"inner.zip": packed({"zeros": bytes(1_000_000)}, zipfile.ZIP_DEFLATED)})
    yield "an archive in an archive", packed({**members, needed: nested})
    for count in (11_000, 60_000):
        yield (
            f"{count} members",
            packed({**members, **{f"archive/n{number}": b"" for number in range(count)}}),
            HARMLESS,
        )


@part
def _records(genuine, members, needed):
    """Members twice, over each other, and records of ZIP64 that contradict the others."""
    body, directory = genuine[: genuine.find(CENTRAL)], genuine[genuine.find(CENTRAL) : genuine.rfind(END)]
    end = genuine[genuine.rfind(END) :]
    double = struct.pack("<4s4H2IH", END, 0, 0, 2 * len(members), 2 * len(members), 2 * len(directory), len(body), 0)
    yield "every member twice", body + directory * 2 + double
    entries = _positions(directory, CENTRAL)
    for number, start in enumerate(entries):
        for other in entries:
            if other != start:
                same = changed(directory, start + 42, directory[other + 42 : other + 46])
                yield f"member {number} over another one at {other}", body + same + end, HARMLESS
    yield "another archive in front", packed({"x": b"y"}) + genuine, HARMLESS
    yield "another archive behind", genuine + packed({"x": b"y"})
    yield "an archive's end behind", genuine + end
    yield "a comment of 65,535 bytes", genuine[:-2] + b"\xff\xff" + b"x" * 0xFFFF, HARMLESS
    yield "text behind the end", genuine + b"x" * 100, HARMLESS
    for intent, size, offset, entries_count in (
        ("that agrees", len(directory), len(body), len(members)),
        ("of a directory of 2^60 bytes", 1 << 60, len(body), len(members)),
        ("of a directory at 2^63", len(directory), 1 << 63, len(members)),
        ("of 2^64 - 1 members", len(directory), len(body), (1 << 64) - 1),
        ("of a directory of 9 MiB", 9 << 20, len(body), len(members)),
        ("of an empty directory", 0, len(body), 0),
    ):
        record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, entries_count, entries_count, size, offset)
        locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(body) + len(directory), 1)
        lying = struct.pack("<4s4H2IH", END, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
        for which, last in (("as the only one", lying), ("beside another one", end)):
            yield f"a ZIP64 record {intent}, {which}", body + directory + record + locator + last, HARMLESS
    for cut in range(0, len(genuine), max(1, len(genuine) // 60)):
        yield f"cut after {cut} bytes", genuine[:cut]
    for cut in range(1, 23):
        yield f"the last {cut} bytes lost", genuine[:-cut]
    for extra in (
        b"\x01\x00\xff\xff",
        b"\x01\x00\x08\x00" + b"\xff" * 8,
        b"\x01\x00\x00\x00",
        b"\xff",
        b"\x75\x70\xff\x7f",
    ):
        info, buffer = zipfile.ZipInfo(needed), io.BytesIO()
        info.extra = extra
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(info, members[needed])
            for name, content in members.items():
                if name != needed:
                    archive.writestr(name, content)
        yield f"an extra field {extra!r:.40}", buffer.getvalue(), HARMLESS
    for mode, kind in (
        (0o120777, "link"),
        (0o020666, "character device"),
        (0o060666, "block device"),
        (0o010666, "pipe"),
        (0o140777, "socket"),
    ):
        position = len(body) + entries[list(members).index(needed)]
        yield f"a {kind}", changed(genuine, position + 38, struct.pack("<I", mode << 16)), HARMLESS
    for byte in range(0, len(members[needed]), max(1, len(members[needed]) // 100)):
        position = genuine.find(members[needed]) + byte
        yield f"byte {byte} of {needed} altered", changed(genuine, position, bytes([genuine[position] ^ 0xFF]))
    assert zlib.crc32(members[needed]) != zlib.crc32(b"")
