"""`tinypose batch --ray`, and poses as a step of Ray Data."""

import dataclasses
import pickle
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO_WEIGHTS, photos_of_people
from PIL import Image

from tinypose_torch import PoseEstimator
from tinypose_torch.batch import PoseMapper, ray_cluster, read
from tinypose_torch.batch.dataset import BatchError
from tinypose_torch.batch.ray_cluster import ShippedFiles
from tinypose_torch.batch.worker import Work, Worker
from tinypose_torch.cli import main
from tinypose_torch.cli.networks import Networks

DETECTOR, POSE = DEMO_WEIGHTS
FILES = {"detector_weights": str(DEMO_WEIGHTS[DETECTOR]), "pose_weights": str(DEMO_WEIGHTS[POSE])}
NETWORKS = ["--detector-weights", FILES["detector_weights"], "--pose-weights", FILES["pose_weights"]]


def save_photos(folder, count):
    """Parts of photos, and a damaged one."""
    folder.mkdir()
    photos = photos_of_people(2)
    for number in range(count):
        image = photos[number % 2]
        Image.fromarray(image[number * 3 :]).save(folder / f"{number:03}.jpg")
    (folder / "damaged.jpg").write_bytes(b"\xff\xd8 no image")
    return folder


def test_without_ray(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    photos = save_photos(tmp_path / "photos", 1)
    assert main(["batch", str(photos), "--output", str(tmp_path / "out"), *NETWORKS, "--ray", "auto"]) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert "--ray needs Ray: " in error
    assert "--extras ray" in error or "tinypose-torch[ray]" in error
    assert main(["batch", str(photos), "--output", str(tmp_path / "out"), *NETWORKS, "--workers", "1"]) == 0


@pytest.mark.parametrize("address", ["127.0.0.1:1", "head", "127.0.0.1:99999999", "ray://127.0.0.1:1"])
def test_no_cluster(address, monkeypatch):
    monkeypatch.setattr(ray_cluster, "import_ray", lambda: None)
    with pytest.raises(
        BatchError, match=f"--ray {address}: no cluster answers there .*; pass HOST:PORT of a running one"
    ):
        ray_cluster.RayCluster(address, None, 1, "cpu")


def test_files_travel_with_the_networks(tmp_path):
    """Other machines have neither the weights nor the cache of this one."""
    copies = {}
    for field, file in FILES.items():
        copies[field] = tmp_path / f"{field}.safetensors"
        copies[field].write_bytes(Path(file).read_bytes())
    other = dict.fromkeys(("detection_threshold", "person_class", "crop", "threads", "resize"))
    networks = Networks(DETECTOR, POSE, **copies, backend="auto", device="cpu", **other)
    shipped = pickle.dumps(ShippedFiles.of(networks, *FILES))
    (image,) = photos_of_people(1)
    expected = networks.build()(image)
    for file in copies.values():
        file.unlink()
    for _ in range(2):  # written, then found
        poses = pickle.loads(shipped)()(image)
        np.testing.assert_array_equal(poses.keypoints, expected.keypoints)
        assert len(poses) > 0


def test_an_actor_says_why_it_fails(monkeypatch):
    def fail(*_):
        raise OSError("no space for a part")

    monkeypatch.setattr(Worker, "__call__", fail)
    actor = ray_cluster.Actor(Work(lambda device: None, "sha"))
    (result,) = actor({"task": [pickle.dumps((0, []))]})["part"]
    error = pickle.loads(result)
    assert isinstance(error, OSError)
    assert str(error) == "no space for a part"


def test_mapper(tmp_path):
    photos = save_photos(tmp_path / "photos", 2)
    images = [np.asarray(Image.open(photos / f"{number:03}.jpg")) for number in range(2)]
    expected = PoseEstimator(**FILES).batch(images)
    mapper = PoseMapper("image", **FILES)
    paths = sorted(map(str, photos.iterdir()))
    for column in (images, [Path(path).read_bytes() for path in paths], paths):
        values = np.empty(len(column), object)
        values[:] = column
        table = mapper({"image": values, "label": np.arange(len(column))})
        assert table["label"].to_pylist() == list(range(len(column)))
        for row, poses in zip(table.to_pylist(), expected, strict=False):
            assert row["error"] is None
            np.testing.assert_array_equal(np.float32(row["keypoints"]), poses.keypoints)
        assert all("image" in row["error"] for row in table.to_pylist()[2:])
    with pytest.raises(ValueError, match="no column 'image' in the batch; it has path: pass column=NAME"):
        mapper({"path": np.array(paths)})


@pytest.fixture(scope="module")
def cluster():
    """Three machines of one core."""
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'tinypose-torch[ray]'")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    made.workers = [made.add_node(num_cpus=1) for _ in range(2)]
    yield made
    ray.shutdown()
    made.shutdown()


def assert_same(poses, expected):
    for field in dataclasses.fields(expected)[:4]:
        np.testing.assert_array_equal(getattr(poses, field.name), getattr(expected, field.name))


@pytest.mark.slow
def test_mapper_in_a_pipeline(cluster, tmp_path):
    import ray.data

    paths = sorted(map(str, save_photos(tmp_path / "photos", 6).iterdir()))
    expected = PoseEstimator(**FILES, threads=1)
    ray.init(cluster.address, log_to_driver=False)
    rows = (
        ray.data.from_items([{"path": path, "name": Path(path).name} for path in paths], override_num_blocks=3)
        .map_batches(
            PoseMapper,
            fn_constructor_kwargs={"column": "path", "threads": 1, **FILES},
            batch_size=4,
            compute=ray.data.ActorPoolStrategy(size=2),
        )
        .take_all()
    )
    ray.shutdown()
    assert sorted(row["name"] for row in rows) == [Path(path).name for path in paths]
    for row in rows:
        if row["name"] == "damaged.jpg":
            assert row["error"]
            continue
        poses = expected(str(tmp_path / "photos" / row["name"]))
        np.testing.assert_allclose(np.float32(row["keypoints"]), poses.keypoints, atol=1e-3)
        assert len(poses) > 0


@pytest.mark.slow
def test_lost_machine(cluster, tmp_path):
    """One machine of three is lost in the middle: the results are those of this machine's processes."""
    photos = save_photos(tmp_path / "photos", 40)
    local, remote = tmp_path / "local", tmp_path / "remote"
    assert main(["batch", str(photos), "--output", str(local), *NETWORKS, "--workers", "1", "--threads", "1"]) == 0

    def lose_one():
        while len(list(remote.glob("part-*"))) < 2:
            if finished.wait(0.05):
                return
        cluster.remove_node(cluster.workers[0], allow_graceful=False)
        lost.append(len(list(remote.glob("part-*"))))

    lost, finished, killer = [], threading.Event(), threading.Thread(target=lose_one)
    killer.start()
    try:
        assert main(["batch", str(photos), "--output", str(remote), *NETWORKS, "--ray", cluster.address]) == 0
    finally:
        finished.set()
        killer.join()
    assert lost
    assert lost[0] < len(list(remote.glob("part-*")))
    rows = [sorted(read(folder), key=lambda row: row.key) for folder in (local, remote)]
    assert [row.key for row in rows[0]] == [row.key for row in rows[1]]
    for one, other in zip(*rows, strict=True):
        assert (one.error, one.image_size) == (other.error, other.image_size)
        assert_same(other.poses, one.poses)
