"""Estimators of every backend in other processes: pickled, or in a forked one."""

import multiprocessing
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, gradient_image

from tinypose_torch import PoseEstimator
from tinypose_torch.runtime import load_runner

from .conftest import POSE, SUFFIXES

BACKENDS = ["eager", *SUFFIXES]
DEMO = ROOT / "weights/tinypose_128x96_demo.safetensors"
BOX = [[20, 10, 100, 110]]


@pytest.fixture
def estimator(request, exported):
    """The pose network alone, of a backend."""
    backend = request.param
    weights = DEMO if backend == "eager" else exported(POSE, backend)
    return PoseEstimator(None, POSE, pose_weights=weights, threads=2)


def predict(estimator):
    return estimator(gradient_image(), BOX).keypoints


@pytest.mark.parametrize(
    "estimator",
    [pytest.param(name, marks=pytest.mark.slow if name == "onnx" else ()) for name in BACKENDS],
    indirect=True,
)
def test_pickled(estimator):
    again = pickle.loads(pickle.dumps(estimator))
    assert np.abs(predict(again) - predict(estimator)).max() < 1e-4
    assert again.pose_runner.backend == estimator.pose_runner.backend
    assert again.pose_config == estimator.pose_config


@pytest.mark.parametrize("estimator", ["torchscript"], indirect=True)
def test_pickled_files_are_found_from_any_folder(estimator, tmp_path, monkeypatch):
    path = estimator.pose_runner.reopen[1][0]
    monkeypatch.chdir(path.parent)
    pickled = pickle.dumps(load_runner(POSE, path.name))
    monkeypatch.chdir(tmp_path)
    assert pickle.loads(pickled).metadata.config.name == POSE


def test_spawned():
    """A pool of workers that get the estimator as an argument."""
    estimator = PoseEstimator(None, POSE, pose_weights=DEMO, backend="eager")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert np.abs(pool.apply_async(predict, (estimator,)).get(100) - predict(estimator)).max() < 1e-4


FORK = """
import os, sys, time
import numpy as np, torch
from tinypose_torch import PoseEstimator

torch.set_num_threads(2)
estimator = PoseEstimator(None, "tinypose_128x96", pose_weights=sys.argv[1], threads=2)
image = np.zeros((480, 640, 3), np.uint8)
boxes = [[10, 10, 300, 470], [200, 10, 600, 470]]
estimator(image, boxes)
child = os.fork()
if not child:
    estimator(image, boxes)
    os._exit(7)
for _ in range(400):
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        sys.exit(0 if os.waitstatus_to_exitcode(status) == 7 else 1)
    time.sleep(0.05)
os.kill(child, 9)
sys.exit("the forked process hangs")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("backend", BACKENDS)
def test_forked_after_threads_were_used(backend, exported, tmp_path):
    weights = DEMO if backend == "eager" else exported(POSE, backend)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, str(weights)],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_out_of_memory_in_onnx_runtime(exported, monkeypatch):
    """Whose exceptions are of their own kind, and concern one image as others do."""
    estimator = PoseEstimator(None, POSE, pose_weights=exported(POSE, "onnx"))

    class Session:
        def run(self, *_):
            raise Exception("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory")

    estimator.pose_runner._session = Session()
    with pytest.raises(ValueError, match="not enough memory for this image"):
        predict(estimator)


@pytest.mark.slow
def test_every_backend_spawned(exported):
    """Workers that share nothing with this process get estimators of each backend as arguments."""
    files = [DEMO, *(exported(POSE, backend) for backend in SUFFIXES)]
    estimators = [PoseEstimator(None, POSE, pose_weights=file, threads=1) for file in files]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.map_async(predict, estimators).get(300)
    for estimator, keypoints in zip(estimators, found, strict=True):
        assert np.abs(keypoints - predict(estimator)).max() < 1e-4, estimator.pose_runner.backend
