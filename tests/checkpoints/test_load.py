"""Strict loading: every tensor accounted for, in every format."""

import pickle
import warnings

import numpy as np
import pytest
import torch

from tinypose_torch import CheckpointError, Skeleton, create_model, list_models, load_weights
from tinypose_torch.checkpoints.errors import MismatchedCheckpointError
from tinypose_torch.checkpoints.files import save_safetensors
from tinypose_torch.checkpoints.renaming import rename_path, rename_state

NAME = "tinypose_128x96"


@pytest.fixture
def network():
    torch.manual_seed(0)
    return create_model(NAME)


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s}, lambda s: {"model": s, "epoch": 3}])
def test_pytorch_checkpoints(wrap, network, tmp_path):
    torch.save(wrap(network.state_dict()), tmp_path / "x.pt")
    assert same(create_model(NAME, weights=tmp_path / "x.pt"), network)


def test_pytorch_checkpoint_in_other_layouts(network, tmp_path):
    """Strided, shared and half-precision tensors, as torch.save writes them."""
    state = network.to(memory_format=torch.channels_last).state_dict()
    state["final_conv.bias"] = state["final_conv.bias"].bfloat16()
    state["final_conv.weight"] = torch.nn.Parameter(state["final_conv.weight"])
    torch.save(state, tmp_path / "x.ckpt")
    loaded = create_model(NAME, weights=tmp_path / "x.ckpt")
    assert torch.equal(loaded.final_conv.weight, network.final_conv.weight)
    assert torch.equal(loaded.final_conv.bias, state["final_conv.bias"].float())
    assert torch.equal(loaded.backbone.stem.conv1.conv.weight, network.backbone.stem.conv1.conv.weight)


def test_safetensors_carry_the_models_name(network, tmp_path):
    save_safetensors(network, tmp_path / "x.safetensors", {"model": NAME})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(create_model(NAME, weights=tmp_path / "x.safetensors"), network)
    with pytest.raises(CheckpointError, match="holds weights of tinypose_128x96, not of tinypose_256x192"):
        create_model("tinypose_256x192", weights=tmp_path / "x.safetensors")
    load_weights(create_model("tinypose_256x192"), tmp_path / "x.safetensors")


def test_safetensors_whose_header_is_as_long_as_pickles_begin(network, tmp_path):
    """The file begins with its header's length: a multiple of 8, whose lowest byte may be the 0x80 of a pickle."""
    path = tmp_path / "x.safetensors"
    for padding in range(0, 256, 8):
        save_safetensors(network, path, {"model": NAME, "padding": "x" * padding})
        if path.read_bytes()[0] == 0x80:
            break
    assert path.read_bytes()[0] == 0x80
    assert same(create_model(NAME, weights=path), network)


def test_saving_is_atomic(network, tmp_path):
    target = tmp_path / "x.safetensors"
    target.write_bytes(b"old")
    with pytest.raises(TypeError):
        save_safetensors(network, target, {"model": 3})
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def to_paddle(network):
    """PaddleDetection's names for a Lite-HRNet, whose names are equal but for the statistics."""
    rename = {"running_mean": "_mean", "running_var": "_variance"}
    return {
        ".".join([*name.split(".")[:-1], rename.get(name.split(".")[-1], name.split(".")[-1])]): tensor.numpy()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def write(path, tensors):
    path.write_bytes(pickle.dumps(tensors, protocol=4))
    return path


def test_every_problem_is_named_and_nothing_is_changed(network, tmp_path):
    tensors = to_paddle(network)
    del tensors["backbone.stem.conv1.conv.weight"]
    tensors["surplus.weight"] = np.zeros(3, np.float32)
    tensors["final_conv.bias"] = np.zeros(3, np.float32)
    fresh = create_model(NAME)
    before = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    with pytest.raises(MismatchedCheckpointError) as caught:
        load_weights(fresh, write(tmp_path / "x.pdparams", tensors))
    message = str(caught.value)
    assert "1 missing: backbone.stem.conv1.conv.weight" in message
    assert "1 left over: surplus.weight" in message
    assert "final_conv.bias is (3,) in the file, (17,) in the network" in message
    assert "reset_head" not in message
    assert caught.value.missing == ["backbone.stem.conv1.conv.weight"]
    assert caught.value.left_over == ["surplus.weight"]
    assert all(torch.equal(before[name], tensor) for name, tensor in fresh.state_dict().items())


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("final_conv.bias", np.full(17, np.nan, np.float32), "final_conv.bias holds values that are not finite"),
        ("final_conv.bias", np.full(17, 1e39), "final_conv.bias holds values that are not finite as torch.float32"),
        (
            "final_conv.bias",
            np.full(17, 1, np.int64),
            "final_conv.bias holds torch.int64 values; expected torch.float32",
        ),
        ("final_conv.bias", np.full(17, True), "final_conv.bias holds torch.bool values"),
        ("backbone.stem.conv1.norm._variance", np.full(32, -1e-3, np.float32), "running_var holds negative variances"),
    ],
)
def test_values_that_are_no_weights(name, array, message, network, tmp_path):
    tensors = to_paddle(network)
    assert tensors[name].shape == array.shape
    tensors[name] = array
    fresh = create_model(NAME)
    before = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_weights(fresh, write(tmp_path / "x.pdparams", tensors))
    assert all(torch.equal(before[name], tensor) for name, tensor in fresh.state_dict().items())


def test_new_head_only_when_asked(network, tmp_path):
    path = write(tmp_path / "x.pdparams", to_paddle(network))
    with pytest.raises(CheckpointError, match="pass reset_head=True to start with a new head"):
        create_model(NAME, weights=path, num_keypoints=5)
    fresh = create_model(NAME, weights=path, skeleton=Skeleton.unnamed(5), reset_head=True)
    assert fresh.final_conv.out_channels == 5
    assert torch.equal(fresh.backbone.stem.conv1.conv.weight, network.backbone.stem.conv1.conv.weight)
    same_size = create_model(NAME, weights=path, reset_head=True)
    assert not torch.equal(same_size.final_conv.weight, network.final_conv.weight)


@pytest.mark.parametrize("name", ["picodet_s_192_pedestrian", "picodet_s_192_lcnet_pedestrian"])
def test_new_detector_head(name, tmp_path):
    network = create_model(name)
    save_safetensors(network, tmp_path / "x.safetensors", {"model": name})
    with pytest.raises(CheckpointError, match="reset_head=True"):
        create_model(name, weights=tmp_path / "x.safetensors", num_classes=3)
    fresh = create_model(name, weights=tmp_path / "x.safetensors", num_classes=3, reset_head=True)
    tower = "head.towers.0.convs.0.depthwise.conv.weight"
    assert torch.equal(fresh.state_dict()[tower], network.state_dict()[tower])


@pytest.mark.parametrize("name", list_models())
def test_head_prefixes_name_what_depends_on_the_head(name):
    entry = create_model(name).config
    other = {"num_classes": 5} if entry.task == "detection" else {"num_keypoints": 5}
    network = create_model(name)
    one, two = network.state_dict(), create_model(name, **other).state_dict()
    changed = {n for n, tensor in one.items() if tensor.shape != two[n].shape}
    prefixes = tuple(f"{prefix}." for prefix in network.head_prefixes())
    counters = "num_batches_tracked"  # of one shape always
    assert changed == {n for n in one if n.startswith(prefixes) and not n.endswith(counters)}


def test_missing_file():
    with pytest.raises(FileNotFoundError, match="no weight file 'nowhere.pdparams'"):
        create_model(NAME, weights="nowhere.pdparams")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("backbone.3_7._conv_pw._batch_norm._mean", "backbone.stage3.6.expand.norm.running_mean"),
        ("backbone.2_1._conv_dw_mv1._conv.weight", "backbone.stage2.0.mix_depthwise.conv.weight"),
        ("backbone.blocks6.0.pw_conv.bn._variance", "backbone.blocks6.0.pointwise.norm.running_var"),
        ("neck.bottom_up_blocks.1.blocks.0.conv2.bn1.bias", "neck.bottom_up.1.block.bottleneck.1.depthwise.norm.bias"),
        ("neck.downsamples.0.pwconv.weight", "neck.bottom_up.0.downsample.pointwise.conv.weight"),
        ("head.conv_feat.cls_conv_pw2.1.norm.weight", "head.towers.2.convs.1.pointwise.norm.weight"),
        ("head.cls_align.3.dwconv.weight", "head.predictors.3.align.0.conv.weight"),
        ("head.head_cls1.bias", "head.predictors.1.output.bias"),
    ],
)
def test_names(name, expected):
    assert rename_path("PicoDet", name) == expected


def test_double_names_and_constants_must_agree():
    weight = np.ones((1, 4, 1, 1), np.float32)
    pair = {"head.head_reg0.weight": weight, "head.head_reg_list.0.weight": weight}
    renamed = rename_state("PicoDet", pair)
    assert list(renamed.state) == ["head.predictors.0.reg.weight"]
    assert list(renamed.dropped) == ["head.head_reg0.weight"]
    with pytest.raises(CheckpointError, match="should be one tensor, but differ"):
        rename_state("PicoDet", {**pair, "head.head_reg0.weight": weight + 1})
    with pytest.raises(CheckpointError, match="should hold 0 to 7"):
        rename_state("PicoDet", {"head.distribution_project.project": np.zeros(8, np.float32)})
