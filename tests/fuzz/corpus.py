"""Small genuine files of every kind that is read, and what reads them."""

import hashlib
import io
import json
import pickle
import struct
import tarfile
import tempfile
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from tinypose_torch.checkpoints.archives import read_archive
from tinypose_torch.checkpoints.deployed import link_convolutions, read_deployed, read_tensor_stream
from tinypose_torch.checkpoints.errors import CheckpointError
from tinypose_torch.checkpoints.files import carried_changes, describe_changes, read_checkpoint
from tinypose_torch.checkpoints.identity import resolve_model
from tinypose_torch.checkpoints.infer_config import read_infer_config
from tinypose_torch.checkpoints.paddle_params import CHUNK_TABLE, NAME_TABLE, read_paddle_params
from tinypose_torch.checkpoints.paddle_program import read_program
from tinypose_torch.checkpoints.safetensors_files import save_with_checksum
from tinypose_torch.checkpoints.torch_files import read_torch_file
from tinypose_torch.models.registry import UnknownModelError, get_config
from tinypose_torch.runtime.checksums import SEAL, read_sealed, seal, seal_onnx, seal_torchscript
from tinypose_torch.runtime.loading import ONNX_KEY, TORCHSCRIPT_EXTRA, archived_description, onnx_description
from tinypose_torch.runtime.metadata import ExportMetadata, describe_methods, read_methods

SEPARATOR = b"\n----\n"  # between the files of a deployed model
POSE, DETECTOR = "tinypose_128x96", "picodet_s_192_lcnet_pedestrian"
FLOATS = np.arange(6, dtype=np.float32).reshape(2, 3)


# --- protobuf, written by hand --------------------------------------------------------------------------------------


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def message(*fields):
    """Fields are (number, integer), or (number, bytes or text)."""
    out = bytearray()
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            raw = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(raw)) + raw
    return bytes(out)


def variable(name, shape):
    tensor = message((1, 5), *((2, size) for size in shape))
    return message((1, name), (2, message((1, 7), (3, message((1, tensor))))), (3, 1))


def operation(kind, inputs, outputs):
    slots = [(1, message((1, role), (2, value))) for role, value in inputs.items()]
    return message(*slots, *((2, message((1, role), (2, value))) for role, value in outputs.items()), (3, kind))


NORM = {"Scale": "n.w_0", "Bias": "n.b_0", "Mean": "n.w_1", "Variance": "n.w_2"}
SHAPES = {"conv2d_0.w_0": (2, 3, 1, 1), "n.b_0": (2,), "n.w_0": (2,), "n.w_1": (2,), "n.w_2": (2,)}


def legacy_program():
    variables = [(3, variable(name, shape)) for name, shape in SHAPES.items()]
    conv = operation("conv2d", {"Input": "x", "Filter": "conv2d_0.w_0"}, {"Output": "y"})
    norm = operation("batch_norm", {"X": "y", **NORM}, {"Y": "z"})
    return message((1, message((1, 0), *variables, (4, conv), (4, norm))))


def json_program():
    operations = [
        {"#": "p", "A": [0, 0, 0, name], "O": {"%": index, "TT": {"D": [0, list(shape)]}}}
        for index, (name, shape) in enumerate(SHAPES.items(), 1)
    ]
    place = {name: {"%": index} for index, name in enumerate(SHAPES, 1)}
    norm = [{"%": 11}, *(place[name] for name in ("n.w_1", "n.w_2", "n.w_0", "n.b_0"))]
    operations.append({"#": "1.conv2d", "I": [{"%": 10}, place["conv2d_0.w_0"]], "O": [{"%": 11}]})
    operations.append({"#": "1.batch_norm_", "I": norm, "O": [{"%": 12}]})
    return json.dumps({"program": {"regions": [{"blocks": [{"ops": operations}]}]}}).encode()


def tensor_stream():
    stream = b""
    for name in sorted(SHAPES):
        description = message((1, 5), *((2, size) for size in SHAPES[name]))
        values = np.ones(SHAPES[name], np.float32).tobytes()
        stream += struct.pack("<IQIi", 0, 0, 0, len(description)) + description + values
    return stream


def info():
    return pickle.dumps({name: {"structured_name": f"layer.{name}", "stop_gradient": False} for name in SHAPES}, 2)


# --- the corpus -----------------------------------------------------------------------------------------------------


def pickles():
    plain = {"conv.weight": FLOATS, "norm._mean": FLOATS[0].astype(np.float16), "steps": np.int64(3) + np.zeros(1, int)}
    pieces = {"a": FLOATS[0], "b": FLOATS[1], CHUNK_TABLE: {"x": {"OriginShape": (2, 3), "slices": ["a", "b"]}}}
    named = OrderedDict(plain, **{NAME_TABLE: dict.fromkeys(plain, "conv2d_0.w_0")})
    nested = {
        "model": {name: ("internal", array) for name, array in plain.items()},
        "epoch": 3,
        "rate": np.float64(0.1),
    }
    return [pickle.dumps(value, protocol) for value in (plain, pieces, named, nested) for protocol in (2, 4)]


def torch_files():
    shared = torch.arange(12.0)
    state = {"a": shared[:6].view(2, 3).t(), "b": shared[3:5].bfloat16(), "c": torch.nn.Parameter(shared[:1])}
    files = []
    for value in (state, {"state_dict": state, "epoch": 1, "optimizer_states": [{"state": {0: {"step": 1}}}]}):
        buffer = io.BytesIO()
        torch.save(value, buffer)
        files.append(buffer.getvalue())
    return files


def safetensors_files():
    state = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.bfloat16), "n": torch.tensor(3)}
    described = [describe_changes(get_config(name)) for name in (POSE, DETECTOR)]
    others = [safetensors.torch.save(state, metadata) for metadata in (None, *described)]
    return [*others, *(save_with_checksum(state, metadata) for metadata in described)]


def descriptions():
    entries = [get_config(name) for name in (POSE, DETECTOR, "higherhrnet_w32_512", "ppyolov2_r50vd_dcn")]
    found = [ExportMetadata(entry, True, entry.task == "pose", 1, "fp32", {"torch": "2"}) for entry in entries]
    return [
        *(metadata.to_json().encode() for metadata in found),
        describe_methods({"detect": found[1], "pose": found[0]}).encode(),
    ]


def archives():
    torch_file = io.BytesIO()
    module = torch.jit.trace(torch.nn.ReLU(), torch.zeros(1))
    torch.jit.save(module, torch_file, _extra_files={TORCHSCRIPT_EXTRA: descriptions()[0].decode()})
    return [torch_file.getvalue()]


def infer_configs():
    return [
        b"mode: paddle\narch: HRNet\nPreprocess:\n- trainsize: [96, 128]\n  type: TopDownEvalAffine\nlabel_list: [a, b]\n",
        b"arch: GFL\nmin_subgraph_size: 3\nPreprocess:\n- {interp: 2, keep_ratio: false, target_size: [192, 192], type: Resize}\n",
    ]


def deployed_archives():
    files = {
        "m/model.pdmodel": legacy_program(),
        "m/model.pdiparams": tensor_stream(),
        "m/model.pdiparams.info": info(),
        "m/infer_cfg.yml": infer_configs()[0],
    }
    made = []
    for mode in ("w", "w:gz"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode) as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        made.append(buffer.getvalue())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return [*made, buffer.getvalue()]


def onnx_files():
    properties = [(14, message((1, key), (2, value))) for key, value in (("a", "b"), (ONNX_KEY, descriptions()[0]))]
    return [message((1, 8), (2, "pytorch"), (7, message((2, "graph"))), *properties)]


def text_of(data):
    return data.decode("utf-8", "replace")


def linked(data):
    return link_convolutions(read_program(data))


def deployed(data):
    program, params, info, *_ = [*data.split(SEPARATOR), b"", b""]
    return read_deployed(program, params, info or None).state_dict()


def from_file(read):
    """A reader of paths as one of contents."""
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / "x.safetensors"

    def of_contents(data, _kept=folder):
        path.write_bytes(data)
        return read(path)

    return of_contents


def receipts():
    digest = hashlib.sha256(b"weights").hexdigest()
    training = {"configuration": {"model": POSE}, "sha256": digest, "accuracy": {"AP": 0.5}}
    conversion = {"model": POSE, "source": {"file": "x", "sha256": digest}, "converted": {"sha256": digest}}
    return [json.dumps(facts).encode() for facts in (training, conversion)]


def sealed_files():
    """Those of the three formats, each with its checksum."""
    return [seal_torchscript(archives()[0]), seal_onnx(onnx_files()[0]), seal(bytes(range(256)) * 4)]


def resolved_with_receipt():
    """Which model a weight file with a receipt beside it is of."""
    folder = tempfile.TemporaryDirectory()
    weights, receipt = Path(folder.name) / "x.pdparams", Path(folder.name) / "receipt.json"
    weights.write_bytes(b"weights")

    def of_contents(data, _kept=folder):
        receipt.write_bytes(data)
        try:
            return resolve_model(None, weights)
        except UnknownModelError as error:
            raise CheckpointError(str(error)) from None

    return of_contents


def method_or_methods(data):
    text = text_of(data)
    return read_methods(text) if '"methods"' in text else ExportMetadata.from_json(text)


# Name: what reads the contents of a file, genuine contents, and pieces that mean something in it.
# fmt: off
PICKLE = (
    b"(", b")", b"]", b"}", b"t", b"R", b"b", b"u", b"e", b"\x85", b"\x86", b"h\x00", b"h\x01", b"q\x00", b"\x94", b"N",
)
JSON = (
    b"NaN", b"1e999", b"-1", b"[", b"]", b"{}", b"null", b'"', b"1" * 30, b'"%":', b"true", b"\\ud800", b"\\u001b", b"," * 3,
)
# fmt: on
READERS = {
    "pdparams": (read_paddle_params, pickles, PICKLE),
    "torch": (read_torch_file, torch_files, PICKLE),
    "safetensors": (from_file(read_checkpoint), safetensors_files, JSON),
    "carried description": (from_file(lambda path: carried_changes(path, POSE)), safetensors_files, JSON),
    "program": (linked, lambda: [legacy_program(), json_program()], JSON),
    "tensor stream": (read_tensor_stream, lambda: [tensor_stream()], ()),
    "deployed": (
        deployed,
        lambda: [SEPARATOR.join((program, tensor_stream(), info())) for program in (legacy_program(), json_program())],
        (*PICKLE, *JSON),
    ),
    "deployed archive": (from_file(read_archive), deployed_archives, PICKLE),
    "infer_cfg": (
        read_infer_config,
        infer_configs,
        (*JSON, b"&a", b"*a", b"<<: ", b"!!python/object:os.system ", b"- "),
    ),
    "description": (method_or_methods, descriptions, JSON),
    "TorchScript archive": (archived_description, archives, ()),
    "ONNX model": (onnx_description, onnx_files, ()),
    "sealed file": (from_file(read_sealed), sealed_files, (SEAL,)),
    "receipt": (resolved_with_receipt(), receipts, JSON),
}
