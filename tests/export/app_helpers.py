"""Programs and pictures for the tests of apps."""

import cv2
import numpy as np
import torch
from conftest import REAL, REFERENCE, gradient_image, photos_of_people, trained_weights

from tinypose_torch import PoseEstimator, create_model
from tinypose_torch.export.app.api import build_program
from tinypose_torch.runtime.app import AppRunner
from tinypose_torch.runtime.app_metadata import AppMetadata
from tinypose_torch.runtime.metadata import ExportMetadata
from tinypose_torch.utils.defaults import VISIBLE
from tinypose_torch.utils.images import load_image

DETECTOR, POSE = "picodet_s_192_lcnet_pedestrian", "tinypose_128x96"


def networks(weights=trained_weights):
    """Pose network and detector."""
    return [create_model(name, weights=weights(name)) for name in (POSE, DETECTOR)]


def describe(pose, detector, frame_size=(480, 640), max_people=4, detect_every=None, pixels="rgb"):
    described = [ExportMetadata(each.config, True, each is pose, 1, "fp32", {}) for each in (detector, pose)]
    threshold = detector.config.person_threshold
    return AppMetadata(*described, frame_size, max_people, threshold, detect_every, pixels=pixels)


def estimator(weights=trained_weights):
    return PoseEstimator(DETECTOR, POSE, weights(DETECTOR), weights(POSE), resize="portable")


class EagerApp(AppRunner):
    """An app that was not exported."""

    backend = "eager"

    def __init__(self, metadata, pose, detector, format_name="torchscript"):
        self.metadata, self.calls = metadata, []
        self.program = build_program(pose, detector, metadata, format_name)

    @torch.inference_mode()
    def run(self, method, inputs):
        self.calls.append(method)
        outputs = getattr(self.program, method)(*map(torch.from_numpy, inputs))
        return tuple(each.numpy() for each in (outputs if isinstance(outputs, tuple) else (outputs,)))


def frames(size, count=None):
    """The photos of the reference, else rendered scenes, brought to a size, and a frame without people."""
    if REFERENCE.is_dir():
        pictures = [load_image(file) for file in sorted((REAL / "images").glob("*.jpg"))[:count]]
    else:
        pictures = photos_of_people(count or 4)
    shrunk = [cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA) for picture in pictures]
    return [*shrunk, gradient_image(*size)]


def check_people(found, expected, max_people):
    """The same people, and keypoints scored above 0.2 within 0.01 pixel.

    Returns:
        Their number.
    """
    count = min(max_people, len(expected))
    assert found.scores.shape == (max_people,)
    assert int((found.scores > 0).sum()) == count
    for values in found:
        assert (values[count:] == 0).all()
        assert values.dtype == np.float32
    assert (np.diff(found.scores[:count]) <= 0).all()
    visible = expected.keypoint_scores[:count] > VISIBLE
    assert np.abs(found.boxes[:count] - expected.boxes[:count]).max(initial=0) < 0.01
    assert np.abs(found.scores[:count] - expected.scores[:count]).max(initial=0) < 1e-4
    assert np.abs(found.keypoints[:count, :, :2] - expected.keypoints[:count])[visible].max(initial=0) < 0.01
    assert np.abs(found.keypoints[:count, :, 2] - expected.keypoint_scores[:count]).max(initial=0) < 1e-4
    return count


def check_followed(found, expected):
    """The same people by their ids, and keypoints within 0.01 pixel.

    Returns:
        Their number.
    """
    assert found.ids.tolist() == sorted(expected.ids.tolist())
    expected = expected[np.argsort(expected.ids)]
    assert np.abs(found.boxes - expected.boxes).max(initial=0) < 0.01
    assert np.abs(found.scores - expected.scores).max(initial=0) < 1e-4
    assert np.abs(found.keypoints - expected.keypoints).max(initial=0) < 0.01
    assert np.abs(found.keypoint_scores - expected.keypoint_scores).max(initial=0) < 1e-4
    return len(expected)
