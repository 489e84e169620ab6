"""Deployed Paddle models: both program formats, with and without names, with batch norm and folded."""

import json
import shutil
import struct

import numpy as np
import pytest
import torch
from conftest import REAL

from tinypose_torch import CheckpointError, create_model
from tinypose_torch.checkpoints import paddle_program
from tinypose_torch.checkpoints.deployed import link_convolutions, read_deployed, read_tensor_stream
from tinypose_torch.checkpoints.load import load_weights
from tinypose_torch.checkpoints.renaming import rename_path

EXPORTED = REAL / "exported"
NEWER = EXPORTED / "tinypose_128x96"
OLDER = EXPORTED / "picodet_s_192_pedestrian_2021"

needs_reference = pytest.mark.needs_reference


def tensor_record(array):
    """One tensor as .pdiparams stores it."""
    codes = {np.dtype("f4"): 5, np.dtype("i8"): 3}
    description = bytes([0x08, codes[array.dtype]])
    for size in array.shape:
        description += b"\x10" + varint(size)
    header = struct.pack("<IQIi", 0, 0, 0, len(description))
    return header + description + array.tobytes()


def varint(number):
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.fixture(scope="module")
def genuine():
    return create_model("tinypose_128x96", weights=REAL / "weights/tinypose_128x96.pdparams")


@needs_reference
@pytest.mark.parametrize("given", ["", "model.json", "model.pdiparams"])
def test_newer_program_gives_the_checkpoint(given, genuine):
    assert same_weights(create_model("tinypose_128x96", weights=NEWER / given), genuine)


@needs_reference
def test_newer_program_every_name():
    """Every tensor went where the exporter's own order says."""
    report = load_weights(create_model("tinypose_128x96"), NEWER)
    rows = json.loads((NEWER / "param_order.json").read_text())
    expected = {rename_path("LiteHRNet", row["state_key"]): row["file_name"] for row in rows}
    assert report.sources == expected
    assert len(expected) == 1342


@needs_reference
def test_older_program_of_the_same_network(genuine, tmp_path):
    shutil.copy(EXPORTED / "tinypose_128x96_legacy/model.pdmodel", tmp_path)
    shutil.copy(NEWER / "model.pdiparams", tmp_path)
    assert same_weights(create_model("tinypose_128x96", weights=tmp_path), genuine)


@needs_reference
@pytest.mark.parametrize("with_names", [True, False])
def test_published_model_of_2021(with_names, tmp_path):
    """As published, and without its .info, by the running numbers and the data flow: the recorded outputs."""
    folder = tmp_path / "model"
    shutil.copytree(OLDER, folder)
    if not with_names:
        (folder / "model.pdiparams.info").unlink()
    network = create_model("picodet_s_192_pedestrian", weights=folder)
    recorded = np.load(OLDER / "io.npz")
    with torch.inference_mode():
        levels = network(torch.from_numpy(recorded["x"]))
    for index, level in enumerate(levels):
        scores = torch.sigmoid(level.cls_logit).flatten(2).transpose(1, 2).numpy()
        boxes = level.box_logit.flatten(2).transpose(1, 2).numpy()
        assert np.abs(scores - recorded[f"o{index}"]).max() < 1e-5
        assert np.abs(boxes - recorded[f"o{index + 4}"]).max() < 1e-4


def fold(program, params):
    """What PaddleDetection's fuse_conv_bn leaves of an export: no batch norms, biases as create_parameter_N.b_0."""
    program = json.loads(program)
    operations = program["program"]["regions"][0]["blocks"][0]["ops"]
    arrays = read_deployed(json.dumps(program).encode(), params).tensors
    number = {op["O"]["%"]: op["A"][3] for op in operations if op["#"] == "p"}
    filters = {op["O"][0]["%"]: op["I"][1]["%"] for op in operations if op["#"].endswith("conv2d")}
    folded, tensors, next_value = [], {}, 1_000_000
    for op in operations:
        if op["#"] == "p" and "batch_norm" in op["A"][3]:
            continue
        if op["#"] == "1.batch_norm_":
            x, mean, variance, scale, bias = (value["%"] for value in op["I"])
            weight = number[filters[x]]
            gain = arrays[number[scale]] / np.sqrt(arrays[number[variance]] + 1e-5)
            tensors[weight] = (arrays[weight] * gain[:, None, None, None]).astype(np.float32)
            name = f"create_parameter_{len(tensors)}.b_0"
            tensors[name] = (arrays[number[bias]] - arrays[number[mean]] * gain).astype(np.float32)
            parameter, reshaped = next_value, next_value + 1
            next_value += 2
            shape = {"#": "0.t_dtensor", "D": [{"#": "0.t_f32"}, [len(gain)], "NCHW", [], 0]}
            folded.insert(0, {"#": "p", "A": [0, 1, 1, name], "O": {"%": parameter, "TT": shape}})
            folded.append({"#": "1.reshape", "I": [{"%": parameter}, {"%": 0}], "O": [{"%": reshaped}]})
            folded.append({"#": "1.add", "I": [{"%": x}, {"%": reshaped}], "O": op["O"][:1]})
            continue
        folded.append(op)
    program["program"]["regions"][0]["blocks"][0]["ops"] = folded
    kept = {op["A"][3] for op in folded if op["#"] == "p"}
    tensors = {name: tensors.get(name, arrays.get(name)) for name in sorted(kept)}
    return json.dumps(program).encode(), b"".join(tensor_record(array) for array in tensors.values())


@needs_reference
def test_folded_batch_norm(genuine, tmp_path):
    program, params = fold((NEWER / "model.json").read_bytes(), (NEWER / "model.pdiparams").read_bytes())
    (tmp_path / "model.json").write_bytes(program)
    (tmp_path / "model.pdiparams").write_bytes(params)
    with pytest.warns(UserWarning, match="folded into 268 convolutions"):
        network = create_model("tinypose_128x96", weights=tmp_path)
    x = torch.randn(1, 3, 128, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(network(x), genuine(x), atol=1e-5)


@needs_reference
def test_convolutions_are_linked_by_data_flow():
    program = read_deployed((NEWER / "model.json").read_bytes(), (NEWER / "model.pdiparams").read_bytes()).program
    convolutions = link_convolutions(program)
    assert len(convolutions) == 269
    assert sum(bool(c.norm) for c in convolutions) == 268
    assert convolutions[-1].bias.startswith("conv2d_268.b_0")


@needs_reference
def test_another_network_is_told(tmp_path):
    with pytest.raises(CheckpointError, match="has 269 convolutions, the network 98: another network"):
        load_weights(create_model("picodet_s_192_lcnet_pedestrian"), NEWER)
    with pytest.raises(CheckpointError, match="does not fit the network"):
        load_weights(create_model("tinypose_128x96"), OLDER)


@needs_reference
@pytest.mark.parametrize("file", ["model.json", "model.pdiparams"])
@pytest.mark.parametrize("keep", [0.3, 0.9, 0.9999])
def test_cut_short(file, keep, tmp_path):
    for name in ("model.json", "model.pdiparams"):
        data = (NEWER / name).read_bytes()
        (tmp_path / name).write_bytes(data[: int(len(data) * keep)] if name == file else data)
    with pytest.raises(CheckpointError, match="damaged|truncated|tensors"):
        create_model("tinypose_128x96", weights=tmp_path)


@needs_reference
def test_older_program_cut_short(tmp_path):
    shutil.copytree(OLDER, tmp_path / "m")
    program = (OLDER / "model.pdmodel").read_bytes()
    for size in range(0, len(program), 24_001):
        (tmp_path / "m/model.pdmodel").write_bytes(program[:size])
        with pytest.raises(CheckpointError):
            create_model("picodet_s_192_pedestrian", weights=tmp_path / "m")


def test_half_of_a_deployed_model(tmp_path):
    (tmp_path / "model.pdiparams").write_bytes(b"")
    with pytest.raises(CheckpointError, match="needs its program"):
        create_model("tinypose_128x96", weights=tmp_path)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(CheckpointError, match="needs its tensors, other.pdiparams"):
        create_model("tinypose_128x96", weights=tmp_path / "other.json")
    (tmp_path / "second.pdiparams").write_bytes(b"")
    with pytest.raises(CheckpointError, match="2 .pdiparams files"):
        create_model("tinypose_128x96", weights=tmp_path)


def test_tensor_stream():
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array([7], np.int64)]
    read = read_tensor_stream(b"".join(map(tensor_record, arrays)))
    assert all(np.array_equal(a, b) for a, b in zip(read, arrays, strict=True))


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (struct.pack("<IQ", 0, 1 << 40), "bad tensor header"),
        (struct.pack("<IQQ", 0, 1, 1 << 62), "declares 4611686018427387904 bytes"),
        (struct.pack("<IQIi", 0, 0, 0, 1 << 30), "bad tensor header"),
        (struct.pack("<IQIi", 0, 0, 0, -5), "bad tensor header"),
        (struct.pack("<IQIi", 0, 0, 0, 8) + b"\x08\x05\x10" + varint(1 << 28), "declares"),
        (struct.pack("<IQIi", 0, 0, 0, 13) + b"\x08\x05\x10" + varint((1 << 64) - 1), "shape"),
        (struct.pack("<IQIi", 0, 0, 0, 4) + b"\x08\x63\x10\x01", "unknown data type"),
        (b"\x01" * 40, "not a .pdiparams file"),
        (b"\0" * 11, "truncated"),
        (struct.pack("<IQIi", 0, 0, 0, 1) + b"\x08", "truncated protobuf"),
    ],
)
def test_hostile_tensor_streams(stream, message):
    with pytest.raises(CheckpointError, match=message):
        read_tensor_stream(stream)


@needs_reference
@pytest.mark.parametrize(
    ("folder", "model", "file", "count"),
    [
        (NEWER, "tinypose_128x96", "model.json", 25),
        (NEWER, "tinypose_128x96", "model.pdiparams", 25),
        (OLDER, "picodet_s_192_pedestrian", "model.pdmodel", 40),
        (OLDER, "picodet_s_192_pedestrian", "model.pdiparams.info", 40),
    ],
)
def test_altered_bytes_never_escape(folder, model, file, count, tmp_path):
    """A flipped byte gives other numbers or a CheckpointError, never another exception."""
    shutil.copytree(folder, tmp_path / "m")
    if file == "model.pdmodel":
        (tmp_path / "m/model.pdiparams.info").unlink()
    whole = (folder / file).read_bytes()
    generator = np.random.default_rng(0)
    network = create_model(model)
    refused = 0
    for _ in range(count):
        data = bytearray(whole)
        for position in generator.integers(0, min(len(data), 60_000), 4):
            data[position] = generator.integers(0, 256)
        (tmp_path / "m" / file).write_bytes(data)
        try:
            load_weights(network, tmp_path / "m")
        except CheckpointError:
            refused += 1
    assert refused > 0


@pytest.mark.parametrize(
    "operations",
    [
        [{"#": 3}],
        [{"#": "p", "A": [0, 0, 0, 7], "O": {"%": 1, "TT": {"D": [0, [1]]}}}],
        [{"#": "p", "A": [0, 0, 0, "\ud800"], "O": {"%": 1, "TT": {"D": [0, [1]]}}}],
        [{"#": "1.conv2d", "I": [{"%": 1}], "O": [{"%": 2}]}],
        [{"#": "1.conv2d", "I": 5, "O": [{"%": 2}]}],
    ],
)
def test_programs_that_make_no_sense(operations):
    program = json.dumps({"program": {"regions": [{"blocks": [{"ops": operations}]}]}}).encode()
    with pytest.raises(CheckpointError):
        read_deployed(program, b"")


def test_convolutions_that_lack_something():
    shapes = {"conv2d_0.w_0": (1, 1, 1, 1)}
    for inputs in ({"x": "a"}, {"x": "a", "filter": "b"}, {"x": "a", "filter": "conv_x"}):
        with pytest.raises(CheckpointError):
            link_convolutions(paddle_program.Program(shapes, [paddle_program.Operation("conv2d", inputs, "out", 0)]))
    norm = paddle_program.Operation("batch_norm", {"x": "out"}, "out2", 1)
    good = paddle_program.Operation("conv2d", {"x": "a", "filter": "conv2d_0.w_0"}, "out", 0)
    with pytest.raises(CheckpointError, match="an operation lacks 'weight'"):
        link_convolutions(paddle_program.Program(shapes, [good, norm]))


def test_absurdly_large_program(monkeypatch):
    monkeypatch.setattr(paddle_program, "MAX_PROGRAM_BYTES", 1000)
    with pytest.raises(CheckpointError, match="program of 1001 bytes; at most 1000"):
        read_deployed(b"{" * 1001, b"")


@pytest.mark.parametrize(
    "program", [b"", b"{}", b"{", b'{"program": 3}', b"[" * 100_000, b"\xff" * 100, b"\x0a\x05\x1a\x03\x0a\x01\x61"]
)
def test_hostile_programs(program):
    with pytest.raises(CheckpointError):
        read_deployed(program, b"")
