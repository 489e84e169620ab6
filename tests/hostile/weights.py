"""Attacks on state dicts in pickles: ``.pdparams``."""

import pickle
import pickletools

import numpy as np

from tinypose_torch.checkpoints.paddle_params import CHUNK_TABLE, NAME_TABLE

from . import pickle_parts, pickles, tiny
from .attack import HARMLESS, flipped, part
from .values import impossible_values


def genuine() -> bytes:
    return dumped(tiny.paddle_state())


def dumped(state) -> bytes:
    return pickletools.optimize(pickle.dumps(state, 3))


def paddle_params():
    """Attacks on ``.pdparams``."""
    data = genuine()
    yield from pickles.attacks(data, NAME_TABLE)
    yield from pickles.with_text_keys(data, lambda _: pickle_parts.value(3))
    yield from pickles.with_text_keys(data, lambda _: pickle_parts.array((4,)))
    for intent, state in impossible_values(tiny.paddle_state()):
        yield intent, dumped(state)
    yield from _chunks()
    yield from _shapes_of_dicts()
    for position, altered in flipped(data, 100):
        yield f"the protocol's byte lost, and a bit at {position}", b"\0" + altered[1:]


@part
def _chunks():
    """Tables of tensors that were cut into pieces."""
    state = tiny.paddle_state()
    first, second = list(state)[:2]
    whole = {"OriginShape": state[first].shape, "slices": [first]}
    tables = {
        "that is a list": [],
        "that is a number": 3,
        "of numbers": {first: 3},
        "without pieces": {first: {**whole, "slices": []}},
        "without a shape": {first: {"slices": [first]}},
        "without a list": {first: {"OriginShape": (1,)}},
        "of a piece twice": {first: {**whole, "slices": [first, first]}},
        "of a piece that is none": {first: {**whole, "slices": ["x"]}},
        "of a piece for two tensors": {first: whole, second: whole},
        "of pieces whose names are numbers": {first: {**whole, "slices": [1]}},
        "of pieces whose names are lists": {first: {**whole, "slices": [[]]}},
        "of pieces that are text": {first: {**whole, "slices": first}},
        "whose name is a number": {1: whole},
        "of 100,000 pieces": {first: {**whole, "slices": [first] * 100_000}},
        "of scalars": {first: {"OriginShape": (), "slices": [first]}},
    }
    for shape in [(-1,), (-1, -1), (1 << 40,), (1 << 62, 1 << 62), (0,), "x", None, 3, [3.5], {}, (None,), (True,)]:
        tables[f"of shape {shape}"] = {first: {"OriginShape": shape, "slices": [first]}}
    for intent, table in tables.items():
        yield f"a table of pieces {intent}", dumped({**state, CHUNK_TABLE: table})


@part
def _shapes_of_dicts():
    state = tiny.paddle_state()
    shared = dict.fromkeys(map(str, range(20_000)))
    nested = {
        "in two dicts": {"a": state, "b": {**state}},
        "in an optimizer's state": {**state, "LR_Scheduler": {}},
        "in a list": [state],
        "in a tuple": (state, 1),
        "two dicts deep": {"a": {"b": state}},
        "beside a number": {**state, "x": 3},
        "beside a list of arrays": {**state, "x": [np.zeros(3)]},
        "beside a dict": {**state, "x": {"y": np.zeros(3)}},
        "beside a large table, 20,000 times": {**state, "x": {str(number): shared for number in range(20_000)}},
        "beside 11,000 arrays": {**state, **{f"n{number}": np.zeros(1) for number in range(11_000)}},
        "without the head": {name: array for name, array in state.items() if "final" not in name},
        "with numbers as names": dict(enumerate(state.values())),
        "as pairs with another second part": {name: (name, 3) for name in state},
        "as triples": {name: (name, array, 1) for name, array in state.items()},
    }
    for intent, value in nested.items():
        yield f"a state dict {intent}", dumped(value)
    yield "a state dict as pairs", dumped({name: (name, array) for name, array in state.items()}), HARMLESS
    yield "a state dict in a dict", dumped({"model": state, "epoch": 3}), HARMLESS
    yield (
        "six tensors with names of 190 characters",
        dumped({**state, **{"x" * 189 + str(n): np.ones(1) for n in range(6)}}),
    )
    yield (
        "tensors with long shapes",
        dumped({name: array.reshape(*array.shape, *[1] * 20) for name, array in state.items()}),
    )
    for name, array in state.items():
        for intent, shape in {
            "one more": (array.shape[0] + 1, *array.shape[1:]),
            "flat": (-1, 1),
            "none": (0,),
        }.items():
            other = array.reshape(shape) if intent == "flat" else np.ones(shape, np.float32)
            yield f"{name} of another shape: {intent}", dumped({**state, name: other})
        yield f"{name} under another name", dumped({{name: f"{name}x"}.get(key, key): state[key] for key in state})
        yield (
            f"{name} without a dot",
            dumped({{name: name.replace(".", "")}.get(key, key): state[key] for key in state}),
        )
