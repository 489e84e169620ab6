"""Every form of .pdparams that the reference README describes."""

import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from conftest import REAL

from tinypose_torch import CheckpointError, create_model
from tinypose_torch.checkpoints.paddle_params import CHUNK_TABLE, NAME_TABLE, read_paddle_params

WEIGHTS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "norm._mean": np.linspace(-1, 1, 5, dtype=np.float32),
    "scale_reg": np.ones(1, np.float32),
}


def assert_same(loaded, expected=WEIGHTS):
    assert sorted(loaded) == sorted(expected)
    for name, array in expected.items():
        assert np.array_equal(loaded[name], array), name


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_plain_form(protocol, kind):
    data = kind(WEIGHTS, **{NAME_TABLE: dict.fromkeys(WEIGHTS, "conv2d_0.w_0")})
    # Protocol 5 stores arrays differently when numpy may choose; Paddle never writes it.
    assert_same(read_paddle_params(pickle.dumps(data, protocol=min(protocol, 4))))


@pytest.mark.parametrize("protocol", [2, 4])
def test_files_of_the_reference_tool(protocol, filler, tmp_path):
    filler.save_pdparams(WEIGHTS, tmp_path / "x.pdparams", protocol=protocol, chunk_bytes=40)
    content = (tmp_path / "x.pdparams").read_bytes()
    assert (CHUNK_TABLE.encode() in content) == (protocol == 2)
    assert_same(read_paddle_params(content))


def test_mixed_containers_hold_tuples():
    data = {"model": {name: ("internal", array) for name, array in WEIGHTS.items()}, "epoch": 3}
    assert_same(read_paddle_params(pickle.dumps(data, protocol=4)))


def test_other_dtypes_and_orders():
    bits = (np.array([1.5, -2.0, 0.25], np.float32).view(np.uint32) >> 16).astype(np.uint16)
    data = {
        "bf16": bits,
        "f16": np.array([0.5], np.float16),
        "big": np.array([1.25, 7.0], ">f4"),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    }
    loaded = read_paddle_params(pickle.dumps(data, protocol=4))
    assert loaded["bf16"].tolist() == [1.5, -2.0, 0.25]
    assert loaded["f16"].tolist() == [0.5]
    assert loaded["big"].tolist() == [1.25, 7.0]
    assert np.array_equal(loaded["fortran"], data["fortran"])


def test_optimizer_files_are_told_apart():
    data = {"conv2d_0.w_0_moment1_0": WEIGHTS["norm._mean"], "LR_Scheduler": {"last_epoch": np.float64(3.0)}}
    with pytest.raises(CheckpointError, match=r"optimizer's state \(.pdopt\)"):
        read_paddle_params(pickle.dumps(data, protocol=4))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([WEIGHTS], "a value of type list"),
        ({"epoch": 1}, "holds no state dict"),
        ({"a": {"w": WEIGHTS["scale_reg"]}, "b": {"w": WEIGHTS["scale_reg"]}}, "several state dicts"),
        ({**WEIGHTS, "epoch": 3}, "entry 'epoch' is not a tensor"),
        ({"x@@.0": np.ones(2), CHUNK_TABLE: {"x": {"OriginShape": (3,), "slices": ["x@@.0"]}}}, "pieces of tensor 'x'"),
        ({"x@@.0": np.ones(2), CHUNK_TABLE: {"x": {"OriginShape": (4,), "slices": ["x@@.0"] * 2}}}, "pieces of tensor"),
    ],
)
def test_other_contents_are_named(data, message):
    with pytest.raises(CheckpointError, match=message):
        read_paddle_params(pickle.dumps(data, protocol=4))


@pytest.mark.needs_reference
@pytest.mark.parametrize("file", sorted(path.name for path in (REAL / "weights").glob("*.pdparams")))
def test_genuine_checkpoints(file):
    """Equal to what Python's own unpickler makes of them; these files are known and harmless."""
    path = REAL / "weights" / file
    expected = pickle.loads(path.read_bytes())
    expected.pop(NAME_TABLE)
    assert_same(read_paddle_params(path.read_bytes()), expected)
    network = create_model(file.removesuffix(".pdparams"), weights=path)
    assert not network.training


@pytest.mark.needs_reference
@pytest.mark.parametrize("size", ["128x96", "256x192"])
@pytest.mark.parametrize("photo", ["hrnet_demo", "coco_000000000785"])
def test_release_of_2021(size, photo, filler, tmp_path):
    with np.load(REAL / f"weights/tinypose_{size}_v1_fp16.npz") as arrays:
        filler.save_pdparams({name: arrays[name].astype(np.float32) for name in arrays}, tmp_path / "v1.pdparams")
    network = create_model(f"tinypose_{size}", weights=tmp_path / "v1.pdparams")
    prefix = f"{192 if size == '128x96' else 320}_{photo}"
    recorded = np.load(REAL / f"expected/tensors_{prefix.split('_')[0]}.npz")
    with torch.inference_mode():
        heatmaps = network(torch.from_numpy(recorded[f"{prefix}_kp_input"]))
    assert np.abs(heatmaps.numpy() - recorded[f"{prefix}_heatmaps_v1"]).max() < 2e-5
