"""The public names of the package: importable, typed, and listed."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

import tinypose_torch

TREE = ast.parse(Path(tinypose_torch.__file__).read_text())


def test_every_name_is_typed():
    """Type checkers see the imports below TYPE_CHECKING; at run time names are imported lazily."""
    (block,) = [node for node in TREE.body if isinstance(node, ast.If)]
    typed = {
        alias.name: node.module.removeprefix("tinypose_torch.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == tinypose_torch._MODULES
    assert set(tinypose_torch.__all__) == set(typed)


@pytest.mark.parametrize("name", tinypose_torch.__all__)
def test_names_are_importable(name):
    pytest.importorskip("executorch" if "xport" in name else "numpy")
    value = getattr(tinypose_torch, name)
    assert value is getattr(import_module(f"tinypose_torch.{tinypose_torch._MODULES[name]}"), name)
    assert getattr(value, "__name__", name) == name
    assert name in dir(tinypose_torch)


def test_unknown_name():
    with pytest.raises(AttributeError, match="has no attribute 'PoseEstimater'"):
        _ = tinypose_torch.PoseEstimater
