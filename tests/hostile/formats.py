"""Every kind of weight file, its genuine file, and its attacks."""

from . import safetensors_files, torch_files, weights
from .attack import Format, of_one_file


def _single(name, genuine, attacks, needs=()):
    return Format(name, lambda: {name: genuine()}, of_one_file(name, attacks), needs)


FORMATS = {
    ".pdparams": _single("x.pdparams", weights.genuine, weights.paddle_params),
    ".pt": _single("x.pt", torch_files.genuine, torch_files.torch_files),
    ".safetensors": _single("x.safetensors", safetensors_files.genuine, safetensors_files.safetensors_files),
}
