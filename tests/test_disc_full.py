"""Every command that writes on a disc that is full: one line, exit status 1, earlier results stay, no half files."""

import errno
import json
import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO_WEIGHTS, ROOT, gradient_image
from PIL import Image

from convert.__main__ import main as convert
from tinypose_torch.cli import benchmark, evaluate, main, models, networks
from tinypose_torch.cli import export as export_command
from tinypose_torch.cli.evaluation_tasks import Found
from tinypose_torch.export import api, cache
from tinypose_torch.runtime import load_runner
from tinypose_torch.runtime.checksums import seal_onnx
from tinypose_torch.runtime.formats import Method, export_formats, find_export_format
from tinypose_torch.utils.atomic import OutputError, is_temporary, replacing
from tinypose_torch.video import VideoWriter

DETECTOR, POSE = map(str, DEMO_WEIGHTS.values())
PREDICT = ["predict", "photo.jpg", "--detector", "none", "--pose-weights", POSE, "--overwrite"]
EXPORT = ["export", "--weights", POSE, "--overwrite"]
EVALUATE = ["evaluate", "--weights", POSE, "--annotations", "a.json", "--images", ".", "--overwrite"]
BENCHMARK = ["benchmark", "tinypose_128x96", "--backend", "eager", "--overwrite"]
# The command, and its output on the disc.
COMMANDS = {
    "overlay": ([*PREDICT, "--output", "disc"], "photo.png"),
    "json": ([*PREDICT, "--json", "disc/x.json"], "x.json"),
    "json lines": ([*PREDICT, "--json", "disc/x.jsonl"], "x.jsonl"),
    "video": (["predict", "clip.mov", *PREDICT[2:], "--output", "disc"], "clip.mp4"),
    "executorch": ([*EXPORT, "--output", "disc/x.pte"], "x.pte"),
    "torchscript": ([*EXPORT, "--format", "torchscript", "--output", "disc/x.torchscript"], "x.torchscript"),
    "onnx": ([*EXPORT, "--format", "onnx", "--output", "disc/x.onnx"], "x.onnx"),
    "convert": (["convert", POSE, "--output", "disc/x.safetensors", "--overwrite"], "x.safetensors"),
    "accuracy": ([*EVALUATE, "--json", "disc/x.json"], "x.json"),
    "predictions": ([*EVALUATE, "--predictions", "disc/x.json"], "x.json"),
    "times": ([*BENCHMARK, "--json", "disc/x.json"], "x.json"),
    "plot": ([*BENCHMARK, "--plot", "disc/x.svg"], "x.svg"),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory; what takes long but writes nothing is left out of the commands."""
    monkeypatch.chdir(tmp_path)
    Path("disc").mkdir()
    Image.fromarray(gradient_image()).save("photo.jpg")

    def write(method, path, progress):
        path.write_bytes(bytes(200_000))
        return {}

    for known in export_formats():
        monkeypatch.setattr(known, "write", write)
    runner = load_runner(weights=POSE)
    prepared = api.Prepared(Method(None, None, runner.metadata), {})
    monkeypatch.setattr(api, "prepare", lambda *_: prepared)
    monkeypatch.setattr(export_command, "_compare", lambda *_: [])
    found = Found([{"image_id": 1, "score": 0.5}], 1, lambda: {"AP": 0.5})
    monkeypatch.setattr(evaluate, "evaluate_network", lambda _: (evaluate._described(runner), found))
    row = {"model": "x", "backend": "eager", "threads": 1, "ratio": None, "peak_memory": None, "version": "1"}
    row |= {"median_ms": 1.0, "p90_ms": 1.0, "bytes": 1}
    monkeypatch.setattr(benchmark, "_measure_networks", lambda *_: [row])
    monkeypatch.setattr(benchmark, "_build_networks", lambda _: {"x": None})
    return tmp_path


@contextmanager
def file_size_limit(limit):
    """No file can become larger; the error is another one than on a full disc, at any byte."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def small_disc(free):
    """A file system of 1 MB, of which so many bytes are free."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "disc"], capture_output=True)
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "disc"], check=True)


def fill(folder, free=0):
    space = os.statvfs(folder)
    (folder / "ballast").write_bytes(bytes(space.f_bavail * space.f_frsize - free))


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def refused(name, capsys, earlier):
    """Run a command that cannot write its output; checks what is left of it."""
    arguments, output = COMMANDS[name]
    status = convert(arguments[1:]) if name == "convert" else main(arguments)
    error = capsys.readouterr().err.splitlines()
    assert status == 1, error
    (line,) = [line for line in error if "error" in line]
    assert line.startswith(
        f"{'convert' if name == 'convert' else 'tinypose'}: error: disc/{output} cannot be written: "
    )
    left = [path.name for path in Path("disc").iterdir() if path.name != "ballast"]
    assert left == ([output] if earlier or name == "json lines" else []), left
    if earlier and name != "json lines":  # which are written as they come
        assert Path("disc", output).read_bytes() == b"an earlier result"
    assert not any(map(is_temporary, left))
    return line


def prepare(name, earlier):
    arguments, output = COMMANDS[name]
    if "clip.mov" in arguments:
        generator = np.random.default_rng(0)
        with VideoWriter(Path("clip.mp4"), 10, (64, 48)) as writer:
            for _ in range(60):
                writer.write(generator.integers(0, 256, (48, 64, 3), dtype=np.uint8))
        Path("clip.mp4").rename("clip.mov")
    if earlier:
        Path("disc", output).write_bytes(b"an earlier result")


QUICK = ("json", "video", "onnx", "convert")


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in COMMANDS])
def test_in_the_middle_of_the_file(name, folder, capsys):
    prepare(name, earlier=True)
    # Frames in shared memory are a file, too, of 55 kB; the overlay is larger.
    with file_size_limit(80_000 if name == "video" else 20):
        assert "larger than this system allows" in refused(name, capsys, earlier=True)


@pytest.mark.slow
@pytest.mark.parametrize("free", [0, 8192])
@pytest.mark.parametrize("name", COMMANDS)
def test_full_file_system(name, free, folder, capsys):
    """At the first byte, and after some pages for the files that are larger."""
    with small_disc(free):
        prepare(name, earlier=free == 0)
        if free and COMMANDS[name][1].endswith((".json", ".jsonl")):
            pytest.skip("fits")
        if name == "json lines":
            pytest.skip("fits into the page of the earlier file, which is written in place")
        fill(folder / "disc", free)
        assert "the disc is full (No space left on device)" in refused(name, capsys, earlier=free == 0)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("name", COMMANDS)
def test_last_steps(name, step, folder, capsys, monkeypatch):
    if name in ("json lines", "video") or (name, step) == ("overlay", "fsync"):
        pytest.skip("has no such step in this process")
    prepare(name, earlier=True)
    monkeypatch.setattr(os, step, full)
    assert "the disc is full (No space left on device)" in refused(name, capsys, earlier=True)


def test_json_lines_end_with_a_whole_one(folder, capsys):
    for letter in "abc":
        Image.fromarray(gradient_image()).save(f"{letter}.jpg")
    command = ["predict", "a.jpg", "b.jpg", "c.jpg", *PREDICT[2:], "--json", "disc/x.jsonl"]
    assert main(command) == 0
    whole = Path("disc/x.jsonl").read_bytes()
    with file_size_limit(len(whole) - 10):
        assert main(command) == 1
    lines = Path("disc/x.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["image"] for line in lines] == ["a.jpg", "b.jpg"]
    assert capsys.readouterr().err.count("disc/x.jsonl cannot be written") == 1


def test_receipts(folder, capsys, monkeypatch):
    """The exported file is there; the command can be repeated when there is space."""
    command = ["export", "--weights", POSE, "--format", "onnx", "--output", "disc/x.onnx"]
    sealed = seal_onnx(bytes(100))
    onnx = find_export_format("onnx")
    monkeypatch.setattr(onnx, "write", lambda method, path, progress: path.write_bytes(sealed) and {})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(export_command, "write_receipt", lambda *_: full())
        assert main(command) != 0
    assert Path("disc/x.onnx").read_bytes() == sealed
    assert main(command) == 0
    assert Path("disc/x.onnx.receipt.json").is_file()


def test_standard_output(capsys, monkeypatch):
    with open("/dev/full", "w") as out, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", out)
        assert main(["models", "tinypose*"]) == 1  # when it is flushed
    message = "tinypose: error: standard output cannot be written: the disc is full (No space left on device)\n"
    assert capsys.readouterr().err == message
    monkeypatch.setattr(models, "run", full)  # before
    assert main(["models"]) == 1
    assert capsys.readouterr().err == message


def test_cache_of_exported_networks(folder, private_cache, capsys, monkeypatch):
    """A network that cannot be kept runs from its weights."""
    pytest.importorskip("executorch")
    monkeypatch.setattr(networks, "count_images", lambda _: cache.EXPORT_PAYS_FROM)

    def export(network, path, *_, **__):
        with replacing(path) as temporary:
            temporary.write_bytes(bytes(100_000))

    monkeypatch.setattr(api, "export_model", export)
    with file_size_limit(50_000):
        assert main([*PREDICT, "--backend", "auto", "--json", "x.json"]) == 0
    error = capsys.readouterr().err
    assert "tinypose_128x96 runs on eager: cannot make" in error
    assert ".pte: the file is larger than this system allows" in error
    assert [path.suffix for path in (private_cache / "exported").iterdir()] == [".lock"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO])
def test_errors_of_the_system(number, tmp_path):
    """Errors about the file name it; errors about others stay what they are."""
    path = tmp_path / "x.json"
    with (
        pytest.raises(OutputError, match=rf"x\.json cannot be written: .*{os.strerror(number)}"),
        replacing(path) as file,
    ):
        raise OSError(number, os.strerror(number), str(file))
    with pytest.raises(FileNotFoundError, match="weights"), replacing(path):
        raise FileNotFoundError(errno.ENOENT, "no such file", "weights")
    assert list(tmp_path.iterdir()) == []


def test_leftovers_are_removed_by_the_next_process(tmp_path):
    """Files of living processes and of other programs stay."""
    kept = ["x.json", ".x.12.tmp.json", ".hidden", "x.12.tinypose-tmp.json"]
    for name in (*kept, ".x.12.tinypose-tmp.json", ".y.3.tinypose-tmp"):
        (tmp_path / name).write_text("half")
    with replacing(tmp_path / "new.json") as temporary:
        temporary.write_text("[]")
        program = "import sys; from pathlib import Path; from tinypose_torch.utils.atomic import replacing\n"
        program += "with replacing(Path(sys.argv[1])) as file: file.write_text('other')"
        subprocess.run([sys.executable, "-c", program, str(tmp_path / "other.json")], check=True, cwd=ROOT)
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "new.json", "other.json"}
    assert (tmp_path / "new.json").read_text() == "[]"


def test_half_an_overlay_is_no_input(tmp_path):
    """A process that was killed before it wrote the mark of its overlay."""
    from tinypose_torch.utils.images import find_inputs

    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "photo.png")
    (tmp_path / ".photo.12.tinypose-tmp.png").write_bytes(b"\x89PNG")
    for item in (tmp_path, f"{tmp_path}/.*.png", f"{tmp_path}/*.png"):
        assert find_inputs([str(item)])[0] in ([str(tmp_path / "photo.png")], [])
