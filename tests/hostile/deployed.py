"""Attacks on deployed Paddle models: the program in both formats, the tensors, and the table of names."""

import json
import struct

import numpy as np

from . import jsons, pickle_parts, pickles, protobufs, tiny
from .attack import HARMLESS, READABLE, Attack, changed, flipped, part
from .values import impossible_values
from .weights import dumped

PROGRAM, JSON, PARAMS = "model.pdmodel", "model.json", "model.pdiparams"
INFO, CONFIG = f"{PARAMS}.info", "infer_cfg.yml"
_EXPORTED = {
    "backbone.stem.conv1.conv.weight": "conv2d_0.w_0",
    "backbone.stem.conv1.norm.weight": "batch_norm_0.w_0",
    "backbone.stem.conv1.norm.bias": "batch_norm_0.b_0",
    "backbone.stem.conv1.norm._mean": "batch_norm_0.w_1",
    "backbone.stem.conv1.norm._variance": "batch_norm_0.w_2",
    "final_conv.weight": "conv2d_1.w_0",
    "final_conv.bias": "conv2d_1.b_0",
}
CODES = {"float32": 5, "float64": 6, "float16": 4, "int64": 3, "int32": 2, "int8": 21, "uint8": 20, "bool": 0}


def tensors() -> dict[str, np.ndarray]:
    """Arrays under the names that the exporter gives them."""
    return {_EXPORTED[name]: array for name, array in tiny.paddle_state().items()}


# --- the files ------------------------------------------------------------------------------------------------------


def legacy_program() -> protobufs.Message:
    variables = []
    for name, array in tensors().items():
        description = [(1, CODES["float32"]), *((2, size) for size in array.shape)]
        variables.append((3, [(1, name), (2, [(1, 7), (3, [(1, description)])]), (3, 1)]))

    def operation(kind, inputs, output):
        slots = [(1, [(1, role), (2, argument)]) for role, argument in inputs.items()]
        return (4, [*slots, (2, [(1, output[0]), (2, output[1])]), (3, kind)])

    norm = {"Scale": "w_0", "Bias": "b_0", "Mean": "w_1", "Variance": "w_2"}
    norm = {role: f"batch_norm_0.{name}" for role, name in norm.items()}
    operations = [
        operation("conv2d", {"Input": "x", "Filter": "conv2d_0.w_0"}, ("Output", "a")),
        operation("batch_norm", {"X": "a", **norm}, ("Y", "b")),
        operation("conv2d", {"Input": "b", "Filter": "conv2d_1.w_0"}, ("Output", "c")),
        operation("elementwise_add", {"X": "c", "Y": "conv2d_1.b_0"}, ("Out", "d")),
    ]
    return [(1, [(1, 0), *variables, *operations])]


def json_program() -> dict:
    number = {name: index for index, name in enumerate(tensors(), 1)}
    rows = [
        {"#": "p", "A": [0, 0, 0, name], "O": {"%": number[name], "TT": {"D": [0, list(array.shape)]}}}
        for name, array in tensors().items()
    ]

    def operation(kind, inputs, output):
        values = [{"%": number.get(value, value)} for value in inputs]
        rows.append({"#": f"1.{kind}", "I": values, "O": [{"%": output}]})

    norm = [f"batch_norm_0.{name}" for name in ("w_1", "w_2", "w_0", "b_0")]
    operation("conv2d", [100, "conv2d_0.w_0"], 101)
    operation("batch_norm_", [101, *norm], 102)
    operation("conv2d", [102, "conv2d_1.w_0"], 103)
    operation("add", [103, "conv2d_1.b_0"], 104)
    return {"program": {"regions": [{"blocks": [{"ops": rows}]}]}}


def record(array: np.ndarray) -> bytes:
    """A tensor as ``.pdiparams`` holds it."""
    description = protobufs.encoded([(1, CODES[str(array.dtype)]), *((2, size) for size in array.shape)])
    return struct.pack("<IQIi", 0, 0, 0, len(description)) + description + array.tobytes()


def params(arrays: dict[str, np.ndarray] | None = None) -> bytes:
    arrays = arrays or tensors()
    return b"".join(record(np.asarray(arrays[name], order="C")) for name in sorted(arrays))


def info() -> bytes:
    rows = {exported: {"structured_name": name, "stop_gradient": False} for name, exported in _EXPORTED.items()}
    return dumped({**rows, "x": {"stop_gradient": True}})


def config() -> bytes:
    return b"mode: paddle\narch: HRNet\nPreprocess:\n- trainsize: [32, 32]\n  type: TopDownEvalAffine\nlabel_list: [person]\n"


def legacy() -> dict[str, bytes]:
    """A model of the older program format, with its table of names."""
    return {PROGRAM: protobufs.encoded(legacy_program()), PARAMS: params(), INFO: info()}


def newer() -> dict[str, bytes]:
    """A model of the newer format, whose tensors are found by following the program."""
    return {JSON: json.dumps(json_program()).encode(), PARAMS: params()}


# --- attacks --------------------------------------------------------------------------------------------------------


def legacy_attacks():
    """Attacks on the older format, with and without the table of names."""
    for number, (intent, content, *outcome) in enumerate(protobufs.attacks(legacy_program())):
        files = {PROGRAM: content, INFO: None} if number % 2 else {PROGRAM: content}
        yield Attack(f"program {intent}", files, *outcome)
    for intent, content, *outcome in pickles.attacks(info(), "ignored", calls=20):
        # an empty table is none
        yield Attack(f"table of names: {intent}", {INFO: content}, *([HARMLESS] if "empty dict" in intent else outcome))
    for intent, content in pickles.with_text_keys(info(), lambda _: pickle_parts.value({"structured_name": "x"})):
        yield Attack(f"table of names: {intent}", {INFO: content}, HARMLESS)
    for intent, content in _tables():
        yield Attack(f"table of names: {intent}", {INFO: dumped(content)}, READABLE)
    for intent, content, *outcome in params_attacks():
        yield Attack(intent, {PARAMS: content}, *outcome)
    for left_out in ((PROGRAM,), (PARAMS,), (PROGRAM, PARAMS)):
        yield Attack(f"without {' and '.join(left_out)}", dict.fromkeys(left_out))
    yield Attack("the tensors as the program", {PROGRAM: params()})
    yield Attack("the program as the tensors", {PARAMS: legacy()[PROGRAM]})


def newer_attacks():
    """Attacks on the newer format."""
    for intent, text, *outcome in jsons.attacks(json_program(), long=False, first_of_lists=14):
        yield Attack(f"program: {intent}", {JSON: text.encode("utf-8", "surrogatepass")}, *outcome)
    for position, altered in flipped(newer()[JSON], 400):
        yield Attack(f"a flipped bit of the program at {position}", {JSON: altered}, READABLE)


@part
def _tables():
    rows = {exported: {"structured_name": name} for name, exported in _EXPORTED.items()}
    first = next(iter(rows))
    for other in (None, 1, 1.5, b"x", [], {}, ("x",), True, "", "x", "final_conv.weight", "\x1b[2J", "x" * 100_000):
        yield f"{first} called {other!r:.30}", {**rows, first: {"structured_name": other}}
        yield f"the row of {first} is {other!r:.30}", {**rows, first: other}
    yield "a row less", {name: row for name, row in rows.items() if name != first}
    yield "no row", {"x": 1}


@part
def params_attacks():
    """Attacks on ``.pdiparams``."""
    arrays, data = tensors(), params()
    names = sorted(arrays)
    sizes = [len(record(arrays[name])) for name in names]
    for name, start in ((name, sum(sizes[:index])) for index, name in enumerate(names)):
        for field, offset, layout in (
            ("version", 0, "<I"),
            ("levels", 4, "<Q"),
            ("second version", 12, "<I"),
            ("description", 16, "<i"),
        ):
            for value in (1, 2, 0x7F, 0xFF, 0xFFFF, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 63, (1 << 64) - 1):
                raw = (value % (1 << 8 * struct.calcsize(layout))).to_bytes(struct.calcsize(layout), "little")
                yield f"{value} as the {field} of {name}", changed(data, start + offset, raw), HARMLESS
        for code in [*range(0, 40), 255, 1 << 31, 1 << 63]:
            if code != CODES["float32"]:
                other = protobufs.encoded([(1, code), *((2, size) for size in arrays[name].shape)])
                yield f"{name} of data type {code}", _with_description(arrays, name, other), HARMLESS
        for shape in (
            [],
            [0],
            [-1],
            [1 << 40],
            [1 << 62] * 2,
            [1 << 63],
            [1] * 9,
            [2, -2],
            [arrays[name].size + 1],
            [1] * 100_000,
        ):
            other = protobufs.encoded([(1, 5), *((2, size) for size in shape)])
            yield f"{name} of shape {shape[:4]}", _with_description(arrays, name, other), HARMLESS
        yield f"{name} without a data type", _with_description(arrays, name, protobufs.encoded([(2, 1)]))
        yield f"{name} of two data types", _with_description(arrays, name, protobufs.encoded([(1, 5), (1, 5), (2, 1)]))
        packed = protobufs.encoded([(1, 5), (2, b"".join(map(protobufs.varint, arrays[name].shape)))])
        yield f"{name} with packed sizes", _with_description(arrays, name, packed), HARMLESS
        yield f"without {name}", params({key: array for key, array in arrays.items() if key != name})
        yield f"{name} twice", params({**arrays, f"{name}x": arrays[name]})
    for end in range(0, len(data), len(data) // 60):
        yield f"cut after {end} bytes", data[:end]
    yield "a byte behind", data + b"x"
    yield "another file behind", data + data
    yield "11,000 tensors", data + record(np.ones(1, np.float32)) * 11_000
    for intent, state in impossible_values(arrays):
        if "bool" not in intent:
            yield intent, params(state)


def _with_description(arrays, name, description: bytes) -> bytes:
    """The tensors, one of which has another description."""
    out = b""
    for key in sorted(arrays):
        own = record(arrays[key])
        raw = arrays[key].tobytes()
        out += own[:16] + struct.pack("<i", len(description)) + description + raw if key == name else own
    return out
