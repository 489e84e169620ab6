"""Values of recipes and of the command line: text that looks like a number, numbers that YAML takes for text."""

import pytest

from train.__main__ import main
from train.config import ConfigError, load_config


@pytest.mark.parametrize("given", ["2021", '"2021"', "'2021'"])
@pytest.mark.parametrize("key", ["weights", "distillation.weights", "output", "data.images"])
def test_text_that_looks_like_a_number(key, given):
    *sections, last = key.split(".")
    section = load_config("tinypose_128x96", [f"{key}={given}"])
    for name in sections:
        section = getattr(section, name)
    assert getattr(section, last) == "2021"


@pytest.mark.parametrize("folder", ["20261126_1", "007", "1e3", "2026-11-26", "1.50", "yes"])
def test_folders_keep_their_names(folder):
    assert load_config("tinypose_128x96", [f"output={folder}"]).output == folder


def test_a_release_in_a_recipe(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("model: tinypose_128x96\nweights: 2021\ndistillation:\n  weights: 2022\n")
    config = load_config(str(recipe), [])
    assert (config.weights, config.distillation.weights) == ("2021", "2022")


def test_numbers_on_the_command_line():
    overrides = ["optimisation.learning_rate=1e-3", "epochs=1_000", "weights=null", "data.flip_pairs=[[0, nose]]"]
    config = load_config("tinypose_128x96", overrides)
    assert (config.optimisation.learning_rate, config.epochs, config.weights) == (0.001, 1000, None)
    assert config.data.flip_pairs == ((0, "nose"),)
    assert load_config("tinypose_128x96", ["optimisation.clip=1E+2"]).optimisation.clip == 100
    for value in ("1e999", ".inf", "nan", "1e"):
        with pytest.raises(ConfigError, match=r"optimisation\.learning_rate: input should be"):
            load_config("tinypose_128x96", [f"optimisation.learning_rate={value}"])


def test_help_names_the_file_with_all_keys(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "all keys and their meanings: train/config.py" in capsys.readouterr().out
