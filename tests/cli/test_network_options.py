"""Options that several commands have are the same in all of them."""

import argparse

import pytest

from tinypose_torch.cli import build_parser

NETWORKS = ("detector", "pose", "detector_weights", "pose_weights")
BOXES = ("detection_threshold", "person_class", "crop")
SHARED = {"batch": (*NETWORKS, *BOXES, "device"), "prelabel": (*NETWORKS, "device"), "evaluate": ("device",)}


def options_of(command):
    (commands,) = (action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    actions = commands.choices[command]._actions
    return {action.dest: (action.option_strings, action.default, action.type, action.help) for action in actions}


@pytest.mark.parametrize("command", SHARED)
def test_same_as_in_predict(command):
    own, expected = options_of(command), options_of("predict")
    assert {name: own[name] for name in SHARED[command]} == {name: expected[name] for name in SHARED[command]}


def test_default_backends_differ():
    """`evaluate` takes what the file was made for; `predict` also reads TINYPOSE_BACKEND."""
    parse = build_parser().parse_args
    assert parse(["predict", "a.jpg"]).backend is None
    assert parse(["evaluate", "--annotations", "a.json"]).backend == "auto"
