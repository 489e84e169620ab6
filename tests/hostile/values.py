"""Weights that cannot be: not finite in float32, negative variances, numbers of another kind."""

import numpy as np

from .attack import part


@part
def impossible_values(state):
    """A state dict with one impossible tensor each: intent, and the whole state dict."""
    for name, array in state.items():
        for intent, value in {
            "not a number": np.nan,
            "infinite": np.inf,
            "minus infinite": -np.inf,
            "infinite as float32": 1e300,
            "minus infinite as float32": -1e39,
        }.items():
            yield f"{name}: a value that is {intent}", {**state, name: _with_last(array.astype(np.float64), value)}
        for kind in (np.int8, np.uint8, np.int32, np.int64, np.bool_):
            yield f"{name}: values of {kind.__name__}", {**state, name: np.ones(array.shape, kind)}
        yield f"{name}: infinite in float16", {**state, name: _with_last(array.astype(np.float16), np.inf)}
        if name.endswith(("_variance", "running_var")):
            for variance in (-1e-30, -1.0, -3e38):
                yield f"a variance of {variance}", {**state, name: _with_last(array.astype(np.float32), variance)}


def _with_last(array, value):
    altered = array.copy()
    altered.flat[-1] = value
    return altered
