"""Very many images into a Parquet data set: sources, rows, errors, continued runs."""

import errno
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DEMO_WEIGHTS, ROOT, gradient_image, photos_of_people, write_video
from PIL import Image

from tinypose_torch import PoseEstimator
from tinypose_torch.batch import read
from tinypose_torch.batch.dataset import BatchError, create_or_continue, locked
from tinypose_torch.batch.local import LocalWorkers
from tinypose_torch.batch.sources import Item, find_items
from tinypose_torch.batch.worker import part_size, split
from tinypose_torch.cli import main
from tinypose_torch.geometry.skeletons import COCO17
from tinypose_torch.utils import atomic
from tinypose_torch.utils.processes import ProcessPool
from tinypose_torch.utils.threads import count_cores

pq = pytest.importorskip("pyarrow.parquet")
pa = pytest.importorskip("pyarrow")
DETECTOR, POSE = DEMO_WEIGHTS
NETWORKS = ["--detector-weights", str(DEMO_WEIGHTS[DETECTOR]), "--pose-weights", str(DEMO_WEIGHTS[POSE])]


def batch(output, *arguments):
    return main(["batch", *map(str, arguments), "--output", str(output), *NETWORKS, "--workers", "1", "--threads", "1"])


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two photos of different sizes, and two files that are none."""
    folder = tmp_path_factory.mktemp("photos")
    for number, image in enumerate(photos_of_people(2)):
        Image.fromarray(image[: len(image) - 7 * number]).save(folder / f"{number}.png")
    (folder / "4_cut.png").write_bytes((folder / "0.png").read_bytes()[:2000])
    (folder / "5_empty.jpg").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def results(photos, tmp_path_factory):
    output = tmp_path_factory.mktemp("results") / "dataset"
    assert batch(output, photos) == 0
    return output


def test_rows_are_those_of_the_estimator(photos, results):
    estimator = PoseEstimator(DETECTOR, POSE, DEMO_WEIGHTS[DETECTOR], DEMO_WEIGHTS[POSE])
    rows = list(read(results))
    assert [row.key for row in rows] == sorted(map(str, photos.iterdir()))
    people = 0
    for row in rows[:2]:
        expected = estimator(row.key)
        assert row.error is None
        assert row.image_size == np.asarray(Image.open(row.key)).shape[:2]
        for name in ("boxes", "scores", "keypoints", "keypoint_scores"):
            np.testing.assert_allclose(getattr(row.poses, name), getattr(expected, name), atol=1e-3)
        people += len(row.poses)
    assert people >= 2
    assert "damaged image" in rows[2].error
    assert rows[3].error == "empty file"
    assert all(len(row.poses) == 0 and row.image_size is None for row in rows[2:])


def test_other_programs_read_it(results):
    table = pq.read_table(results)  # the folder, as any Parquet data set
    assert table.num_rows == len(read(results)) == 4
    assert table.column_names == [
        "key", "frame", "time", "height", "width", "boxes", "scores", "keypoints", "keypoint_scores", "ids", "weights", "error"
    ]  # fmt: skip
    (weights,) = set(table["weights"].to_pylist())
    description = json.loads((results / "_tinypose.json").read_text())
    assert weights == f"{description['detector_sha256']}+{description['pose_sha256']}"
    assert list(read(results).to_pandas()["key"]) == [row.key for row in read(results)]


def test_coco(results, tmp_path):
    from tinypose_torch.data.formats.coco import read_coco

    coco = read(results).to_coco()
    assert len(coco["images"]) == 2
    assert len(coco["annotations"]) == sum(len(row.poses) for row in read(results)) > 0
    (tmp_path / "poses.json").write_text(json.dumps(coco))
    assert read_coco(tmp_path / "poses.json")


@pytest.mark.slow
def test_continued(photos, tmp_path, capsys):
    """New images are added, old rows stay, and nothing is done twice."""
    output = tmp_path / "dataset"
    assert batch(output, photos / "0.png") == 0
    before = {path.name: path.read_bytes() for path in output.glob("part-*")}
    assert batch(output, photos) == 0
    assert "3 images and videos processed, 2 with errors, 1 done before" in capsys.readouterr().out
    assert batch(output, photos) == 0
    assert "0 images and videos processed, 4 done before" in capsys.readouterr().out
    assert [row.key for row in read(output)] == sorted(map(str, photos.iterdir()))
    assert all((output / name).read_bytes() == content for name, content in before.items())


@pytest.mark.slow
def test_other_settings_are_refused(photos, tmp_path, capsys):
    output = tmp_path / "dataset"
    assert batch(output, photos / "0.png") == 0
    assert batch(output, photos / "0.png", "--detection-threshold", "0.25") == 2
    assert "holds results with detection_threshold None, not 0.25; name another --output" in capsys.readouterr().err
    assert len(read(output)) == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("")
    assert batch(tmp_path / "mine", photos / "0.png") == 2
    assert "is no data set of tinypose batch" in capsys.readouterr().err


def test_one_run_at_a_time(tmp_path):
    with locked(tmp_path), pytest.raises(BatchError, match="another run writes to"), locked(tmp_path):
        pass


def test_sources(photos, tmp_path):
    """Lists, archives, Parquet files and remote addresses give the images of the folder."""
    expected = [np.asarray(Image.open(photos / f"{number}.png")) for number in range(2)]
    (tmp_path / "list.txt").write_text(f"{photos}/0.png\n\n{photos}/[12].png\n")
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        for number in range(2):
            archive.add(photos / f"{number}.png", f"{number}.png")
        archive.addfile(tarfile.TarInfo("0.json"), io.BytesIO())
    files = [f"{photos}/{number}.png" for number in range(2)]
    contents = [{"bytes": Path(file).read_bytes(), "path": None} for file in files]
    pq.write_table(pa.table({"label": [1] * 2, "path": files}), tmp_path / "paths.parquet", row_group_size=1)
    pq.write_table(pa.table({"image": contents}), tmp_path / "images.parquet", row_group_size=1)
    for source in ("list.txt", "shard.tar", "paths.parquet", "images.parquet"):
        items, missing = find_items([str(tmp_path / source)])
        assert missing == []
        assert len({item.key for item in items}) == 2
        for item, image in zip(items, expected, strict=True):
            np.testing.assert_array_equal(item.load(), image)
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe({"/bucket/a.png": contents[0]["bytes"], "/bucket/deep/b.png": contents[1]["bytes"]})
    items, missing = find_items(["memory://bucket", "memory://bucket/deep/*.png", "memory://nothing"])
    assert missing == ["memory://nothing"]
    assert [item.key for item in items] == ["memory:///bucket/a.png", "memory:///bucket/deep/b.png"]
    np.testing.assert_array_equal(items[1].load(), expected[1])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.tar", b"no archive at all", "is not an uncompressed tar archive"),
        ("x.parquet", b"no parquet at all", "is not a Parquet file"),
    ],
)
def test_damaged_sources(tmp_path, capsys, name, content, reason):
    (tmp_path / name).write_bytes(content)
    assert batch(tmp_path / "out", tmp_path / name) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_wrong_arguments(tmp_path, capsys):
    for arguments, reason in (
        (["webcam"], "is a camera"),
        ([tmp_path, "--batch-size", "0"], "--batch-size 0; at least 1 is needed"),
    ):
        assert batch(tmp_path / "out", *arguments) == 2
        assert reason in capsys.readouterr().err
    pq.write_table(pa.table({"label": [1]}), tmp_path / "labels.parquet")
    assert batch(tmp_path / "out", tmp_path / "labels.parquet") == 2
    assert "has columns label; name the one with paths or images: --column NAME" in capsys.readouterr().err
    assert batch(tmp_path / "out", tmp_path / "nothing") == 1
    assert "nothing: no such file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_damaged_part(tmp_path):
    data = create_or_continue(tmp_path / "data", {"pose": "x"}, COCO17)
    (tmp_path / "data/part-000000-0.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(BatchError, match=r"part-000000-0\.parquet is damaged: .*; remove it"):
        len(data)


def test_video(tmp_path):
    video = write_video(tmp_path / "clip.mp4", frames=5)
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:300])
    output = tmp_path / "data"
    assert batch(output, video, tmp_path / "cut.mp4", "--track", "--detector", "none") == 2  # weights of a detector
    arguments = [
        "batch",
        str(video),
        str(tmp_path / "cut.mp4"),
        "--output",
        str(output),
        "--detector",
        "none",
        "--track",
    ]
    assert main([*arguments, "--pose-weights", str(DEMO_WEIGHTS[POSE]), "--workers", "1"]) == 0
    rows = list(read(output))
    assert [row.frame for row in rows] == [0, 1, 2, 3, 4, None]
    assert [round(row.time, 3) for row in rows[:5]] == [0, 0.04, 0.08, 0.12, 0.16]
    assert all(row.poses.ids.tolist() == [1] for row in rows[1:5])
    assert rows[5].error
    assert main([*arguments, "--pose-weights", str(DEMO_WEIGHTS[POSE]), "--workers", "1"]) == 0
    assert len(read(output)) == 6


@pytest.mark.slow
def test_killed_runs_are_continued(tmp_path):
    """Kill the command, or one of its processes, after random numbers of parts; in the end every row is there once."""
    psutil = pytest.importorskip("psutil")
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(24):
        Image.fromarray(np.roll(gradient_image(), number, axis=1)).save(folder / f"{number:02}.png")
    output = tmp_path / "data"
    command = [sys.executable, "-m", "tinypose_torch.cli", "batch", str(folder), "--output", str(output), *NETWORKS]
    command += ["--workers", "2", "--batch-size", "4"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    choose, statuses = random.Random(0), []
    while 0 not in statuses:
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        wait_for_parts(output, process, choose.randint(1, 2))
        if len(statuses) < 3 and process.poll() is None:
            workers = psutil.Process(process.pid).children()
            choose.choice([psutil.Process(process.pid), *workers]).kill()
        _, error = process.communicate(timeout=300)
        statuses.append(process.returncode)
        assert process.returncode in (0, 2, -signal.SIGKILL), error
        if process.returncode == 2:
            assert "a process was killed" in error
    assert len(statuses) >= 2
    assert sorted(row.key for row in read(output)) == sorted(map(str, folder.iterdir()))


def wait_for_parts(output, process, count):
    """Until so many more parts are there, or the process ends."""
    before = len(list(output.glob("part-*")))
    while process.poll() is None and len(list(output.glob("part-*"))) < before + count:
        time.sleep(0.01)


def test_images_that_vanish_are_tried_again(photos, tmp_path, capsys):
    """They have no rows, unlike damaged ones; the same command continues when they are back."""
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        archive.add(photos / "0.png", "0.png")
    table = pa.table({"path": [str(folder / "1.png"), str(folder / "later.png")]})
    pq.write_table(table, tmp_path / "paths.parquet")
    sources = [tmp_path / "shard.tar", tmp_path / "paths.parquet", folder / "5_empty.jpg"]
    (folder / "1.png").rename(tmp_path / "away.png")
    assert batch(tmp_path / "out", *sources) == 1
    output = capsys.readouterr()
    assert "2 images and videos processed, 1 with errors" in output.out
    assert f"failed: {tmp_path}/paths.parquet#0: no image '{folder}/1.png'" in output.err
    assert "2 images and videos could not be read and have no rows; the same command tries again" in output.err
    (tmp_path / "away.png").rename(folder / "1.png")
    shutil.copy(folder / "0.png", folder / "later.png")
    assert batch(tmp_path / "out", *sources) == 0
    assert "2 images and videos processed, 2 done before" in capsys.readouterr().out
    keys = [row.key for row in read(tmp_path / "out")]
    assert sorted(keys) == sorted(
        [f"{sources[0]}/0.png", *(f"{sources[1]}#{row}" for row in range(2)), str(sources[2])]
    )


def test_remote_archives(photos):
    fsspec = pytest.importorskip("fsspec")
    memory, content = fsspec.filesystem("memory"), io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.add(photos / "1.png", "deep/1.png")
    table = pa.BufferOutputStream()
    pq.write_table(pa.table({"path": ["1.png", "memory://archives/1.png"]}), table)
    memory.pipe({"/archives/shard.tar": content.getvalue(), "/archives/1.png": (photos / "1.png").read_bytes()})
    memory.pipe("/archives/tables/x.parquet", (photos / "1.png").read_bytes())
    expected = np.asarray(Image.open(photos / "1.png"))
    memory.pipe("/archives/x.parquet", table.getvalue().to_pybytes())
    items, missing = find_items(["memory://archives/*.tar", "memory://archives"])
    assert missing == []
    assert [item.key for item in items] == [
        "memory:///archives/shard.tar/deep/1.png",
        "memory:///archives/x.parquet#0",
        "memory:///archives/x.parquet#1",
    ]
    for item in items:
        np.testing.assert_array_equal(item.load(), expected)
    memory.rm("/archives/shard.tar")
    with pytest.raises(OSError, match=r"shard\.tar"):
        items[0].load()
    memory.pipe("/archives/clip.mp4", b"")
    with pytest.raises(ValueError, match="remote videos are not supported; copy the file"):
        find_items(["memory://archives/clip.mp4"])


def test_full_disc(photos, tmp_path, capsys, monkeypatch):
    """What is finished stays, and the same command continues."""
    synced, output = [], tmp_path / "out"

    def fill_up(path):
        if path.suffix == ".parquet":
            synced.append(path)
        if len(synced) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(atomic, "write_to_disk", fill_up)
        assert batch(output, photos) == 1
    error = capsys.readouterr().err
    assert re.search(r"out/part-000002-\w+\.parquet cannot be written: the disc is full", error)
    assert "stopped: 2 of 4 images and videos are left; the same command continues" in error
    assert len(read(output)) == 2
    assert batch(output, photos) == 0
    assert [row.key for row in read(output)] == sorted(map(str, photos.iterdir()))
    assert not [path for path in output.iterdir() if atomic.is_temporary(path)]


def test_output_that_cannot_be_written(photos, tmp_path, capsys):
    (tmp_path / "file").write_bytes(b"")
    assert batch(tmp_path / "file/out", photos) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert "file/out" in line
    assert "cannot be written" in line


def test_every_gpu_has_a_worker(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert LocalWorkers(None, "cuda").devices == ["cuda:0", "cuda:1", "cuda:2"]
    assert LocalWorkers(None, "cuda").workers == 3
    assert LocalWorkers(2, "cuda:1").devices == ["cuda:1"]
    assert LocalWorkers(None, "cpu").workers == count_cores()


@pytest.mark.slow
def test_processes_take_devices_in_turn():
    start = partial(partial, "{} {}".format)
    with ProcessPool(start, 2, ["cpu:0", "cpu:1"]) as pool:
        devices = set()
        while len(devices) < 2:  # one process may start late
            results = [result.split() for result in pool.run(range(10), ordered=True)]
            assert [task for _, task in results] == list(map(str, range(10)))
            devices.update(device for device, _ in results)
    assert devices == {"cpu:0", "cpu:1"}
    # A worker that cannot start says why.
    start = partial(int, "no number")
    with pytest.raises(ValueError, match="invalid literal"), ProcessPool(start, 2, [10]) as pool:
        list(pool.run(range(2)))


def test_sizes_of_parts():
    for images, workers, size in ((4, 1, 1), (1000, 2, 125), (10_000, 2, 200), (2_000_000, 64, 400), (10**8, 64, 5000)):
        assert part_size(images, workers) == size
    (video, *rest) = split([Item("a.png"), Item("b.mp4"), Item("c.png")], 1, first_number=7)
    assert video == (7, [Item("b.mp4")])
    assert rest == [(8, [Item("a.png")]), (9, [Item("c.png")])]
