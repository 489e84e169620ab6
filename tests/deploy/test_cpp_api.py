"""libtinypose through its C interface: answers, errors, threads, exported symbols."""

import ctypes
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT, photos_of_people
from cpp_programs import (
    ANSWERS,
    FRAME,
    KEYPOINTS,
    NAN,
    NO_PEOPLE,
    NOT_FINITE,
    PEOPLE,
    SOURCE,
    Description,
    People,
    describe_app,
    run,
    shared_app,
    shared_build,
    shared_small_app,
    write_described,
)
from manual import blocks

pytestmark = pytest.mark.slow  # the library is built first

OK, BAD_ARGUMENT, BAD_FILE, FAILED = range(4)
HEADER = (SOURCE / "include/tinypose.h").read_text()
FUNCTIONS = set(re.findall(r"^[\w *]+?\b(tinypose_\w+)\(", HEADER, re.M))


@pytest.fixture(scope="module")
def build(tmp_path_factory, worker_id):
    return shared_build(tmp_path_factory, worker_id)


@pytest.fixture(scope="module")
def library(build):
    loaded = ctypes.CDLL(str(build / "libtinypose.so"))
    loaded.tinypose_error.restype = ctypes.c_char_p
    loaded.tinypose_run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    loaded.tinypose_follow.argtypes = [*loaded.tinypose_run.argtypes[:3], ctypes.c_double, ctypes.c_void_p]
    loaded.tinypose_open.argtypes = [ctypes.c_char_p, ctypes.c_int32, ctypes.c_void_p]
    loaded.tinypose_info.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    loaded.tinypose_restart.argtypes = loaded.tinypose_close.argtypes = [ctypes.c_void_p]
    loaded.tinypose_close.restype = None
    return loaded


@pytest.fixture(scope="module")
def small_app(tmp_path_factory, worker_id):
    return shared_small_app(tmp_path_factory, worker_id)


@pytest.fixture
def opened(library):
    """Opens apps, and closes them at the end."""
    handles = []

    def open_app(path, threads=0):
        handle = ctypes.c_void_p()
        status = library.tinypose_open(str(path).encode(), threads, ctypes.byref(handle))
        assert status == OK, library.tinypose_error()
        assert library.tinypose_error() == b""
        handles.append(handle)
        return handle

    yield open_app
    for handle in handles:
        library.tinypose_close(handle)


def call(library, function, handle, frame, *seconds):
    """Status, and ids, boxes, scores and keypoints."""
    people = People()
    status = getattr(library, function)(handle, frame.ctypes.data, frame.nbytes, *seconds, ctypes.byref(people))
    if status != OK:
        return status, None
    count = people.count
    if count == 0:
        return status, []
    values = [
        np.ctypeslib.as_array(pointer, (count, *shape)).copy()
        for pointer, shape in ((people.boxes, (4,)), (people.scores, ()), (people.keypoints, (KEYPOINTS, 3)))
    ]
    return status, [people.ids[:count] if people.ids else None, *values]


def frame_of(number=0):
    frame = np.zeros((*FRAME, 3), np.uint8)
    frame[0, 0, 0] = number
    return frame


def test_only_the_header_is_exported(build):
    assert len(FUNCTIONS) == 8
    if shutil.which("nm") is None:
        pytest.skip("nm is absent")
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", build / "libtinypose.so"], capture_output=True, text=True, check=True
    )
    assert {line.split()[-1] for line in listed.stdout.splitlines()} == FUNCTIONS


def test_description(library, opened, small_app):
    description = Description()
    assert library.tinypose_info(opened(small_app), ctypes.byref(description)) == OK
    facts = describe_app()["networks"]["pose"]["skeleton"]
    assert (description.height, description.width, description.max_people) == (*FRAME, PEOPLE)
    assert (description.pixels, description.frame_bytes, description.has_follow) == (b"rgb", frame_of().nbytes, 1)
    names = description.keypoint_names[: description.num_keypoints]
    assert [name.decode() for name in names] == facts["keypoint_names"]
    links = np.reshape(description.links[: 2 * description.num_links], (-1, 2))
    assert links.tolist() == facts["links"]
    assert library.tinypose_version() == int(re.search(r"TINYPOSE_VERSION (\d+)", HEADER)[1])


def test_run_and_follow(library, opened, small_app):
    """The state lives in the app; a restart clears it."""
    app = opened(small_app)
    status, (ids, boxes, scores, keypoints) = call(library, "tinypose_run", app, frame_of())
    expected = ANSWERS[0, 0]
    assert (status, ids) == (OK, None)
    assert boxes.tolist() == [expected[:4].tolist()]
    assert scores.tolist() == [expected[4].item()]
    assert keypoints[0].tolist() == expected[5:].reshape(-1, 3).tolist()
    for count, seconds in ((1, 0.5), (2, 0.25), (3, 7.0), (1, 8.0)):
        if seconds == 8:
            assert library.tinypose_restart(app) == OK
        status, (ids, boxes, _, keypoints) = call(library, "tinypose_follow", app, frame_of(), seconds)
        assert (status, ids) == (OK, [1])
        assert boxes.tolist() == [expected[:4].tolist()]
        assert keypoints[0, 0, :2].tolist() == [seconds, count]
        assert keypoints[0, 1].tolist() == expected[8:11].tolist()


def test_failed_runs(library, opened, small_app):
    """A frame without people, and one with NaN, which leaves the state as it was."""
    app = opened(small_app)
    assert call(library, "tinypose_run", app, frame_of(NO_PEOPLE)) == (OK, [])
    assert call(library, "tinypose_follow", app, frame_of(NO_PEOPLE), 1.0) == (OK, [])
    assert call(library, "tinypose_follow", app, frame_of(NOT_FINITE[0]), 2.0) == (FAILED, None)
    assert library.tinypose_error() == b"the app gave NaN or infinite numbers; check the weights"
    _, (*_, keypoints) = call(library, "tinypose_follow", app, frame_of(), 3.0)
    assert keypoints[0, 0, 1] == 2
    assert library.tinypose_error() == b""


def test_wrong_frames(library, opened, small_app):
    app, people = opened(small_app), People()
    frame = frame_of()
    for size in (0, frame.nbytes - 1, frame.nbytes + 1, frame.nbytes // 3 * 4):
        for function, seconds in ((library.tinypose_run, ()), (library.tinypose_follow, (1.0,))):
            assert function(app, frame.ctypes.data, size, *seconds, ctypes.byref(people)) == BAD_ARGUMENT
            message = f"a frame of {size} bytes; this app takes {frame.nbytes}: uint8 rgb, 120 rows of 160 pixels"
            assert library.tinypose_error().decode() == message
    for seconds in (NAN, float("inf")):
        assert call(library, "tinypose_follow", app, frame, seconds) == (BAD_ARGUMENT, None)
        assert library.tinypose_error() == b"seconds is not finite"


def test_null_pointers(library, opened, small_app):
    app, frame, people = opened(small_app), frame_of(), ctypes.byref(People())
    path, pixels, size = str(small_app).encode(), frame.ctypes.data, frame.nbytes
    handle = ctypes.c_void_p(1)
    for function, arguments, name in (
        (library.tinypose_open, (path, 0, None), "app"),
        (library.tinypose_open, (None, 0, ctypes.byref(handle)), "path"),
        (library.tinypose_info, (None, ctypes.byref(Description())), "app"),
        (library.tinypose_info, (app, None), "description"),
        (library.tinypose_run, (None, pixels, size, people), "app"),
        (library.tinypose_run, (app, None, size, people), "pixels"),
        (library.tinypose_run, (app, pixels, size, None), "people"),
        (library.tinypose_follow, (None, pixels, size, 1.0, people), "app"),
        (library.tinypose_follow, (app, None, size, 1.0, people), "pixels"),
        (library.tinypose_follow, (app, pixels, size, 1.0, None), "people"),
        (library.tinypose_restart, (None,), "app"),
    ):
        assert function(*arguments) == BAD_ARGUMENT
        assert library.tinypose_error().decode() == f"{name} is NULL"
    assert handle.value is None
    library.tinypose_close(None)


def test_files_that_are_refused(library, small_app, tmp_path):
    content = small_app.read_bytes()
    (tmp_path / "cut.pte").write_bytes(content[:-100])
    (tmp_path / "altered.pte").write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
    facts = describe_app()
    del facts["app"]
    write_described(tmp_path / "network.pte", small_app, facts)
    for name, threads, status, message in (
        ("none\n.pte", 0, BAD_FILE, r"none\n.pte: there is no such file"),
        ("cut.pte", 0, BAD_FILE, "has no checksum at its end"),
        ("altered.pte", 0, BAD_FILE, "its checksum is wrong"),
        ("network.pte", 0, BAD_FILE, "holds no app"),
        ("cut.pte", -1, BAD_ARGUMENT, "threads is -1; expected 0 to 1024"),
        ("cut.pte", 5000, BAD_ARGUMENT, "threads is 5000"),
    ):
        handle = ctypes.c_void_p(1)
        assert library.tinypose_open(str(tmp_path / name).encode(), threads, ctypes.byref(handle)) == status
        assert handle.value is None
        assert message in library.tinypose_error().decode()


def test_without_follow(library, opened, small_app, tmp_path):
    facts = describe_app()
    del facts["app"]["follow"]
    app = opened(write_described(tmp_path / "app.pte", small_app, facts))
    assert call(library, "tinypose_follow", app, frame_of(), 1.0) == (BAD_ARGUMENT, None)
    assert library.tinypose_error().decode().startswith("this app has no method follow")
    description = Description()
    assert library.tinypose_info(app, ctypes.byref(description)) == OK
    assert description.has_follow == 0
    assert call(library, "tinypose_run", app, frame_of())[0] == OK


def test_threads(library, opened, small_app):
    """Apps in several threads keep to their own state and messages."""

    def use(worker):
        app, found = opened(small_app), []
        for count in range(1, 21):
            status, (*_, keypoints) = call(library, "tinypose_follow", app, frame_of(), float(worker))
            found.append((status, *keypoints[0, 0, :2].tolist()) == (OK, worker, count))
            wrong = np.zeros(worker + 1, np.uint8)
            assert call(library, "tinypose_run", app, wrong) == (BAD_ARGUMENT, None)
            found.append(library.tinypose_error().decode().startswith(f"a frame of {worker + 1} bytes"))
        return all(found)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(use, range(8))) == 8 * [True]


def test_networks_in_threads(library, opened, tmp_path_factory, worker_id):
    """Apps that run at the same time share ExecuTorch's threads, and give what they give one after the other."""
    path = shared_app(tmp_path_factory, worker_id)
    photos = [np.ascontiguousarray(cv2.resize(photo, (640, 480))) for photo in photos_of_people(3)]

    def use(worker):
        app, found = opened(path), []
        for index in range(6):
            photo = photos[(index + worker) % len(photos)]
            method, seconds = (("tinypose_run", ()), ("tinypose_follow", (index / 30,)))[index % 2]
            status, people = call(library, method, app, photo, *seconds)
            assert status == OK
            found.append([values.tolist() for values in people[1:]])
        return found

    expected = [use(worker) for worker in range(3)]
    assert expected[0][0]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(use, range(3))) == expected


@pytest.mark.parametrize("compiler", [("cc", "-std=c99", "-xc"), ("c++", "-std=c++11", "-xc++")])
def test_header(compiler):
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"{compiler[0]} is absent")
    options = ["-pedantic", "-Wall", "-Wextra", "-Werror", f"-I{SOURCE / 'include'}", "-fsyntax-only", "-"]
    subprocess.run([*compiler, *options], input=b'#include "tinypose.h"\n', check=True)


MAIN = """
import java.nio.ByteBuffer;

final class Main {
    public static void main(String[] arguments) {
        long app = TinyPose.open(arguments[0]);
        ByteBuffer frame = ByteBuffer.allocateDirect(Integer.parseInt(arguments[1]));
        for (int i = 0; i < 2; i++) {
            float[] keypoints = TinyPose.follow(app, frame, 0.5);
            System.out.println(keypoints.length + " " + keypoints[0] + " " + keypoints[1]);
        }
        for (Runnable call : new Runnable[] {() -> TinyPose.follow(app, frame.slice(1, 9), 1), () -> TinyPose.open("x")}) {
            try {
                call.run();
            } catch (IllegalStateException error) {
                System.out.println(error.getMessage());
            }
        }
        TinyPose.close(app);
    }
}
"""


def test_java(build, small_app, tmp_path):
    """The code of the manual's page, compiled and run."""
    for program in ("javac", "java", "cc"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is absent")
    include = Path(shutil.which("javac")).resolve().parents[1] / "include"
    page = blocks(ROOT / "docs/guides/phone.md")
    (java,) = [block.text for block in page if block.language == "java"]
    (jni,) = [block.text for block in page if block.language == "c" and "jni.h" in block.text]
    for name, text in (("TinyPose.java", java), ("Main.java", MAIN), ("tinypose_jni.c", jni)):
        (tmp_path / name).write_text(text)
    includes = [f"-I{folder}" for folder in (include, include / "linux", SOURCE / "include")]
    options = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-L{build}", "-ltinypose", f"-Wl,-rpath,{build}"]
    for command in (
        ["cc", "tinypose_jni.c", "-o", "libtinypose_jni.so", *includes, *options],
        ["javac", "TinyPose.java", "Main.java"],
    ):
        made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
    result = run("java", "-cp", tmp_path, f"-Djava.library.path={tmp_path}", "Main", small_app, str(frame_of().nbytes))
    assert result.returncode == 0, result.stderr
    *found, wrong_size, wrong_file = result.stdout.splitlines()
    assert found == [f"{KEYPOINTS * 3} 0.5 1.0", f"{KEYPOINTS * 3} 0.5 2.0"]
    assert wrong_size.startswith("a frame of 9 bytes; this app takes")
    assert wrong_file == "cannot open x: there is no such file"
