"""Networks with genuine weights, beside those in `test_exported_files.py`: the eager numbers on every photo, in every format."""

import functools

import numpy as np
import pytest
import torch

from tinypose_torch.codecs.heatmap import decode_heatmaps
from tinypose_torch.export import ExportOptions, export_model
from tinypose_torch.geometry.normalize import normalize
from tinypose_torch.runtime import EagerRunner, load_runner

from .conftest import GENUINE, SUFFIXES, build
from .test_exported_files import photos

pytestmark = [pytest.mark.needs_reference, pytest.mark.slow]


@functools.cache
def eager(name):
    """Photos, and the network's outputs on them: as it is, and in float64."""
    network = build(name)
    images = photos(network.config)
    normalised = torch.from_numpy(normalize(images, network.config.mean, network.config.std))
    expected = EagerRunner(network)(images)
    with torch.inference_mode():
        return images, expected, network.double()(normalised.double())


@pytest.fixture(params=[(name, format_name) for name in GENUINE for format_name in SUFFIXES], ids="-".join)
def outputs(request, tmp_path):
    """Those of a raw file, of the eager network, and of that in float64; the facts of how the file was made."""
    name, format_name = request.param
    pytest.importorskip({"executorch": "executorch", "onnx": "onnxscript", "torchscript": "torch"}[format_name])
    path = tmp_path / f"x{SUFFIXES[format_name]}"
    made = export_model(build(name), path, ExportOptions(format_name, images=False, decode=False))
    images, expected, exact = eager(name)
    return load_runner(name, path)(images), expected, exact, made.facts


def test_every_photo(outputs):
    found, expected, exact, facts = outputs
    if len(expected) == 1:
        compare_poses(found[0], expected[0], exact.numpy())
    else:
        compare_detections(*found, *expected)
    if facts:
        assert facts == {"partitions": 1, "delegated share": 1.0, "outside": {}}


def compare_poses(found, expected, exact):
    """Heatmaps, and what is read from them in pixels of the input.

    Rounding alone may take the eager network further than 1e-5 from its exact heatmaps: TinyPose 256x192 has depthwise
    convolutions with weights of up to 1070. A file that differs from the eager network by more than 1e-5 must be as near to the
    exact heatmaps as that is.
    """
    rounding = np.abs(expected - exact).max()
    assert rounding < 1e-4
    difference = np.abs(found - expected).max()
    assert difference < max(1e-5, rounding)
    if difference > 1e-5:
        assert np.abs(found - exact).max() < rounding
    (one, _), (two, scores) = decode_heatmaps(found), decode_heatmaps(expected)
    visible = scores > 0.2
    assert visible.sum() > 50
    assert np.abs(one - two)[visible].max() * 4 < 0.02


def compare_detections(scores, boxes, expected_scores, expected_boxes):
    """Of ONNX Runtime's sigmoid see `test_exported_files.py`."""
    difference, detected = np.abs(scores - expected_scores), expected_scores > 0.05
    assert detected.sum() > 50
    assert difference[detected].max() < 2e-5
    assert difference.max() < 5e-4
    assert np.abs(boxes - expected_boxes).max() < 0.01
