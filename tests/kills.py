"""Kills a command again and again at random moments: ``python tests/kills.py SCENARIO FOLDER KILLS``.

One process imports everything and forks a child for each run. Half of the children are killed after a random part of a
run's duration, the others just before a random one of their operations on files. After each kill the files are checked.
After every second one the same command is repeated in the same folder, and must succeed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS.parent), str(TESTS), str(TESTS / "checkpoints")]
DEMO = str(TESTS.parent / "weights/tinypose_128x96_demo.safetensors")
_OPERATIONS = {"os.rename", "os.remove", "os.mkdir", "os.truncate"}
_WRITING = os.O_WRONLY | os.O_RDWR


@dataclass
class Scenario:
    """A command and its files.

    Attributes:
        run: Runs the command and returns its exit status.
        check: Fails for a file that is not whole; given the file, and its contents after an undisturbed run.
        inputs: Files that it must not change.
        lose_connections: Run once and lose connections, in place of a kill; returns how many.
    """

    run: Callable[[], int]
    check: Callable[[Path, bytes], None]
    inputs: list[Path] = field(default_factory=list)
    lose_connections: Callable[[], int] | None = None


def predict_photos() -> Scenario:
    from tinypose_torch.cli import main

    photos = [_photo(Path("photos", f"{name}.jpg")) for name in "ab"]
    arguments = ["predict", "photos", *_weights(), "--output", "out", "--json", "poses.json"]
    return Scenario(lambda: main(arguments), _same, photos)


def predict_video() -> Scenario:
    import multiprocessing

    from conftest import write_video

    from tinypose_torch.cli import main
    from tinypose_torch.video import VideoReader

    fork = multiprocessing.get_context("fork")
    multiprocessing.get_context = lambda *_: fork  # which does not import everything again
    write_video(Path("clip.mp4"), frames=8, fps=4.0)
    arguments = ["predict", "clip.mp4", *_weights(), "--output", "out", "--json", "poses.jsonl"]

    def check(file: Path, expected: bytes) -> None:
        if file.suffix == ".jsonl":
            for line in file.read_bytes().split(b"\n")[:-1]:
                assert line in expected.split(b"\n"), line
        elif file.suffix == ".mp4":
            _same(file, expected)
            with VideoReader(str(file)) as video:
                assert len(list(video)) == 8

    return Scenario(lambda: main(arguments), check, [Path("clip.mp4")])


def export(format_name: str) -> Scenario:
    """All but the exporter's own work, in whose place a megabyte is written."""
    from tinypose_torch.cli import export as command
    from tinypose_torch.cli import main
    from tinypose_torch.export import api
    from tinypose_torch.runtime import load_runner
    from tinypose_torch.runtime.checksums import read_sealed, seal
    from tinypose_torch.runtime.formats import Method, find_export_format

    made = seal(random.Random(0).randbytes(1 << 20))

    def write(method: object, path: Path, progress: object) -> dict[str, object]:
        path.write_bytes(made)
        return {}

    find_export_format(format_name).write = write
    metadata = load_runner(weights=DEMO).metadata
    api.prepare = lambda *_: api.Prepared(Method(None, None, metadata), {})
    command._compare = lambda *_: []
    output = Path("exported", f"x{find_export_format(format_name).suffix}")
    arguments = ["export", "--weights", DEMO, "--format", format_name, "--output", str(output)]

    def check(file: Path, expected: bytes) -> None:
        if file.suffix == ".json":
            assert json.loads(file.read_text())["sha256"] == hashlib.sha256(made).hexdigest()
        else:
            assert read_sealed(file) == made

    return Scenario(lambda: main(arguments), check, [Path(DEMO)])


def convert() -> Scenario:
    from convert.__main__ import main

    arguments = [DEMO, "--output", "converted/x.safetensors"]

    return Scenario(lambda: main(arguments), _check_weights, [Path(DEMO)])


def download() -> Scenario:
    """Official weights from a server on this machine."""
    return _download()[0]


def lost_connections() -> Scenario:
    """Runs whose connections are closed at a random byte."""
    scenario, server = _download()
    from test_download import FILE

    size = len(server.files[FILE])

    class Cuts(type(server)):  # type: ignore[misc]
        count = 0

        @property
        def cut(self) -> int:
            Cuts.count += 1
            return random.randrange(2 * size)

        @cut.setter
        def cut(self, _: object) -> None: ...

    def lose() -> int:
        usual, Cuts.count, server.__class__ = type(server), 0, Cuts
        _forked(scenario.run)
        server.__class__ = usual
        return Cuts.count

    scenario.lose_connections = lose
    return scenario


def _download() -> tuple[Scenario, Any]:
    from test_download import FILE, NAME, Handler, checkpoint

    from tinypose_torch.checkpoints import download as module
    from tinypose_torch.models.registry import get_config

    content = checkpoint()[1]
    server = type("Server", (ThreadingHTTPServer,), {"handle_error": lambda *_: None})(("127.0.0.1", 0), Handler)
    server.files, server.requests, server.ranges, server.closing = {FILE: content}, [], True, False
    server.cut = server.md5 = server.declared = server.part = server.drip = None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ["TINYPOSE_MIRROR"] = f"http://127.0.0.1:{server.server_port}"
    module.time = SimpleNamespace(sleep=lambda _: None, monotonic=time.monotonic)

    def run() -> int:
        module.fetch_pretrained(get_config(NAME))
        return 0

    def check(file: Path, expected: bytes) -> None:
        if file.suffix == ".part":
            assert content.startswith(file.read_bytes())
        elif file.suffix == ".safetensors":
            _check_weights(file, expected)
        elif file.suffix == ".pdparams":
            _same(file, content)

    return Scenario(run, check), server


def _weights() -> list[str]:
    return ["--detector", "none", "--pose-weights", DEMO, "--backend", "eager"]


def _photo(path: Path) -> Path:
    y, x = np.mgrid[:90, :120]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.stack([x * 2, y * 2, x + y], axis=-1).astype(np.uint8)).save(path)
    return path


def _same(file: Path, expected: bytes) -> None:
    assert file.read_bytes() == expected


def _check_weights(file: Path, expected: bytes) -> None:
    """The checksum is tested; the order of the metadata differs."""
    from tinypose_torch.checkpoints.files import read_checkpoint

    assert read_checkpoint(file).tensors
    assert file.stat().st_size == len(expected)


@dataclass
class Ended:
    """How a child ended, after so many seconds and operations on files."""

    status: int
    seconds: float
    operations: int


def _forked(run: Callable[[], int], kill_after: float | None = None, kill_at: int | None = None) -> Ended:
    """Run in a child, which may be killed, with all processes that it starts, after a time or before an operation."""
    alive, held = os.pipe()  # which ends with the last of the processes
    os.set_inheritable(held, True)
    counts = np.memmap("operations", np.int64, "w+", shape=(1,))
    started = time.monotonic()
    child = os.fork()
    if not child:
        os.close(alive)
        _run_child(run, counts, kill_at)
    os.close(held)
    with contextlib.suppress(ProcessLookupError):
        os.setpgid(child, child)
    if kill_after is not None:
        time.sleep(kill_after)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # tests/video/test_overlapped.py kills the first process alone
    _, status = os.waitpid(child, 0)
    while os.read(alive, 1):
        pass
    os.close(alive)
    return Ended(os.waitstatus_to_exitcode(status), time.monotonic() - started, int(counts[0]))


def _run_child(run: Callable[[], int], counts: np.memmap, kill_at: int | None) -> None:
    with contextlib.suppress(PermissionError):
        os.setpgid(0, 0)
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)

    def count(event: str, arguments: tuple[object, ...]) -> None:
        if event in _OPERATIONS or (event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING):
            counts[0] += 1
            if counts[0] == kill_at:
                os.killpg(0, signal.SIGKILL)

    sys.addaudithook(count)
    status = 70
    try:
        status = run()
    except BaseException as error:
        print(f"{type(error).__name__}: {error}")
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _files(scenario: Scenario) -> dict[Path, bytes]:
    """Everything in the working directory but inputs and what these tests write."""
    others = {*scenario.inputs, Path("log"), Path("operations")}
    found = {path for path in Path().rglob("*") if path.is_file()}
    return {path: path.read_bytes() for path in found - others}


def kill_again_and_again(scenario: Scenario, kills: int, generator: random.Random) -> str:
    """Run and kill until there were so many kills, or lost connections."""
    from tinypose_torch.utils.atomic import is_temporary

    inputs = {path: path.read_bytes() for path in scenario.inputs}
    usual = _forked(scenario.run)
    assert usual.status == 0, Path("log").read_text()
    expected = _files(scenario)
    assert expected
    done = runs = leftovers = 0
    while done < kills:
        if runs % 4 == 0:
            for path in _files(scenario):
                path.unlink()
        done += _disturb(scenario, usual, done, generator)
        left = _files(scenario)
        for path, content in left.items():
            if not is_temporary(path):
                scenario.check(path, expected.get(path, content))
        leftovers += any(map(is_temporary, left))
        runs += 1
        if runs % 2:
            continue
        again = _forked(scenario.run)
        assert again.status == 0, Path("log").read_text()
        repeated = _files(scenario)
        assert set(repeated) - _not_removed(repeated) == set(expected)
        for path in expected:
            scenario.check(path, expected[path])
        assert {path: path.read_bytes() for path in inputs} == inputs
    return f"{done} kills, {leftovers} of which left a temporary file"


def _not_removed(files: Iterable[Path]) -> set[Path]:
    """The validator of a download that was complete when the process was killed."""
    return {path for path in files if path.suffix == ".validator"}


def _disturb(scenario: Scenario, usual: Ended, number: int, generator: random.Random) -> int:
    """Run and kill once; returns how many kills or lost connections there were."""
    if scenario.lose_connections is not None:
        return scenario.lose_connections()
    if number % 2:
        killed = _forked(scenario.run, kill_after=generator.random() * usual.seconds)
    else:
        killed = _forked(scenario.run, kill_at=generator.randint(1, usual.operations))
    return int(killed.status == -signal.SIGKILL)


def main() -> None:
    """Prepare the scenario in its folder, and print what happened."""
    name, folder, kills = sys.argv[1:]
    os.chdir(folder)
    os.environ |= {"TINYPOSE_CACHE": str(Path("cache").absolute()), "OMP_NUM_THREADS": "1"}
    import torch

    torch.set_num_threads(1)
    scenario = SCENARIOS[name]()
    print(kill_again_and_again(scenario, int(kills), random.Random(name)))


SCENARIOS: dict[str, Callable[[], Scenario]] = {
    "photos": predict_photos,
    "video": predict_video,
    "torchscript": lambda: export("torchscript"),
    "onnx": lambda: export("onnx"),
    "executorch": lambda: export("executorch"),
    "convert": convert,
    "download": download,
    "connections": lost_connections,
}

if __name__ == "__main__":
    main()
