"""Covariances of heatmap peaks, and the calibration that turns them and the scores into probabilities."""

import dataclasses
import json

import numpy as np
import pytest
import safetensors
import torch
from conftest import ROOT

from tinypose_torch import create_model
from tinypose_torch.checkpoints.errors import CheckpointError
from tinypose_torch.checkpoints.files import CHANGES_KEY, describe_changes, save_safetensors
from tinypose_torch.codecs.calibration import LEVELS, KeypointCalibration, KeypointUncertainty, fit_calibration
from tinypose_torch.codecs.heatmap import heatmap_covariances
from tinypose_torch.evaluation.calibration import KeypointErrors, expected_calibration_error
from tinypose_torch.geometry.skeletons import COCO17

SIGMA = 2.0
WEIGHTS = ROOT / "weights/tinypose_128x96_demo.safetensors"


def gaussian(covariance, center=(11.3, 15.8), size=(32, 24)):
    y, x = np.mgrid[: size[0], : size[1]]
    offsets = np.stack([x - center[0], y - center[1]], axis=-1)
    squared = (offsets @ np.linalg.inv(covariance) * offsets).sum(axis=-1)
    return np.exp(-squared / 2).astype(np.float32)[None, None]


def test_covariance_of_a_gaussian():
    """That of the map, and 1/2 of the blur on each axis."""
    covariance = np.array([[6.0, 2.5], [2.5, 4.0]])
    found = heatmap_covariances(gaussian(covariance), SIGMA)
    assert found.shape == (1, 1, 2, 2)
    assert found[0, 0] == pytest.approx(covariance + 0.5 * np.eye(2), rel=0.02)


def test_covariances_are_limited():
    """Of flat, sharp and empty maps, and at the border."""
    flat, sharp = np.ones((1, 1, 32, 24), np.float32), np.zeros((1, 1, 32, 24), np.float32)
    flat[0, 0, 16, 12] = 1.0001
    sharp[0, 0, 16, 12] = 1
    border = gaussian(4 * np.eye(2), (0.2, 9))
    maps = np.concatenate([flat, sharp, border, np.zeros_like(flat)], axis=1)
    axes = np.sqrt(np.linalg.eigvalsh(heatmap_covariances(maps, SIGMA)))[0]
    assert axes[0] == pytest.approx([4 * SIGMA] * 2)
    assert axes[1] == pytest.approx([SIGMA / 4] * 2, rel=0.3)
    assert axes[2:] == pytest.approx(np.full((2, 2), SIGMA))
    assert heatmap_covariances(np.zeros((0, 17, 32, 24), np.float32), SIGMA).shape == (0, 17, 2, 2)


def simulated(people, rng):
    """Offsets whose size depends on the score and the keypoint, some of them far off, and their covariances' shapes."""
    scores = rng.uniform(0.1, 1, (people, 17))
    size = 0.3 / scores**2 * np.linspace(0.5, 2, 17)
    far = rng.uniform(size=scores.shape) > 0.6 + 0.4 * scores
    roots = np.array([[1.5, 0.4], [0, 0.8]])
    offsets = rng.normal(size=(people, 17, 2)) @ roots * (size * np.where(far, 8, 1))[..., None]
    offsets[rng.uniform(size=scores.shape) < 0.2] = np.nan
    return offsets, np.tile(roots.T @ roots * 3, (people, 17, 1, 1)), scores


def test_calibration_holds_for_others():
    rng = np.random.default_rng(0)
    calibration = fit_calibration(*simulated(500, rng))
    offsets, covariances, scores = simulated(800, rng)
    uncertainty = KeypointUncertainty(covariances * 2.5**2, np.full(800, 2.5), scores, calibration)
    held_out = KeypointErrors(offsets * 2.5, np.full(800, 100.0), np.arange(800), uncertainty)
    assert held_out.calibration_error() < 0.02
    assert 0.885 < held_out.coverage() < 0.915
    plain = held_out.with_calibration(KeypointCalibration.uncalibrated(17))
    assert plain.calibration_error() > 0.1
    radii = uncertainty.radius(0.8)
    assert uncertainty.probability_within(radii) == pytest.approx(np.full(radii.shape, 0.8))
    assert (uncertainty.radius(0.0) == 0).all()
    assert (uncertainty.radius(0.95) > radii).all()
    assert uncertainty[np.array([3])].covariances == pytest.approx(uncertainty.covariances[3:4])
    with pytest.raises(ValueError, match=r"probability 1\.5; expected 0 to 1"):
        uncertainty.radius(1.5)


def test_expected_calibration_error():
    probabilities = np.repeat([0.05, 0.95], 100)
    assert expected_calibration_error(probabilities, np.arange(200) % 20 < 1) == pytest.approx(0.45)
    assert expected_calibration_error(np.ones(10), np.ones(10, bool)) == 0


def test_too_few_labels():
    offsets, covariances, scores = simulated(8, np.random.default_rng(0))
    with pytest.raises(ValueError, match="labelled keypoints; a calibration needs at least 200"):
        fit_calibration(offsets, covariances, scores)
    offsets[:] = np.nan
    with pytest.raises(ValueError, match="0 labelled keypoints"):
        fit_calibration(offsets, covariances, scores)


@pytest.fixture
def calibrated(tmp_path):
    """Weights with a calibration, and this."""
    network = create_model(None, weights=WEIGHTS)
    calibration = fit_calibration(*simulated(300, np.random.default_rng(1)))
    network.config = dataclasses.replace(network.config, calibration=calibration)
    save_safetensors(network, tmp_path / "c.safetensors", describe_changes(network.config))
    return tmp_path / "c.safetensors", calibration


def test_weights_carry_it(calibrated):
    """For their own keypoints and input size only."""
    path, calibration = calibrated
    assert create_model(None, weights=path).config.calibration == calibration
    assert create_model(None, weights=path, input_size=(256, 192)).config.calibration is None
    other = dataclasses.replace(COCO17, name="other")
    assert create_model(None, weights=path, skeleton=other).config.calibration is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scores", [0.5]),
        ("scores", "x"),
        ("factors", [1.0]),
        ("factors", [-1.0] * 17),
        ("radii", [[0.0, 1.0]]),
        ("radii", [list(range(len(LEVELS)))[::-1]] * 16),
        ("scales", [1e99]),
    ],
)
def test_damaged_calibration(field, value, calibrated):
    path, _ = calibrated
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    facts = json.loads(metadata[CHANGES_KEY])
    assert len(facts["calibration"]["scores"]) == 16
    facts["calibration"][field] = value
    metadata[CHANGES_KEY] = json.dumps(facts)
    state = {"weight": torch.zeros(1)}
    safetensors.torch.save_file(state, path, metadata)
    with pytest.raises(CheckpointError, match="its description of the network is damaged: calibration"):
        create_model(None, weights=path)
