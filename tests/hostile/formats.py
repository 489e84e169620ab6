"""Every kind of weight file, its genuine file, and its attacks."""

import gzip

from . import configs, deployed, exported, safetensors_files, tars, torch_files, weights, zips
from .attack import Format, of_one_file


def _single(name, genuine, attacks, needs=()):
    return Format(name, lambda: {name: genuine()}, of_one_file(name, attacks), needs)


def _zipped():
    return {f"model/{name}": content for name, content in reversed(deployed.legacy().items())}


FORMATS = {
    ".pdparams": _single("x.pdparams", weights.genuine, weights.paddle_params),
    ".pt": _single("x.pt", torch_files.genuine, torch_files.torch_files),
    ".safetensors": _single("x.safetensors", safetensors_files.genuine, safetensors_files.safetensors_files),
    ".pdmodel": Format("model.pdmodel", deployed.legacy, deployed.legacy_attacks),
    "infer_cfg.yml": Format(".", configs.genuine, configs.infer_configs),
    "receipt.json": Format(configs.WEIGHTS, configs.receipt_files, configs.receipts),
    ".tar": _single("x.tar", tars.packed, tars.tars),
    ".tar.gz": _single("x.tar.gz", lambda: gzip.compress(tars.packed(), mtime=0), tars.gzips),
    ".zip": _single("x.zip", lambda: zips.packed(_zipped()), lambda: zips.attacks(_zipped(), "model/model.pdiparams")),
    ".torchscript": _single("x.torchscript", exported.torchscript, exported.torchscripts),
    ".onnx": _single("x.onnx", exported.onnx, exported.onnxes, ("onnxruntime",)),
    ".pte": _single("x.pte", exported.executorch, exported.executorches, ("executorch",)),
    ".json": Format("model.pdiparams", deployed.newer, deployed.newer_attacks),
}
