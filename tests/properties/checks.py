"""Properties as tests, and values that files of others may hold."""

import copy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

QUICK, MANY = 10, 100  # examples
_COMMON = {"derandomize": True, "deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


def holds(quick=QUICK, many=MANY, **strategies):
    """A test with few examples of the arguments, and a slow one with many."""

    def decorate(function):
        @pytest.mark.parametrize("examples", [quick, pytest.param(many, marks=pytest.mark.slow)])
        def test(examples):
            settings(max_examples=examples, **_COMMON)(given(**strategies)(function))()

        test.__name__, test.__doc__, test.__module__ = function.__name__, function.__doc__, function.__module__
        return test

    return decorate


# Hypothesis takes seconds to tabulate all of Unicode.
texts = st.text("abcLR_ .,:[]{}'\"=#-0123\n\t\0\x1b\xe9\u202e\u540d\ud800\U0001f469", max_size=8)
odd_numbers = st.sampled_from(
    [0, -1, 1, 2, 10**9, 2**31, 2**63, 10**30, 10**400, 0.5, -0.0, 1e-320, 1e39, 1e308, float("nan"), float("inf")]
)
odd_values = st.one_of(
    st.none(),
    st.booleans(),
    odd_numbers,
    st.sampled_from(["", "1", "nan", "\0", "\ud800", "person", "../x.png", "x" * 3000, "\x1b[31m", [], {}, [[]], [{}]]),
    texts,
    st.recursive(st.integers(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=2)),
)


def _places(content, place=()):
    """Paths of everything inside lists and objects."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in list(items):
        yield (*place, key)
        yield from _places(value, (*place, key))


@st.composite
def mutated(draw, base, values=odd_values, most=4):
    """JSON content with some of its values replaced, deleted, repeated, or with unknown keys."""
    content = copy.deepcopy(base)
    for _ in range(draw(st.integers(0, most))):
        places = list(_places(content))
        if not places:
            break
        *parents, key = draw(st.sampled_from(places))
        inside = content
        for parent in parents:
            inside = inside[parent]
        change = draw(st.sampled_from(["replace", "replace", "replace", "delete", "repeat"]))
        if change == "replace":
            inside[key] = draw(values)
        elif change == "delete":
            del inside[key]
        elif isinstance(inside, list):
            inside.append(copy.deepcopy(inside[key]))
        else:
            inside[draw(texts)] = copy.deepcopy(inside[key])
    return content


def check_refusal(error):
    """An error is one line that can be shown."""
    message = str(error)
    assert message
    assert "\n" not in message
    assert len(message) < 20_000
