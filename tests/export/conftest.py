"""Files exported once per session; lowering to ExecuTorch takes most of the time."""

import pytest
import torch
from conftest import REAL, REFERENCE
from filelock import FileLock

from tinypose_torch import create_model
from tinypose_torch.export import ExportOptions, export_model

DETECTOR, POSE = "picodet_s_192_lcnet_pedestrian", "tinypose_128x96"
GENUINE = ("tinypose_256x192", "picodet_s_320_lcnet_pedestrian", "picodet_s_192_pedestrian")  # others with such weights
SUFFIXES = {"torchscript": ".torchscript", "executorch": ".pte", "onnx": ".onnx"}


def build(name):
    """The network with genuine weights where they are at hand."""
    weights = REAL / f"weights/{name}.pdparams"
    torch.manual_seed(0)
    return create_model(name, weights=weights if REFERENCE.is_dir() else None)


@pytest.fixture(scope="session")
def exported(request, tmp_path_factory, worker_id):
    """Path of (model, format) with images in and keypoints out, made at first use and shared by all test processes.

    For ExecuTorch in float32 it is the file with both networks, which serves as either.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "exported"
    folder.mkdir(exist_ok=True)

    def path_of(name, format_name, **options):
        if format_name == "executorch":
            pytest.importorskip("executorch")
            if not options and name in (DETECTOR, POSE):
                return request.getfixturevalue("app_folder") / "app.pte"
        elif format_name == "onnx":
            pytest.importorskip("onnxscript")
            pytest.importorskip("onnxruntime")
        key = "-".join([name, *(f"{option}={value}" for option, value in sorted(options.items()))])
        path = folder / f"{key}{SUFFIXES[format_name]}"
        with FileLock(f"{path}.lock"):
            if not path.is_file():
                export_model(build(name), path, ExportOptions(format_name, **options))
        return path

    return path_of


class StageRecorder:
    """The stages in their order; the shares of each must not go back."""

    def __init__(self):
        self.shares = {}

    def __call__(self, stage, share):
        assert 0 <= share < 1
        assert share >= self.shares.get(stage, [0])[-1]
        assert not self.shares or stage == list(self.shares)[-1] or stage not in self.shares
        self.shares.setdefault(stage, []).append(share)
