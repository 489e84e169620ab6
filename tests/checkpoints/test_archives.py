"""Archives of deployed models: read in memory, within bounds, whatever they hold."""

import contextlib
import gzip
import io
import stat
import struct
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from conftest import REAL

from tinypose_torch import CheckpointError, create_model
from tinypose_torch.checkpoints import archives
from tinypose_torch.checkpoints.archives import is_archive, read_archive

NEWER = REAL / "exported/tinypose_128x96"
FILES = {
    "model.pdmodel": b"program",
    "model.pdiparams": bytes(range(256)) * 5,
    "model.pdiparams.info": b"info",
    "infer_cfg.yml": b"arch: HRNet\n",
}


def make_tar(files, folder="tinypose_128x96/", style=tarfile.GNU_FORMAT, kind="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=kind, format=style) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(folder + name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def make_zip(files, folder="tinypose_128x96/", method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(folder + name, content)
    return buffer.getvalue()


GOOD = {
    "tar, GNU": lambda files: make_tar(files),
    "tar, POSIX": lambda files: make_tar(files, style=tarfile.PAX_FORMAT),
    "tar, old": lambda files: make_tar(files, style=tarfile.USTAR_FORMAT),
    "tar.gz": lambda files: make_tar(files, kind="w:gz"),
    "zip": make_zip,
    "zip, stored": lambda files: make_zip(files, method=zipfile.ZIP_STORED),
    "zip, no folder": lambda files: make_zip(files, ""),
    "tar, ./": lambda files: make_tar(files, "./"),
}


def write(folder, content, name="tinypose_128x96.zip"):
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("make", GOOD.values(), ids=GOOD)
def test_the_four_files(make, tmp_path):
    others = {"._model.pdiparams": b"of a Mac", "README.md": b"text", "deep/er/notes.txt": b"x" * 5000}
    path = write(tmp_path, make({**others, **FILES}))
    assert is_archive(path)
    files = read_archive(path)
    assert [files.program, files.params, files.info, files.config] == list(FILES.values())
    assert "tinypose_128x96" in files.names


def test_program_and_tensors_suffice(tmp_path):
    path = write(tmp_path, make_tar({"model.json": b"{}", "model.pdiparams": b"tensors"}, "a/b/"))
    files = read_archive(path)
    assert (files.program, files.params, files.info, files.config) == (b"{}", b"tensors", None, None)
    assert files.names == ("b", "tinypose_128x96")


def test_folders_in_the_archive(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        folder = tarfile.TarInfo("tinypose/")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in FILES.items():
            info = tarfile.TarInfo("tinypose/" + name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    assert read_archive(write(tmp_path, buffer.getvalue())).params == FILES["model.pdiparams"]


@pytest.mark.needs_reference
@pytest.mark.parametrize("kind", ["tar", "tar, POSIX", "tar.gz", "zip"])
def test_a_published_model(kind, tmp_path):
    contents = {name: (NEWER / name).read_bytes() for name in ("model.json", "model.pdiparams", "infer_cfg.yml")}
    make = {**GOOD, "tar": make_tar}[kind]
    network = create_model(None, weights=write(tmp_path, make(contents), f"model.{kind[:3]}"))
    expected = create_model("tinypose_128x96", weights=REAL / "weights/tinypose_128x96.pdparams")
    assert network.config.name == "tinypose_128x96"
    pairs = zip(network.state_dict().values(), expected.state_dict().values(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


# --- hostile ones ---------------------------------------------------------------------------------------------------


def tar_header(name=b"model.pdiparams", size=b"00000000012\0", kind=b"0", checksum=None):
    header = bytearray(512)
    header[: len(name)] = name
    header[100:108] = b"0000644\0"
    header[124:136] = size
    header[156:157] = kind
    header[257:263] = b"ustar\0"
    header[148:156] = b" " * 8
    header[148:156] = checksum or b"%06o\0 " % sum(header)
    return bytes(header)


def base_256(number):
    return b"\x80" + number.to_bytes(11, "big")


def tar_link(kind):
    return tar_header(b"model.pdmodel", b"00000000000\0", kind) + make_tar(FILES)


def zip_link():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("model.pdmodel")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
        archive.writestr("model.pdiparams", b"x")
    return buffer.getvalue()


def twice(make):
    if make is make_tar:
        return make_tar({"model.pdiparams": b"one"}, "")[:1024] + make_tar({"./model.pdiparams": b"two"}, "")
    return make_zip({"model.pdiparams": b"one", "./model.pdiparams": b"two"}, "")


def encrypted():
    content = bytearray(make_zip(FILES, method=zipfile.ZIP_STORED))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        position = 0
        while (position := content.find(mark, position)) >= 0:
            content[position + offset] |= 1
            position += 4
    return bytes(content)


def declared_zip_size():
    """A member whose directory entry declares 2 GiB."""
    content = bytearray(make_zip(FILES))
    position = content.rfind(b"PK\x01\x02", 0, content.find(b"model.pdiparams", content.find(b"PK\x01\x02")))
    content[position + 24 : position + 28] = struct.pack("<I", (1 << 31) - 1)
    return bytes(content)


ZEROS = b"\0" * 60_000_000
HOSTILE = {
    "tar: hard link": (lambda: tar_link(b"1"), "'model.pdmodel', a hard link"),
    "tar: symbolic link": (lambda: tar_link(b"2"), "a symbolic link"),
    "tar: character device": (lambda: tar_link(b"3"), "a device"),
    "tar: block device": (lambda: tar_link(b"4"), "a device"),
    "tar: pipe": (lambda: tar_link(b"6"), "a pipe"),
    "tar: sparse file": (lambda: tar_link(b"S"), "not a plain file"),
    "tar: negative size": (lambda: tar_header(size=b"\xff" * 12), "bad size"),
    "tar: minus sign": (lambda: tar_header(size=b"-0000000012\0"), "bad size"),
    "tar: size that is no number": (lambda: tar_header(size=b"elephants\0\0\0"), "bad size"),
    "tar: 2^80 bytes": (lambda: tar_header(size=base_256(1 << 80)), "declares 1208925819614629174706"),
    "tar: 2 GiB of nothing": (lambda: tar_header(size=base_256(1 << 31)), "declares"),
    "tar: long name of 2 GiB": (lambda: tar_header(size=base_256(1 << 31), kind=b"L"), "declares"),
    "tar: attributes of 2 GiB": (lambda: tar_header(size=base_256(1 << 31), kind=b"x"), "declares"),
    "tar: twice": (lambda: twice(make_tar), "'model.pdiparams' twice"),
    "tar: wrong checksum": (lambda: make_tar(FILES)[:1024] + tar_header(checksum=b"000001\0 "), "bad header"),
    "tar: cut short": (lambda: tar_header(size=b"00000000702\0") + b"x" * 449, "declares 450 bytes; 449 more"),
    "tar: cut in the padding": (lambda: tar_header() + b"x" * 10, "cut short"),
    "tar: two models": (lambda: make_tar({"a.pdiparams": b"1", "b.pdiparams": b"2"}), "holds 2 .pdiparams files"),
    "tar: no model": (lambda: make_tar({"model.nb": b"1"}), "Paddle Lite"),
    "tar: tensors alone": (lambda: make_tar({"../../model.pdiparams": b"1"}), "has no program"),
    "gzip: bomb": (lambda: gzip.compress(make_tar({"model.pdiparams": ZEROS})), "more are accepted"),
    "gzip: bomb that is skipped": (lambda: gzip.compress(make_tar({"notes.txt": ZEROS})), "more are accepted"),
    "gzip: cut short": (lambda: gzip.compress(make_tar(FILES))[:-200], "damaged gzip"),
    "gzip: no tar": (lambda: gzip.compress(b"text" * 1000), "bad header"),
    "gzip: no gzip": (lambda: b"\x1f\x8b" + b"x" * 600, "damaged gzip"),
    "zip: symbolic link": (zip_link, "not a plain file"),
    "zip: bomb": (lambda: make_zip({"model.pdmodel": b"1", "model.pdiparams": ZEROS}), "more are accepted"),
    "zip: twice": (lambda: twice(make_zip), "'model.pdiparams' twice"),
    "zip: encrypted": (encrypted, "damaged zip.*encrypted"),
    "zip: 2 GiB declared": (declared_zip_size, "declares 2147483647 bytes"),
    "zip: no model": (lambda: make_zip({"notes.txt": b"1"}), "without a deployed model"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_refused_within_bounds(case, tmp_path, monkeypatch):
    make, message = HOSTILE[case]
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, make())
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=message) as caught:
            create_model("tinypose_128x96", weights=path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)
    assert peak < 16_000_000 + 3 * path.stat().st_size
    assert [file.name for file in tmp_path.rglob("*")] == [path.name], "something was extracted"


def test_a_member_without_a_name(tmp_path):
    """Python before 3.12 fails on one; later versions leave it out."""
    content = make_zip({**FILES, "~empty": b""}, "").replace(b"~empty", b"\0empty")  # names end at a zero
    path = write(tmp_path, content)
    with contextlib.suppress(CheckpointError):
        assert read_archive(path).params == FILES["model.pdiparams"]


def test_too_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    for make in (make_tar, make_zip):
        with pytest.raises(CheckpointError, match="archive of more than 3 members"):
            read_archive(write(tmp_path, make({**FILES, "a": b"", "b": b""})))


@pytest.mark.parametrize("make", [make_tar, make_zip, GOOD["tar.gz"]])
def test_altered_archives_never_escape(make, tmp_path):
    """Flipped bytes give other contents or a CheckpointError, never another exception."""
    whole = make(FILES)
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        altered = bytearray(whole)
        for position in generator.integers(0, len(altered), generator.integers(1, 5)):
            altered[position] = generator.integers(0, 256)
        path = write(tmp_path, bytes(altered))
        try:
            if is_archive(path):
                read_archive(path)
        except CheckpointError:
            refused += 1
    assert refused > 0
