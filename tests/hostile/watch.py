"""Opens files as a user's command does, and notices everything that an attack could have done."""

import contextlib
import hashlib
import os
import pickle
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from fuzz.mutations import MEMORY, limited_memory, limited_time

from tinypose_torch import CheckpointError
from tinypose_torch.models.registry import UnknownModelError
from tinypose_torch.runtime import load_runner

from . import tiny
from .attack import HARMLESS, REFUSED, Attack, Files, Format

LONGEST_MESSAGE = 600  # without the path of the file
MARKER = "ATTACK_RAN"
CANARIES = {"cwd/notes.txt": b"canary", "home/.profile": b"canary", "tmp/other": b"canary", "cwd/model/x": b"canary"}
_FORBIDDEN = (
    "os.",
    "shutil.",
    "subprocess.",
    "socket.",
    "pickle.find_class",
    "ctypes.dlopen",
    "webbrowser.",
    "urllib.",
)
_HARMLESS_EVENTS = ("os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.getxattr", "os.listxattr")
_watching = False
_noticed: list[str] = []


def _audit(event: str, arguments: tuple) -> None:
    if not _watching:
        return
    if event == "open" and arguments[0] == os.devnull:
        return
    writes = event == "open" and (set(arguments[1] or "") & set("wax+") or arguments[2] & (os.O_WRONLY | os.O_RDWR))
    if writes or (event.startswith(_FORBIDDEN) and event not in _HARMLESS_EVENTS):
        _noticed.append(f"{event}{arguments!r:.200}")


sys.addaudithook(_audit)


@contextlib.contextmanager
def watched():
    """Fails if the block starts a program, connects, unpickles with Python's own unpickler, or writes a file."""
    global _watching
    _noticed.clear()
    _watching = True
    try:
        yield
    finally:
        _watching = False
    assert not _noticed, f"did what no reader needs: {_noticed[:3]}"


@contextlib.contextmanager
def bounded(size: int):
    """The bounds of opening files of so many bytes."""
    with limited_memory(size + MEMORY), limited_time(), watched():
        yield


class Workplace:
    """Folders with files that must not change; the working directory, HOME and TMPDIR are among them."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.folder, self.inputs = folder, folder / "inputs"
        for name, content in CANARIES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        self.inputs.mkdir()
        monkeypatch.chdir(folder / "cwd")
        for variable in ("TMPDIR", "HOME", "TINYPOSE_CACHE"):
            monkeypatch.setenv(variable, str(folder / ("tmp" if variable == "TMPDIR" else "home")))
        monkeypatch.setattr(tempfile, "tempdir", None)

    def put(self, files: Files) -> None:
        """Replace the files that are opened."""
        for path in self.inputs.iterdir():
            path.unlink()
        for name, content in files.items():
            if content is not None:
                (self.inputs / name).write_bytes(content)

    def snapshot(self) -> dict[str, object]:
        """Every file and folder: its kind, its size, and a hash of its contents."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            content = path.read_bytes() if path.is_file() else b""
            found[str(path)] = (path.lstat().st_mode, len(content), hashlib.sha256(content).digest())
        return found


def open_runner(path: Path):
    """What `tinypose predict --pose NAME --pose-weights PATH` opens."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # folded batch norms
        return load_runner(tiny.NAME, path, task="pose")


def result_of(runner) -> tuple:
    """What a network computes with, or computes."""
    if runner.backend == "eager":
        tensors = runner.network.state_dict()
        return (runner.metadata.config, *((name, tensor.numpy().tobytes()) for name, tensor in tensors.items()))
    batch = np.linspace(0, 1, 3 * 32 * 32, dtype=np.float32).reshape(1, 3, 32, 32)
    return runner.metadata, *(output.tobytes() for output in runner.run(batch))


def check_message(error: Exception, path: Path) -> None:
    """One printable line that names the file."""
    message = str(error)
    assert message.isprintable(), f"not one printable line: {message!r}"
    assert str(path) in message, f"does not name the file: {message}"
    length = len(message.replace(str(path), ""))
    assert 8 <= length <= LONGEST_MESSAGE, f"{length} characters: {message}"


def _import_networks(workplace: Workplace) -> None:
    """Import now what is imported when the models of the catalogue are first compared with a file that fits none."""
    workplace.put(
        {"x.pdparams": pickle.dumps({"backbone.la1.x": np.zeros(1), "backbone.stem.conv1.x": np.zeros(1)}, 4)}
    )
    with contextlib.suppress(CheckpointError):
        open_runner(workplace.inputs / "x.pdparams")


class Range:
    """Opens the files of one format."""

    def __init__(self, kind: Format, workplace: Workplace) -> None:
        self.kind, self.workplace = kind, workplace
        self.path = workplace.inputs / kind.opened if kind.opened != "." else workplace.inputs
        self.files = kind.genuine()
        _import_networks(workplace)
        workplace.put(self.files)
        self.genuine = result_of(open_runner(self.path))

    def feed(self, attack: Attack) -> str:
        """Open an attack; returns the message of its refusal, empty if it was read."""
        files = {**self.files, **attack.files}
        self.workplace.put(files)
        before = self.workplace.snapshot()
        size = sum(len(content) for content in files.values() if content)
        try:
            message = self._open(size, attack.outcome)
        except BaseException as error:
            kept = Path(f"/tmp/hostile-{hashlib.sha256(repr(files).encode()).hexdigest()[:12]}")
            kept.write_bytes(next(iter(attack.files.values())) or b"")
            text = f"{attack.intent}: {type(error).__name__}: {error!s:.1000} (the file: {kept})"
            raise AssertionError(text) from error
        assert self.workplace.snapshot() == before, f"{attack.intent}: files were created or changed"
        return message

    def _open(self, size: int, outcome: str) -> str:
        with bounded(size):
            try:
                runner = open_runner(self.path)
            except (CheckpointError, UnknownModelError, FileNotFoundError) as error:
                check_message(error, self.path)
                return str(error)
        assert outcome != REFUSED, "was read"
        result = result_of(runner)
        assert result == self.genuine or outcome != HARMLESS, "was read as something else"
        assert all(
            torch.isfinite(t).all() for t in getattr(runner, "network", torch.nn.Identity()).state_dict().values()
        )
        return ""


def distinct(attack: Attack) -> str:
    """A hash by which different files are counted."""
    return hashlib.sha256(repr(sorted(attack.files.items())).encode()).hexdigest()
