"""A small rendered dataset, made once for all test processes."""

import socket
import subprocess
import sys

import pytest
import safetensors.torch
import torch
from conftest import ROOT
from filelock import FileLock

pytest.importorskip("lightning")

from train.preflight import LAST, WEIGHTS

IMAGES = 40


@pytest.fixture(scope="session")
def people(tmp_path_factory, worker_id):
    """Folder with train.json, val.json and images of rendered people."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "people"
    with FileLock(f"{folder}.lock"):
        if not (folder / "val.json").is_file():
            command = [sys.executable, "-m", "train.synthetic", "--output", folder, "--images", IMAGES, "--seed", 5]
            subprocess.run([str(part) for part in command], check=True, cwd=ROOT, capture_output=True)
    return folder


@pytest.fixture(autouse=True)
def pictures(request, monkeypatch):
    """Runs draw no pictures at their end, which takes a third of a short run's time; test_report.py has those."""
    if request.path.stem != "test_report":
        monkeypatch.setattr("train.report.draw_pictures", lambda *_: None)
        monkeypatch.setattr("train.live_report.LiveReport._write", lambda *_: None)


@pytest.fixture
def arguments(people, tmp_path):
    """What every quick run has in common."""
    return [
        "demo_pose",
        f"data.train={people / 'train.json'}",
        f"data.images={people / 'images'}",
        f"output={tmp_path / 'run'}",
        "data.workers=0",
        "accelerator=cpu",
        "batch_size=4",
        "ema=null",
        "optimisation.reference_batch=null",
    ]


def trained(folder):
    return safetensors.torch.load_file(folder / WEIGHTS)


def differing(one, two):
    return [name for name in one if not torch.equal(one[name], two[name])]


def step_of(folder):
    return torch.load(folder / LAST, weights_only=False)["global_step"]


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]
