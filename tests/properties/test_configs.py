"""Configurations of training: any override gives a configuration or one line."""

import dataclasses
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import strategies as st

pytest.importorskip("pydantic")

from properties.checks import check_refusal, holds, odd_values, texts
from train.config import Config, ConfigError, Section, flat_items, load_config, recipe_names

KEYS = [key for key, _ in flat_items(Config(model="tinypose_128x96"))]
keys = st.sampled_from(
    [*KEYS, "data", "optimisation", "nothing", "data.nothing", "epochs.x", "a.b.c", "", ".", "model."]
)
keys = keys | texts
texts_of_values = st.one_of(
    odd_values.map(repr),
    texts,
    st.integers(-5, 700).map(str),
    st.floats(-2, 1000).map(str),
    st.sampled_from(
        [
            "1e3",
            "1e-3",
            "[1, 2]",
            "[[0, nose]]",
            "{name: x}",
            "null",
            "~",
            "yes",
            "2021",
            "2026-11-26",
            "12:30",
            "0x1f",
            "&a [*a]",
            "*a",
            "!!python/object:os.system x",
            "!!binary x",
            "!!timestamp 1",
            "? x",
            "- x",
            "|",
            ">",
            "@",
            "%",
            "[" * 3000,
            "{" * 500,
            "1_000",
            ".nan",
            "-.inf",
            "1e999",
            "9" * 5000,
            "0o17",
            "\x85",
            "{[]: 1}",
            "{{}: 1}",
            "2026-99-99",
            "2026-01-01T99:99:99Z",
            "!!int x",
            "!!float x",
            "<<: 1",
            "{<<: 1}",
            "!!set {a, a}",
            "!!omap 1",
        ]
    ),
)


@holds(many=200, overrides=st.lists(st.tuples(keys, texts_of_values), min_size=1, max_size=3))
def test_overrides(overrides):
    given = [f"{key}={value}" for key, value in overrides]
    try:
        config = load_config("tinypose_128x96", given)
    except ConfigError as error:
        check_refusal(error)
        return
    for key, value in flat_items(config):
        assert not (isinstance(value, float) and not math.isfinite(value)), key
    assert Config.model_validate(config.model_dump()) == config, "the copy that a run keeps gives the same run"


@holds(override=texts)
def test_any_words(override):
    try:
        load_config("tinypose_128x96", [override])
    except ConfigError as error:
        check_refusal(error)


@holds(
    number=st.integers(1, 10**6) | st.floats(1e-6, 100), key=st.sampled_from(["epochs", "optimisation.learning_rate"])
)
def test_numbers_keep_their_values(number, key):
    try:
        config = load_config("tinypose_128x96", [f"{key}={number!r}"])
    except ConfigError:
        assert key == "epochs"
        assert number != int(number)
        return
    assert dict(flat_items(config))[key] == number


@holds(content=st.text("ab:-{}[] \n#&*!|>'\"%@,?0", max_size=60))
def test_recipes(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.yaml")
        path.write_text(content)
        try:
            load_config(str(path), [])
        except ConfigError as error:
            check_refusal(error)


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_survive_being_written(name):
    config = load_config(name, [])
    assert isinstance(config, Section)
    assert not dataclasses.is_dataclass(config)
    assert Config.model_validate_json(config.model_dump_json()) == config
