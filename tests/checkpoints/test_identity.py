"""Weights say which model they are: one rule for every command and for Python."""

import hashlib
import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from conftest import ROOT

from tinypose_torch import (
    BottomUpEstimator,
    CheckpointError,
    PoseEstimator,
    UnknownModelError,
    create_model,
)
from tinypose_torch.checkpoints.files import describe_changes, save_safetensors
from tinypose_torch.checkpoints.identity import WrongModelError, resolve_model
from tinypose_torch.runtime import load_runner
from tinypose_torch.utils import defaults

POSE, DETECTOR = "tinypose_128x96", "picodet_s_192_lcnet_pedestrian"
SHARES_SHAPES = "tinypose_128x96, tinypose_256x192, wider_naive_hrnet_18_256x192"
DEMO_POSE, DEMO_DETECTOR = (ROOT / f"weights/{name}_demo.safetensors" for name in (POSE, "picodet_s_192"))

needs_reference = pytest.mark.needs_reference


def save(network, path):
    save_safetensors(network, path, describe_changes(network.config))
    return path


def bare(network, path):
    """A file that does not say which model it is."""
    torch.save(network.state_dict(), path)
    return path


# --- which model ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [None, "auto"])
def test_defaults_without_weights(name):
    assert resolve_model(name, tasks=("pose",)).name == defaults.POSE
    assert resolve_model(name, tasks=("detection",)).name == defaults.DETECTOR
    assert resolve_model(name, tasks=("bottom-up pose",)).name == defaults.BOTTOM_UP
    with pytest.raises(ValueError, match="which model"):
        resolve_model(name)
    with pytest.raises(ValueError, match="which model"):
        create_model(name)


def test_a_file_that_knows_its_model():
    source = resolve_model(None, DEMO_POSE, ("pose",))
    assert source.name == POSE
    assert source.checkpoint is None, "its tensors need not be read"
    assert resolve_model("auto", DEMO_DETECTOR).name == DETECTOR
    assert create_model(None, weights=DEMO_POSE).config.name == POSE


def test_a_name_that_contradicts_the_file():
    message = "demo.safetensors holds weights of tinypose_128x96, not of tinypose_256x192; pass --pose tinypose_128x96"
    with pytest.raises(WrongModelError, match=message):
        resolve_model("tinypose_256x192", DEMO_POSE, ("pose",), "--pose NAME")
    with pytest.raises(WrongModelError, match="not of tinypose_256x192; pass tinypose_128x96, or no name"):
        create_model("tinypose_256x192", weights=DEMO_POSE)
    with pytest.raises(WrongModelError, match="pass pose=tinypose_128x96"):
        PoseEstimator(None, "tinypose_256x192", pose_weights=DEMO_POSE)
    with pytest.raises(WrongModelError, match="pass detector=picodet_s_192_lcnet_pedestrian"):
        PoseEstimator("picodet_s_320_lcnet_pedestrian", POSE, DEMO_DETECTOR, DEMO_POSE)


def test_a_file_of_another_task():
    with pytest.raises(ValueError, match=f"{DETECTOR} is not a pose network, but a detector"):
        PoseEstimator(None, pose_weights=DEMO_DETECTOR)
    with pytest.raises(ValueError, match=f"{POSE} is not a bottom-up network, but a pose network"):
        BottomUpEstimator(weights=DEMO_POSE)


def test_a_file_of_a_model_that_is_not_in_the_catalogue(tmp_path):
    save_safetensors(create_model(POSE), tmp_path / "x.safetensors", {"model": "tinypose_512"})
    with pytest.raises(UnknownModelError, match="x.safetensors: unknown model 'tinypose_512'"):
        create_model(None, weights=tmp_path / "x.safetensors")


def test_a_bare_file_whose_tensors_fit_several_models(tmp_path):
    path = bare(create_model(POSE), tmp_path / "x.pt")
    message = rf"x\.pt does not say which model it holds; pass --pose NAME \(its tensors fit {SHARES_SHAPES}\)"
    with pytest.raises(WrongModelError, match=message):
        resolve_model(None, path, ("pose",), "--pose NAME")
    assert create_model("tinypose_256x192", weights=path).config.input_size == (256, 192)


@pytest.mark.parametrize(
    ("name", "tasks"),
    [("higherhrnet_w16_192", ()), ("picodet_legacy_l_640_coco", None), ("fairmot_dla34", ("detection",))],
)
def test_a_bare_file_whose_tensors_fit_one_model(name, tasks, tmp_path):
    path = bare(create_model(name), tmp_path / "x.pt")
    if tasks is None:  # its sizes differ in the input alone
        with pytest.raises(
            WrongModelError, match="its tensors fit picodet_legacy_l_320_coco, picodet_legacy_l_416_coco"
        ):
            resolve_model(None, path)
        return
    source = resolve_model(None, path, tasks)
    assert source.name == name
    assert source.checkpoint is not None, "it was read, and is not read again"


def test_a_bare_file_that_fits_nothing(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "x.pt")
    with pytest.raises(WrongModelError, match="does not say which model it holds; pass name .its tensors fit no model"):
        create_model(None, weights=tmp_path / "x.pt")


def test_other_keypoints_in_a_bare_file(tmp_path):
    """The body of the network still tells; the head needs a number, which the error names."""
    path = bare(create_model("higherhrnet_w16_192", num_keypoints=5), tmp_path / "x.pt")
    assert resolve_model(None, path).name == "higherhrnet_w16_192"
    assert create_model(None, weights=path, num_keypoints=5).config.name == "higherhrnet_w16_192"
    with pytest.raises(CheckpointError, match="num_keypoints="):
        create_model(None, weights=path)


# --- receipts -------------------------------------------------------------------------------------------------------


def receipts(path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "receipt.json": {"sha256": digest, "configuration": {"model": POSE}},
        "x.receipt.json": {"model": POSE, "source": {"sha256": digest}, "converted": {"sha256": "0"}},
        f"{POSE}.receipt.json": {"model": POSE, "source": {"sha256": "0"}, "converted": {"sha256": digest}},
    }


@pytest.mark.parametrize("name", ["receipt.json", "x.receipt.json", f"{POSE}.receipt.json"])
def test_a_receipt_beside_the_file(name, tmp_path):
    path = bare(create_model(POSE), tmp_path / "x.pdparams")
    (tmp_path / name).write_text(json.dumps(receipts(path)[name]))
    assert resolve_model(None, path, ("pose",)).name == POSE
    with pytest.raises(WrongModelError, match="not of tinypose_256x192"):
        resolve_model("tinypose_256x192", path)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "[" * 100_000, '{"configuration": 3}', '{"model": 3, "source": 1}']
)
def test_receipts_that_say_nothing(content, tmp_path):
    path = bare(create_model("higherhrnet_w16_192"), tmp_path / "x.pt")
    (tmp_path / "receipt.json").write_text(content)
    (tmp_path / "y.receipt.json").write_text(json.dumps({"sha256": "0", "configuration": {"model": POSE}}))
    assert resolve_model(None, path).name == "higherhrnet_w16_192"


# --- releases -------------------------------------------------------------------------------------------------------


def test_a_release_by_its_tag(private_cache):
    torch.manual_seed(3)
    network = create_model(POSE)
    save(network, private_cache / f"{POSE}-2021.safetensors")
    assert resolve_model(POSE, "2021").release == "2021"
    assert resolve_model(None, "2021", ("pose",)).name == defaults.POSE
    for loaded in (
        create_model(POSE, weights="2021"),
        create_model(POSE, pretrained="2021"),
        load_runner(POSE, "2021").network,
        PoseEstimator(None, POSE, pose_weights="2021").pose_runner.network,
    ):
        assert torch.equal(loaded.final_conv.weight, network.final_conv.weight)


def test_a_tag_that_there_is_not():
    with pytest.raises(
        FileNotFoundError, match="'2023', and no such release of tinypose_128x96; its releases: 2022, 2021"
    ):
        PoseEstimator(None, POSE, pose_weights="2023")
    with pytest.raises(FileNotFoundError, match="no such release of higherhrnet_w16_192, which has none"):
        create_model("higherhrnet_w16_192", weights="2022")
    with pytest.raises(FileNotFoundError, match=r"no weight file 'x/2021.pdparams'$"):
        create_model(POSE, weights="x/2021.pdparams")


def test_a_file_comes_before_a_tag(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(DEMO_POSE, "2021")
    assert resolve_model(POSE, "2021").release is None
    assert create_model(POSE, weights="2021").config.name == POSE


# --- errors name the likely model -----------------------------------------------------------------------------------


def test_the_likely_model_and_few_tensors(tmp_path):
    path = bare(create_model("lite_hrnet_18_256x192"), tmp_path / "x.pt")
    with pytest.raises(CheckpointError) as caught:
        create_model(POSE, weights=path)
    message = str(caught.value)
    assert message.endswith("its tensors are most like those of lite_hrnet_18_256x192, lite_hrnet_18_384x288")
    assert " and " in message
    assert message.count("backbone.") <= 5
    assert len(caught.value.missing) > 100


def test_no_likely_model(tmp_path):
    (tmp_path / "x.pdparams").write_bytes(pickle.dumps({"weight": np.zeros(3, np.float32)}, protocol=4))
    with pytest.raises(CheckpointError) as caught:
        create_model(POSE, weights=tmp_path / "x.pdparams")
    assert "most like" not in str(caught.value)
