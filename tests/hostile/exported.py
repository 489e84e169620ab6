"""Attacks on exported files: the checksum, the description, and a name that is another format's."""

import functools
import hashlib
import io
import json
import tempfile
import zipfile
from pathlib import Path

import torch

from tinypose_torch.export.progress import no_progress
from tinypose_torch.models.registry import get_config
from tinypose_torch.runtime.checksums import SEAL, SEAL_SIZE, seal, seal_onnx, seal_torchscript
from tinypose_torch.runtime.formats import Method, find_export_format
from tinypose_torch.runtime.loading import ONNX_KEY, TORCHSCRIPT_EXTRA
from tinypose_torch.runtime.metadata import ExportMetadata, describe_methods

from . import jsons, protobufs, tiny, weights, zips
from .attack import READABLE, flipped, part

_VERSIONS = {"torch": "2"}


def description() -> ExportMetadata:
    return ExportMetadata(get_config(tiny.NAME), False, False, 1, "fp32", _VERSIONS)


def _network() -> torch.nn.Module:
    network = tiny.LiteHRNet(len(get_config(tiny.NAME).skeleton))
    network.load_state_dict(tiny.state_dict())
    return network.eval()


# --- the genuine files ----------------------------------------------------------------------------------------------


@functools.cache
def torchscript_members() -> dict[str, bytes]:
    """Members of the archive; the description is not the last."""
    program, buffer = torch.jit.trace(_network(), torch.zeros(1, 3, 32, 32)), io.BytesIO()
    torch.jit.save(program, buffer, _extra_files={TORCHSCRIPT_EXTRA: description().to_json()})
    with zipfile.ZipFile(buffer) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def torchscript(text: str | bytes | None = None) -> bytes:
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    members = torchscript_members()
    return seal_torchscript(zips.packed({**members, _extra(): members[_extra()] if raw is None else raw}))


def _extra() -> str:
    return next(name for name in torchscript_members() if name.endswith(f"extra/{TORCHSCRIPT_EXTRA}"))


def onnx_model(text: str | bytes | None = None) -> protobufs.Message:
    """A model that gives back its input, with a description."""
    shape = [(1, [(1, size)]) for size in (1, 3, 32, 32)]
    values = [[(1, name), (2, [(1, [(1, 1), (2, shape)])])] for name in ("x", "y")]
    node = [(1, "x"), (2, "y"), (4, "Identity")]
    graph = [(1, node), (2, "graph"), (11, values[0]), (12, values[1])]
    facts = description().to_json() if text is None else text
    return [
        (1, 8),
        (2, "pytorch"),
        (8, [(2, 17)]),
        (7, graph),
        (14, [(1, "a"), (2, "b")]),
        (14, [(1, ONNX_KEY), (2, facts)]),
    ]


def onnx(text: str | bytes | None = None) -> bytes:
    return seal_onnx(protobufs.encoded(onnx_model(text)))


@functools.cache
def executorch() -> bytes:
    """A program whose description ends with blanks, in whose place others can be put."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.pte"
        find_export_format("executorch").write(
            Method(_network(), torch.zeros(1, 3, 32, 32), description()), file, no_progress
        )
        return file.read_bytes()


def _described_executorch(text: str) -> bytes | None:
    """The program with another description; nothing if the description is too long to be put in its place."""
    data = executorch()[:-SEAL_SIZE]
    own = describe_methods({"forward": description()}).encode()
    raw = text.encode("utf-8", "surrogatepass")
    assert data.count(own) == 1
    return seal(data.replace(own, raw.ljust(len(own)))) if len(raw) <= len(own) else None


# --- attacks --------------------------------------------------------------------------------------------------------


def torchscripts():
    """Attacks on ``.torchscript``."""
    data = torchscript()
    yield from _seals(data, "TorchScript")
    for intent, text, *outcome in _descriptions():
        yield f"description: {intent}", torchscript(text), *outcome
    for intent, content in _archives():
        yield f"archive: {intent}", content
    members = torchscript_members()
    yield (
        "no description",
        seal_torchscript(zips.packed({name: data for name, data in members.items() if name != _extra()})),
    )
    yield (
        "two descriptions",
        seal_torchscript(zips.packed({**members, f"y/extra/{TORCHSCRIPT_EXTRA}": members[_extra()]})),
    )
    packed = zips.packed({**members, _extra(): members[_extra()] + b" " * 50_000_000}, zipfile.ZIP_DEFLATED)
    yield "a description of 50 MB, compressed", seal_torchscript(packed)


@part
def _archives():
    """Attacks on the archive that end before torch opens it: the description cannot be read."""
    members = {_extra(): torchscript_members()[_extra()], "x/other": b"x"}
    for intent, content, *outcome in zips.attacks(members, _extra()):
        if not outcome and content[-22:-18] == zips.END:
            yield intent, seal_torchscript(content)


def onnxes():
    """Attacks on ``.onnx``."""
    data = onnx()
    yield from _seals(data, "ONNX")
    for intent, text, *outcome in _descriptions():
        yield f"description: {intent}", onnx(text), *outcome
    model = onnx_model()
    for keep in range(len(model)):
        if model[keep][0] in (1, 7):
            yield f"without field {model[keep][0]}", seal_onnx(protobufs.encoded(model[:keep] + model[keep + 1 :]))
    yield "no description", seal_onnx(protobufs.encoded(model[:-1]))
    yield "a description that is a number", seal_onnx(protobufs.encoded([*model[:-1], (14, [(1, ONNX_KEY), (2, 5)])]))
    yield "properties that are numbers", seal_onnx(protobufs.encoded([*model[:-2], (14, 5)]))
    yield "300,000 fields", seal_onnx(protobufs.encoded([*model, *[(14, b"")] * 300_000]))
    for intent, raw in protobufs.lies(14, b"x").items():
        yield f"a property that is {intent}", seal_onnx(protobufs.encoded(model[:-1]) + raw), READABLE
    yield "a description that is not UTF-8", onnx(b'{"format": "\xff"}')


def executorches():
    """Attacks on ``.pte``."""
    yield from _seals(executorch(), "ExecuTorch")
    for intent, text, *outcome in _descriptions(methods=True):
        content = _described_executorch(text)
        if content is not None:
            yield f"description: {intent}", content, *outcome


@part
def _descriptions(methods: bool = False):
    facts = json.loads(description().to_json())
    if methods:
        facts = json.loads(describe_methods({"forward": description()}))
    yield from jsons.attacks(facts, first_of_lists=1)


@part
def _seals(data: bytes, kind: str):
    """Files whose checksum is cut, altered, moved, doubled, or of another file."""
    content, mark = data[:-SEAL_SIZE], data[-SEAL_SIZE:]
    digest = mark[len(SEAL) :]
    for position, altered in flipped(data, 400):
        yield f"a flipped bit at {position}", altered
    for number in range(SEAL_SIZE):
        altered = bytes([mark[number] ^ 0x10])
        yield f"byte {number} of the checksum altered", content + mark[:number] + altered + mark[number + 1 :]
        yield f"{number + 1} bytes of the checksum lost", data[: -number - 1]
        yield f"{number + 1} bytes in front lost", data[number + 1 :]
        yield f"{number + 1} bytes more behind the checksum", data + mark[: number + 1]
    for end in range(0, len(content), max(1, len(content) // 40)):
        yield f"the checksum behind {end} bytes", content[:end] + mark
        yield f"cut after {end} bytes", data[:end]
        yield f"the checksum in front of byte {end}", content[:end] + mark + content[end:]
    seals = {
        "in front": mark + content,
        "twice": data + mark,
        "of nothing": content + SEAL + hashlib.sha256(b"").digest(),
    }
    seals |= {
        "of the whole file": content + SEAL + hashlib.sha256(data).digest(),
        "alone": mark,
        "reversed": content + mark[::-1],
    }
    seals |= {
        "in lower case": content + SEAL.lower() + digest,
        "of zeros": content + SEAL + bytes(32),
        "half": data[:-16],
    }
    seals |= {
        "in hexadecimal": content + SEAL + digest.hex().encode(),
        "of MD5": content + SEAL + hashlib.md5(content).digest() * 2,
    }
    seals |= {"of SHA-512": content + SEAL + hashlib.sha512(content).digest()[:32], "without a file": seal(b"")}
    for intent, altered in seals.items():
        yield f"a checksum {intent}", altered
    others = {
        "weights": weights.genuine(),
        "a PyTorch file": zips.packed({"archive/data.pkl": b"N."}),
        "nothing": b"",
        "text": b"x" * 99,
    }
    others |= {"TorchScript": torchscript(), "ONNX": onnx(), "a page": b"<!DOCTYPE html><html>not found</html>"}
    for intent, other in others.items():
        if intent != kind:
            yield f"{intent} under this name", other
            yield f"{intent} under this name, with a checksum", seal(other)
            yield f"{intent} with the checksum of this file", other + mark
