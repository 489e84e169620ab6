"""The most that a file can ask for within the limits: time and memory stay within their bounds."""

import json
import pickle
import struct
import sys

import numpy as np
import pytest

if sys.platform != "linux":
    pytest.skip("memory and time are bounded with Linux's means", allow_module_level=True)

from fuzz.corpus import linked, message, variable
from fuzz.mutations import feed_once
from tinypose_torch.checkpoints.paddle_params import read_paddle_params
from tinypose_torch.checkpoints.renaming import rename_state

PARAMETER = (3, variable("w", (1,)))


def operations(count):
    convolution = message((3, "conv2d"), (1, message((1, "X"), (2, "y"))))
    return message((1, message(PARAMETER, *[(4, convolution)] * count)))


def colliding_values(count):
    """Parameters whose value numbers fall into one slot of a dict after the other."""
    rows = [
        {"#": "p", "A": [0, 0, 0, f"n{i}"], "O": {"%": i << 17 & 0x7FFFFFFF, "TT": {"D": [0, [1]]}}}
        for i in range(count)
    ]
    return json.dumps({"program": {"regions": [{"blocks": [{"ops": rows}]}]}}).encode()


def many_consumers(count):
    """Convolutions and batch norms that all share one value, which a search for each pair would take hours for."""
    rows = [{"#": "p", "A": [0, 0, 0, f"conv2d_{i}.w_0"], "O": {"%": i, "TT": {"D": [0, [1]]}}} for i in range(count)]
    rows += [{"#": "1.conv2d", "I": [{"%": -1}, {"%": i}], "O": [{"%": -2}]} for i in range(count)]
    rows += [{"#": "1.add", "I": [{"%": -2}, {"%": -2}], "O": [{"%": -3}]} for _ in range(count)]
    return json.dumps({"program": {"regions": [{"blocks": [{"ops": rows}]}]}}).encode()


def memo_indices(count):
    writes = b"".join(b"r" + struct.pack("<I", (i << 13) % 250_000) for i in range(count))
    return b"\x80\x02N" + writes + b"."


def nested_tables(count):
    return pickle.dumps({str(i): {str(j): None for j in range(30)} for i in range(count)}, 4)


def long_names(count):
    def read(_):
        names = [f"{'backbone.fuse_layers.1.2.neck.aaaa.1.conv2.' * 4}{i}" for i in range(count)]
        rename_state("PPYOLOv2", dict.fromkeys(names, np.zeros(1)))

    return read


CASES = {
    "protobuf fields": (linked, lambda: message((1, message(*[(9, 0)] * 190_000))) * 20),
    "protobuf operations": (linked, lambda: operations(190_000)),
    "JSON lists": (linked, lambda: b'{"program":[' + b"[]," * 2_700_000 + b"[]]}"),
    "JSON values that collide": (linked, lambda: colliding_values(80_000)),
    "consumers of one value": (linked, lambda: many_consumers(20_000)),
    "memo indices": (read_paddle_params, lambda: memo_indices(200_000)),
    "nested tables": (read_paddle_params, lambda: nested_tables(3000)),
    "long names": (long_names(9_900), lambda: b""),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_large_files(case):
    read, make = CASES[case]
    feed_once(case, read, make())
