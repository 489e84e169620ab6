"""Deployed models say which model they are by infer_cfg.yml."""

import itertools
import json
import shutil

import pytest
from conftest import REAL

from tinypose_torch import CheckpointError, PoseEstimator, create_model
from tinypose_torch.checkpoints.files import hash_weights
from tinypose_torch.checkpoints.identity import WrongModelError, resolve_model
from tinypose_torch.checkpoints.infer_config import read_infer_config

POSE = "tinypose_128x96"
SHARES_SHAPES = "tinypose_128x96, tinypose_256x192, wider_naive_hrnet_18_256x192"

needs_reference = pytest.mark.needs_reference

NEWER, OLDER = REAL / "exported/tinypose_128x96", REAL / "exported/picodet_s_192_pedestrian_2021"


def copy_deployed(source, target, config=None):
    shutil.copytree(source, target)
    if config is not None:
        (target / "infer_cfg.yml").unlink()
        (target / "infer_cfg.yml").write_text(config)
    return target


def config_of(width, height, arch="HRNet"):
    return f"arch: {arch}\nPreprocess:\n- trainsize:\n  - {width}\n  - {height}\n  type: TopDownEvalAffine\n"


@needs_reference
@pytest.mark.parametrize(
    ("source", "name"), [(NEWER, POSE), (NEWER / "model.json", POSE), (OLDER, "picodet_s_192_pedestrian")]
)
def test_deployed_models_are_known_by_their_configuration(source, name):
    assert resolve_model(None, source).name == name
    assert resolve_model(name, source).name == name
    with pytest.raises(WrongModelError, match=f"holds weights of {name}, not of tinypose_256x192"):
        resolve_model("tinypose_256x192", source)


@needs_reference
def test_an_estimator_of_a_deployed_model():
    """Of the small network's size, not of the default's."""
    assert PoseEstimator(None, pose_weights=NEWER).pose_config.input_size == (128, 96)


@needs_reference
def test_models_of_one_size_and_architecture_are_told_by_the_folders_name(tmp_path):
    folder = copy_deployed(NEWER, tmp_path / "tinypose_256x192", config_of(192, 256))
    assert resolve_model(None, folder).name == "tinypose_256x192"
    folder = folder.rename(tmp_path / "wider_naive_hrnet_18_256x192_coco")
    assert resolve_model(None, folder).name == "wider_naive_hrnet_18_256x192"
    folder = folder.rename(tmp_path / "mine")
    with pytest.raises(WrongModelError, match="tensors fit tinypose_256x192, wider_naive_hrnet_18_256x192"):
        resolve_model(None, folder)
    with pytest.raises(WrongModelError, match="holds weights of tinypose_256x192 or wider_naive.*not of tinypose_128"):
        resolve_model(POSE, folder)


@needs_reference
def test_an_input_size_of_ones_own(tmp_path):
    folder = copy_deployed(NEWER, tmp_path / "mine", config_of(288, 384))  # that of other networks
    assert create_model(POSE, weights=folder).config.input_size == (384, 288)
    (folder / "infer_cfg.yml").write_text(config_of(160, 160))
    assert create_model(POSE, weights=folder).config.input_size == (160, 160)
    with pytest.raises(WrongModelError, match=f"tensors fit {SHARES_SHAPES}"):
        create_model(None, weights=folder)


@needs_reference
@pytest.mark.parametrize("size", [192, 320])
def test_genuine_configurations_of_detectors(size, tmp_path):
    """With the tensors of the 2021 detector, whose architecture is the same by name."""
    config = (REAL / f"infer_cfg/picodet_s_{size}_lcnet_pedestrian.yml").read_text()
    folder = copy_deployed(OLDER, tmp_path / "model", config)
    source = resolve_model(None, folder, ("detection",))
    assert (source.name, source.changes) == (f"picodet_s_{size}_pedestrian", {})
    with pytest.raises(WrongModelError, match=f"holds weights of picodet_s_{size}_pedestrian, not of {POSE}"):
        resolve_model(POSE, folder)


@needs_reference
@pytest.mark.parametrize("arch", ["GFL", "SSD"])
def test_a_configuration_of_another_network(arch, tmp_path):
    folder = copy_deployed(NEWER, tmp_path / "model", config_of(192, 192, arch))
    with pytest.raises(WrongModelError, match=f"holds a network of architecture {arch} .infer_cfg.yml., not {POSE}"):
        resolve_model(POSE, folder)
    with pytest.raises(WrongModelError, match="tensors fit no model"):
        resolve_model(None, folder)


@needs_reference
def test_without_a_configuration(tmp_path):
    folder = copy_deployed(NEWER, tmp_path / "model", "")
    (folder / "infer_cfg.yml").unlink()
    assert create_model(POSE, weights=folder).config.name == POSE
    with pytest.raises(WrongModelError, match="does not say which model it holds"):
        create_model(None, weights=folder)
    digest = hash_weights(folder)
    (folder / "x.receipt.json").write_text(
        json.dumps({"model": POSE, "source": {"sha256": digest}, "converted": {"sha256": "0"}})
    )
    assert resolve_model(None, folder).name == POSE


# Each key is 20 times as large as the one before it.
MERGES = "".join(f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 20)}]}}\n" for a, b in itertools.pairwise("abcdefgh"))


@pytest.mark.parametrize(
    "config",
    [
        "",
        "[]",
        "arch: 3\n",
        "arch: HRNet\nPreprocess: 3\n",
        config_of("a", "b"),
        config_of("1" * 5000, 2),
        "arch: !!python/object/apply:os.system [true]\n",
        "[" * 1500,
        "\0",
        "arch: HRNet\n" + "#" * 70_000,
        "a: &a [*a]\n",
        "a: &a {x: 1}\n" + MERGES + config_of(96, 128),
    ],
)
def test_damaged_and_hostile_configurations(config):
    with pytest.raises(CheckpointError, match=r"infer_cfg\.yml"):
        read_infer_config(config.encode())
