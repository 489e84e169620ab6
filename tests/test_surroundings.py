"""Commands in containers and under odd circumstances: folders, users, streams and variables of the environment."""

import contextlib
import json
import os
import pwd
import resource
import signal
import sys
import tempfile
import traceback
from pathlib import Path

import pytest
import torch
from conftest import DEMO_WEIGHTS, gradient_image, write_video
from PIL import Image

from tinypose_torch.checkpoints import download
from tinypose_torch.checkpoints.cache_folder import CacheFolderError, cache_dir
from tinypose_torch.checkpoints.download import fetch_pretrained
from tinypose_torch.cli import main, networks
from tinypose_torch.export import cache as export_cache
from tinypose_torch.models.registry import get_config
from tinypose_torch.utils import threads
from tinypose_torch.utils.threads import count_cores
from tinypose_torch.video import VideoError, VideoReader, codec_process

POSE = str(DEMO_WEIGHTS["tinypose_128x96"])
PREDICT = ["predict", "photo.jpg", "--detector", "none", "--pose-weights", POSE, "--json", "x.json"]
UNKNOWN_USER = 54321  # a user without an entry
SKIPPED = 98


@pytest.fixture
def folder(monkeypatch):
    """The working directory, which every user can enter."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        monkeypatch.chdir(name)
        Image.fromarray(gradient_image()).save("photo.jpg")
        os.mkdir("open")
        os.chmod("open", 0o777)
        yield Path(name)


def run(arguments, change=lambda: None):
    """Run a command in a forked process, after a change there; returns its exit status and what it wrote to stderr."""
    streams = [os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC) for name in ("in", "out", "err")]
    child = os.fork()
    if not child:
        status = 99
        try:
            for number, (stream, name) in enumerate(zip(streams, ("stdin", "stdout", "stderr"), strict=True)):
                os.dup2(stream, number)
                setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115
            signal.alarm(60)
            torch.set_num_threads(1)  # the threads of the test process do not exist here
            change()
            status = main(arguments)
        except SystemExit as error:
            status = error.code
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            os._exit(status)
    for stream in streams:
        os.close(stream)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
        pytest.skip("a process that is forked after threads were used can hang in their libraries")
    return os.waitstatus_to_exitcode(status), Path("err").read_text()


def close(*numbers):
    """As a shell's ``>&-`` does, for a program that starts."""

    def change():
        for number in numbers:
            os.close(number)
            setattr(sys, ("stdin", "stdout", "stderr")[number], None)

    return change


def variables(**values):
    def change():
        for name, value in values.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    return change


def become_unknown_user():
    if os.getuid() != 0:
        os._exit(SKIPPED)
    os.chdir("open")
    os.environ.pop("HOME", None)
    os.environ.pop("TINYPOSE_CACHE", None)
    os.setgroups([])
    os.setgid(UNKNOWN_USER)
    os.setuid(UNKNOWN_USER)


def limit(kind, value):
    return lambda: resource.setrlimit(kind, (value, value))


HARMLESS = {
    "no HOME": variables(HOME=None, TINYPOSE_CACHE=None),
    "HOME does not exist": variables(HOME="/nowhere", TINYPOSE_CACHE=None),
    "empty HOME": variables(HOME="", TINYPOSE_CACHE=None),
    "cache in a folder that cannot be made": variables(TINYPOSE_CACHE="/proc/nothing"),
    "cache is a file": variables(TINYPOSE_CACHE="photo.jpg"),
    "cache under a file": variables(XDG_CACHE_HOME="photo.jpg", TINYPOSE_CACHE=None),
    "temporary files nowhere": variables(TMPDIR="/nowhere"),
    "umask 077": lambda: os.umask(0o077),
    "umask 000": lambda: os.umask(0),
    "stdin closed": close(0),
    "stdout closed": close(1),
    "stderr closed": close(2),
    "all streams closed": close(0, 1, 2),
    "no LANG": variables(LANG=None, LC_ALL=None, LC_CTYPE=None, PYTHONUTF8=None),
    "unknown LANG": variables(LANG="xx_YY.UTF-99", LC_ALL="xx_YY"),
    "odd TZ": variables(TZ="Nowhere/Land:99"),
    "inductor's cache nowhere": variables(TORCHINDUCTOR_CACHE_DIR="/proc/none", TORCHINDUCTOR_FORCE_DISABLE_CACHES="1"),
    "no PATH": variables(PATH=""),
    "narrow terminal": variables(COLUMNS="0", LINES="0", TERM="dumb"),
    "one core": lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
    "few open files": limit(resource.RLIMIT_NOFILE, 64),
    "no core dumps": limit(resource.RLIMIT_CORE, 0),
    "SIGCHLD ignored": lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    "SIGPIPE kills": lambda: signal.signal(signal.SIGPIPE, signal.SIG_DFL),
    "a session of its own": os.setsid,
}


QUICK = ("no HOME", "umask 077", "all streams closed", "one core")


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in HARMLESS])
def test_photo(name, folder):
    """The same as anywhere else."""
    status, error = run(PREDICT, HARMLESS[name])
    assert status == 0, error
    assert json.loads(Path("x.json").read_text())[0]["image"] == "photo.jpg"
    assert error in ("", "running on eager\n")
    if name == "umask 077":
        assert os.stat("x.json").st_mode & 0o777 == 0o600


def test_user_without_an_entry(folder):
    """Without a home folder there is no cache; own weights need none."""
    photo = str(folder / "photo.jpg")
    status, error = run(["predict", photo, *PREDICT[2:]], become_unknown_user)
    if status == SKIPPED:
        pytest.skip("needs root")
    if "Permission denied" in error:
        pytest.skip("this checkout is for one user only")
    assert status == 0, error
    assert json.loads(Path("open/x.json").read_text())


def test_working_directory_that_cannot_be_written(folder):
    def change():
        become_unknown_user()
        os.chdir("..")

    status, error = run(PREDICT, change)
    if status == SKIPPED:
        pytest.skip("needs root")
    assert status == 2
    assert "tinypose: error: --json x.json cannot be written" in error
    assert error.count("\n") == 1


def test_no_home_folder(monkeypatch):
    """And no entry of the user: official weights have no place."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("TINYPOSE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def unknown(_):
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(CacheFolderError, match="no home folder for the cache; set TINYPOSE_CACHE to a folder"):
        cache_dir()
    with pytest.raises(export_cache.CacheError, match="set TINYPOSE_CACHE"):
        export_cache.fastest_form("tinypose_128x96", POSE, 1)


@pytest.mark.parametrize("cache", ["photo.jpg", "photo.jpg/deep", "/proc/nothing"])
def test_official_weights_without_a_cache(cache, folder, monkeypatch):
    monkeypatch.setenv("TINYPOSE_CACHE", cache)
    with pytest.raises(
        CacheFolderError, match=f"the cache folder {cache}/downloads cannot be written to: .*; set TINYPOSE"
    ):
        fetch_pretrained(get_config("tinypose_128x96"))
    assert download.MIRROR_VARIABLE in os.environ, "which was not asked"


@pytest.mark.parametrize("cache", ["photo.jpg", "/proc/nothing"])
def test_many_photos_without_a_cache(cache, folder, monkeypatch, capsys):
    """Networks run on eager, and a line says why."""
    pytest.importorskip("executorch")
    monkeypatch.setenv("TINYPOSE_CACHE", cache)
    monkeypatch.setattr(networks, "count_images", lambda _: export_cache.EXPORT_PAYS_FROM)
    assert main([*PREDICT, "--backend", "auto"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("tinypose_128x96 runs on eager: cannot make ")
    assert lines[0].endswith("; set TINYPOSE_CACHE to another folder")
    assert lines[1] == "running on eager"


@pytest.mark.parametrize(("quota", "cores"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 8), ("", 8)])
def test_cores_of_a_container(quota, cores, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(threads, "_CGROUP_LIMIT", tmp_path / "cpu.max")
    assert count_cores() == 8
    (tmp_path / "cpu.max").write_text(quota)
    assert count_cores() == cores


def test_no_shared_memory(tmp_path, monkeypatch):
    """As without /dev/shm; said to the process that waits for the frames."""
    monkeypatch.setattr(codec_process, "_SHARED_FOLDER", tmp_path / "none")

    def fail(*_, **__):
        raise FileNotFoundError(2, "No such file or directory", "/psm_1")

    monkeypatch.setattr(codec_process, "SharedMemory", fail)
    with (
        VideoReader(str(write_video(tmp_path / "x.mp4"))) as video,
        pytest.raises(VideoError, match="no shared memory"),
    ):
        codec_process._work(None, video, codec_process.VideoOutput(None, 0.2, None))
