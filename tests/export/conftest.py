"""Files exported once per session; lowering to ExecuTorch takes most of the time."""

import pytest
import torch
from conftest import REAL, REFERENCE

from tinypose_torch import create_model
from tinypose_torch.export import ExportOptions, export_model

DETECTOR, POSE = "picodet_s_192_lcnet_pedestrian", "tinypose_128x96"
SUFFIXES = {"torchscript": ".torchscript", "executorch": ".pte", "onnx": ".onnx"}


def build(name):
    """The network with genuine weights where they are at hand."""
    weights = REAL / f"weights/{name}.pdparams"
    torch.manual_seed(0)
    return create_model(name, weights=weights if REFERENCE.is_dir() else None)


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Path of (model, format) with images in and keypoints out, made at first use."""
    folder = tmp_path_factory.mktemp("exported")
    made = {}

    def path_of(name, format_name, **options):
        if format_name == "executorch":
            pytest.importorskip("executorch")
        elif format_name == "onnx":
            pytest.importorskip("onnxscript")
            pytest.importorskip("onnxruntime")
        key = (name, format_name, tuple(sorted(options.items())))
        if key not in made:
            made[key] = folder / f"{len(made)}_{name}{SUFFIXES[format_name]}"
            export_model(build(name), made[key], ExportOptions(format_name, **options))
        return made[key]

    return path_of
