"""What is printed is one line each, safe for a terminal, and says what is wrong; closed outputs end a program quietly."""

import base64
import functools
import http.server
import importlib.util
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from conftest import ROOT, gradient_image
from PIL import Image
from safetensors.numpy import save_file

from convert.__main__ import main as convert
from tinypose_torch import create_model
from tinypose_torch.checkpoints.download import DownloadError, source_url
from tinypose_torch.checkpoints.errors import plain
from tinypose_torch.cli import main
from tinypose_torch.data.errors import malformation
from tinypose_torch.models.registry import UnknownModelError
from tinypose_torch.utils.messages import escaped, one_line
from tinypose_torch.utils.table import format_table

ESCAPE = "\x1b]0;title\x07\x1b[31mred\r"
POSE = ["--detector", "none", "--pose-weights", str(ROOT / "weights/tinypose_128x96_demo.safetensors")]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("as it is"), "as it is"),
        (ValueError(ESCAPE), r"\x1b]0;title\x07\x1b[31mred\r"),
        (ValueError("two\nlines"), r"two\nlines"),
        (ValueError("a\u202eb\u2028c"), r"a\u202eb\u2028c"),
        (ValueError("\x9b31m"), r"\x9b31m"),
        (ValueError("\udcff.jpg"), r"\udcff.jpg"),
        (ValueError("é 中 ü"), "é 中 ü"),
        (ValueError("\u3000 \U0001f468\u200d\U0001f467"), "\u3000 \U0001f468\u200d\U0001f467"),
        (ValueError(""), "ValueError"),
        (KeyError("area"), "the key 'area' is missing"),
        (KeyError(7), "the key 7 is missing"),
        (KeyError(), "KeyError"),
        (UnknownModelError("unknown model 'x'; did you mean 'y'?"), "unknown model 'x'; did you mean 'y'?"),
        (FileNotFoundError(2, "No such file or directory", "x.json"), "x.json: No such file or directory"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (
            FileNotFoundError(2, "No such file or directory", ESCAPE),
            r"\x1b]0;title\x07\x1b[31mred\r: No such file or directory",
        ),
        (OSError("no weight file 'x'"), "no weight file 'x'"),
        (MemoryError(), "not enough memory"),
        (RuntimeError("first line\nC++ stack\n"), "first line"),
        (ValueError("http://user:secret@host/x: refused"), "http://host/x: refused"),
        (ValueError("rtsp://u:p@ss@host:554/x and ftp://me@b/"), "rtsp://host:554/x and ftp://b/"),
        (ValueError("mail@example.org, a://b"), "mail@example.org, a://b"),
        (ZeroDivisionError("division by zero"), "division by zero"),
    ],
)
def test_one_line(error, line):
    assert one_line(error) == line


def test_long_messages_keep_their_remedy():
    line = one_line(ValueError("the key " + "x" * 20_000_000 + "; pass another one"))
    assert len(line) < 2100
    assert line.startswith("the key xxx")
    assert line.endswith("; pass another one")


def test_tables_and_names():
    assert format_table(("name",), [(ESCAPE,)]).splitlines()[-1] == escaped(ESCAPE)
    assert plain(ESCAPE * 100, 10) == escaped(ESCAPE[:10]) + "..."


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError("bbox"), "'bbox' is missing"),
        (TypeError("'int' object is not subscriptable"), "a value is of the wrong type or length"),
        (IndexError("list index out of range"), "a value is of the wrong type or length"),
        (ValueError("expected a list"), "expected a list"),
    ],
)
def test_malformed_files(error, text):
    assert malformation(error).startswith(text)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def is_safe(text):
    return escaped(text.replace("\n", "")) == text.replace("\n", "")


def test_names_of_photos(folder, capsys):
    """In the lines about photos, and in the list of failures."""
    Image.fromarray(gradient_image(60, 80)).save(f"{ESCAPE}.png")
    Path(f"broken{ESCAPE}.png").write_text("no photo")
    Path(os.fsdecode(b"\xff\xfe.png")).write_text("no photo")
    address = "http://user:secret@127.0.0.1/x.mp4"
    assert (
        main(["predict", ".", address, f"gone{ESCAPE}.jpg", f"two\nlines*{ESCAPE}.jpg", *POSE, "--json", "x.json"]) == 1
    )
    printed = capsys.readouterr()
    assert is_safe(printed.out + printed.err)
    assert "secret" not in printed.out + printed.err
    assert rf"{escaped(ESCAPE)}.png: 1 person" in printed.out
    assert rf"failed: broken{escaped(ESCAPE)}.png: not an image that can be read" in printed.err
    assert r"failed: \udcff\udcfe.png: not an image that can be read" in printed.err
    assert rf"failed: gone{escaped(ESCAPE)}.jpg: no file fits this pattern" in printed.err
    assert "5 of 6 inputs failed" in printed.err
    assert [record["image"] for record in json.loads(Path("x.json").read_text())] == [f"{ESCAPE}.png"]


@pytest.mark.parametrize(
    "name", [ESCAPE, *(pytest.param(n, marks=pytest.mark.slow) for n in ("n" * 200, "a\n.conv", "\u202e" * 50))]
)
def test_names_of_tensors(name, folder, capsys):
    state = {key: value.numpy() for key, value in create_model("tinypose_128x96").state_dict().items()}
    save_file({**state, name: np.zeros(1, np.float32)}, "w.safetensors")
    assert convert(["w.safetensors", "--model", "tinypose_128x96", "--output", "out.safetensors"]) == 2
    printed = capsys.readouterr().err
    assert is_safe(printed)
    assert len(printed.splitlines()) == 1
    assert len(printed) < 1500
    assert "w.safetensors: does not fit the network: 1 left over: " in printed
    assert not Path("out.safetensors").exists()


def test_weights_of_another_model(folder, capsys):
    """The likely model, and five of hundreds of tensors."""
    state = create_model("lite_hrnet_18_256x192").state_dict()
    save_file({key: value.numpy() for key, value in state.items()}, "w.safetensors")
    assert convert(["w.safetensors", "--model", "picodet_s_192_pedestrian", "--output", "out.safetensors"]) == 2
    printed = capsys.readouterr().err
    assert len(printed.splitlines()) == 1
    assert len(printed) < 2100
    assert " more" in printed
    assert "lite_hrnet" in printed


def coco(**changes):
    keypoints = [f"point_{index}" for index in range(17)]
    person = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [2, 2, 40, 40], "area": 1600.0}
    person |= {"keypoints": [9.0, 9.0, 2] * 17, "num_keypoints": 17}
    image = {"id": 1, "file_name": "a.png", "width": 80, "height": 60}
    category = {"id": 1, "name": "person", "keypoints": keypoints}
    for key, value in changes.items():
        part, _, name = key.partition("_")
        {"image": image, "person": person, "category": category}[part][name] = value
    return {"images": [image], "annotations": [person], "categories": [category]}


@pytest.mark.parametrize(
    "content",
    [
        coco(image_file_name=f"{ESCAPE}.png"),
        coco(image_width=ESCAPE),
        coco(person_bbox=ESCAPE),
        coco(person_keypoints=[ESCAPE]),
        coco(person_image_id=ESCAPE),
        coco(category_name=ESCAPE, category_keypoints=5),
        coco(category_keypoints=[ESCAPE] * 17),
        coco(category_keypoints=[f"{ESCAPE}{index}" for index in range(17)]),
        coco(category_keypoints=["k" * 1_000_000]),
        {ESCAPE: 1},
        [ESCAPE],
        {"images": ESCAPE, "annotations": [], "categories": []},
        {"images": [ESCAPE], "annotations": [], "categories": []},
        {"images": [], "annotations": [ESCAPE], "categories": [ESCAPE]},
    ],
)
def test_contents_of_annotations(content, folder, capsys):
    pytest.importorskip("lightning")
    from train.__main__ import main as train

    Image.fromarray(gradient_image(60, 80)).save("a.png")
    Path("ann.json").write_text(json.dumps(content))
    status = train(["demo_pose", "data.train=ann.json", "data.images=.", "augmentation.flip=0", "--check"])
    printed = capsys.readouterr()
    assert is_safe(printed.out + printed.err), printed
    assert status in (0, 2)
    assert len(printed.err.splitlines()) == (1 if status else 0), printed
    assert len(printed.err) < 3000


class _Guarded(http.server.SimpleHTTPRequestHandler):
    """Serves files to those who know the password; sends others elsewhere if there is such a place."""

    elsewhere = None
    seen: ClassVar[list] = []

    def do_GET(self):
        given = self.headers.get("Authorization")
        self.seen.append((self.server.server_port, given))
        if self.elsewhere and self.elsewhere[0] == self.server.server_port:
            self.send_response(302)
            self.send_header("Location", self.elsewhere[1] + self.path)
            self.end_headers()
        elif given == "Basic " + base64.b64encode(b"user:pass@word/1").decode():
            super().do_GET()
        else:
            self.send_error(401)

    def log_message(self, *_):
        pass


@pytest.fixture
def servers(tmp_path):
    """Two servers, by their ports."""
    handler = functools.partial(_Guarded, directory=tmp_path)
    running = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
    _Guarded.seen, _Guarded.elsewhere = [], None
    for server in running:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield [server.server_port for server in running]
    for server in running:
        server.shutdown()
        server.server_close()


def test_secret_of_a_mirror(servers, tmp_path, monkeypatch, capsys):
    from tinypose_torch.checkpoints.download import download
    from tinypose_torch.models.registry import get_config

    monkeypatch.setattr("time.sleep", lambda _: None)
    file = next(iter(get_config("tinypose_128x96").weights.values()))
    (tmp_path / file.filename).write_bytes(b"weights")
    port, other = servers
    monkeypatch.setenv("TINYPOSE_MIRROR", f"http://user:pass%40word%2F1@127.0.0.1:{port}")
    download(file, tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == b"weights"
    _Guarded.elsewhere = (port, f"http://127.0.0.1:{other}")
    _Guarded.seen.clear()
    with pytest.raises(DownloadError) as caught:
        download(file, tmp_path / "again")
    assert "HTTP 401" in str(caught.value)
    assert "word" not in str(caught.value)
    assert (other, None) in _Guarded.seen, "the password is for the mirror alone"


@pytest.mark.parametrize("mirror", ["ftp://user:secret@host/x", "user:secret@host", "http://user:secret@127.0.0.1:9"])
def test_password_in_errors(mirror, folder, monkeypatch, capsys):
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setenv("TINYPOSE_MIRROR", mirror)
    Image.fromarray(gradient_image(60, 80)).save("a.png")
    assert main(["predict", "a.png"]) == 2
    printed = capsys.readouterr().err
    assert "secret" not in printed
    assert len(printed.splitlines()) == 1


def test_address_of_a_mirror_keeps_its_password(monkeypatch):
    """Only messages leave it out."""
    from tinypose_torch.models.registry import get_config

    monkeypatch.setenv("TINYPOSE_MIRROR", "https://user:secret@host/x/")
    file = next(iter(get_config("tinypose_128x96").weights.values()))
    assert source_url(file) == f"https://user:secret@host/x/{file.filename}"


# Runs a program with its streams closed (c), to a pipe that is closed (p), or full (f): one letter for stdout, stderr.
STREAMS = """
import os, sys
for number, kind in zip((1, 2), sys.argv[1]):
    if kind == "c":
        os.close(number)
    elif kind == "p":
        end, start = os.pipe()
        os.close(end)
        os.dup2(start, number)
    elif kind == "f":
        os.dup2(os.open("/dev/full", os.O_WRONLY), number)
os.execv(sys.executable, [sys.executable, "-m", *sys.argv[2:]])
"""
CLI = "tinypose_torch.cli"


@pytest.mark.parametrize(
    ("streams", "words", "status", "error"),
    [
        ("p-", [CLI, "--help"], 141, ""),
        ("c-", [CLI, "--help"], 0, ""),
        ("--", [CLI, "--help"], 0, ""),
        ("-p", [CLI, "nonsense"], 2, ""),
        ("-c", [CLI, "nonsense"], 2, ""),
        (
            "f-",
            [CLI, "predict", "--help"],
            1,
            "tinypose: error: standard output cannot be written: the disc is full (No space left on device)\n",
        ),
        ("cc", [CLI, "nonsense"], 2, ""),
        *(
            pytest.param(*values, marks=pytest.mark.slow)
            for values in (
                ("p-", [CLI, "models"], 141, ""),
                ("c-", [CLI, "models"], 0, ""),
                (
                    "f-",
                    [CLI, "models"],
                    1,
                    "tinypose: error: standard output cannot be written: the disc is full (No space left on device)\n",
                ),
                ("-p", [CLI, "predict", "gone.jpg"], 141, ""),
                ("-c", [CLI, "predict", "gone.jpg"], 1, ""),
                ("-p", [CLI, "predict", "a.jpg", "--threads", "0"], 2, ""),
                ("-c", [CLI, "predict", "a.jpg", "--threads", "0"], 2, ""),
                ("p-", ["convert", "--help"], 141, ""),
                ("-c", ["convert", "gone.pdparams"], 2, ""),
                ("p-", ["train", "--help"], 141, ""),
                ("-p", ["train", "demo_pose"], 2, ""),
                ("pp", ["train.synthetic", "--help"], 141, ""),
                ("p-", ["train.synthetic", "--output", "set", "--images", "2"], 141, None),
                ("c-", ["train.synthetic", "--output", "set", "--images", "2"], 0, None),
            )
        ),
    ],
)
def test_closed_streams(streams, words, status, error, tmp_path):
    """Without a traceback, and with the status of the work."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", STREAMS, streams, *words], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert error is None or done.stderr == error
    assert "set" not in words or (tmp_path / "set/train.json").is_file(), "what was made stays"


@pytest.fixture
def launcher(tmp_path, monkeypatch):
    """run.py as a module whose environment is a temporary folder."""
    spec = importlib.util.spec_from_file_location("launcher", ROOT / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    for name, path in (("ENVIRONMENT", programs.parent), ("BIN", programs), ("STAMP", programs.parent / "stamp.json")):
        monkeypatch.setattr(module, name, path)
    return module


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([""], "'' is no command"),
        (["--unknown"], "'--unknown' is no command"),
        (["-x", "tinypose"], "'-x' is no command"),
        ([ESCAPE], "no command '\\x1b"),
        (["two\nlines"], "no command 'two\\nlines'"),
        (["../tinypose"], "no command '../tinypose'"),
        (["--extras", ESCAPE], "--extras '\\x1b"),
    ],
)
def test_run_py(arguments, message, launcher, capsys, monkeypatch):
    monkeypatch.setattr(launcher, "set_up", lambda extras: None)
    assert launcher.main(arguments) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("run.py: error: ")
    assert message in printed
    assert len(printed.splitlines()) == 1
    assert is_safe(printed)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_damaged_stamp_of_run_py(content, launcher, monkeypatch):
    """The set-up runs again."""
    installed = []
    launcher.STAMP.write_bytes(content)
    monkeypatch.setattr(launcher, "install_with_uv", lambda uv, project: installed.append(project))
    monkeypatch.setattr(launcher, "install_with_pip", installed.append)
    launcher.set_up(())
    assert installed == [str(ROOT)]
    assert json.loads(launcher.STAMP.read_text())["extras"] == []


def test_interrupted_set_up_of_run_py(launcher, monkeypatch, capsys):
    def interrupt(extras):
        raise KeyboardInterrupt

    monkeypatch.setattr(launcher, "set_up", interrupt)
    assert launcher.main(["tinypose", "models"]) == 130
    assert capsys.readouterr().err == "run.py: interrupted; the next call continues the set-up\n"
