"""What exports of networks and of apps share on the command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from tinypose_torch.checkpoints.identity import ModelSource, resolve_model
from tinypose_torch.cli.photos import photos_for_network
from tinypose_torch.estimators.detection import PersonDetector
from tinypose_torch.estimators.top_down import people_for_network
from tinypose_torch.export.receipt import receipt_path
from tinypose_torch.models.base import Network
from tinypose_torch.models.config import TopDownConfig, config_of, of_task
from tinypose_torch.runtime import load_runner
from tinypose_torch.utils.defaults import AUTO
from tinypose_torch.utils.outputs import check_outputs

Model = tuple[Network, str | None]  # and its weight file


def check_output(output: str | Path, options: argparse.Namespace) -> None:
    """Refuse an output that would replace an input, or a file of another program."""
    inputs = (options.weights, options.with_weights, options.detector_weights)
    outputs = {"--output": output, "the receipt": receipt_path(Path(output))}
    check_outputs(outputs, inputs, options.images, options.overwrite)


def check_int8(options: argparse.Namespace) -> None:
    """Refuse int8 without photos, and a budget for its errors without int8."""
    if options.precision == "int8" and not options.images:
        raise ValueError("--precision int8 needs --images DIR: photos like those that the network will see")
    if options.error_budget is not None and options.precision != "int8":
        raise ValueError("--error-budget needs --precision int8")


def resolve_models(options: argparse.Namespace) -> list[ModelSource]:
    """The model, and the second one where there is one, with their weights."""
    sources = [resolve_model(options.model, options.weights, usage="NAME")]
    if options.with_model or options.with_weights:
        sources.append(resolve_model(options.with_model, options.with_weights, usage="--with NAME"))
    return sources


def print_comparison(facts: dict[str, Any]) -> None:
    """Print what the receipt says of a network."""
    print(f"{facts['model']} beside the eager network, on {facts['images']}:")
    for name, value in facts["differences"].items():
        print(f"  {name}: {value:.3g}")
    print(f"  time: {facts['latency_ratio_to_eager']:.2f} of eager")
    for part, ratio in facts.get("latency_ratios_of_parts", {}).items():
        print(f"  time of {part}: {ratio:.2f} of the eager network alone")
    for name, value in facts["made"].items():
        if not isinstance(value, dict):
            print(f"  {name}: {value}")
        elif value:
            print(f"  {name}:")
            for item, detail in value.items():
                shown = ", ".join(f"{k} {v}" for k, v in detail.items()) if isinstance(detail, dict) else detail
                print(f"    {item}: {shown}")


def images_for(network: Network, file: str | None, options: argparse.Namespace, models: list[Model]) -> np.ndarray:
    """Photos, or the people in them, cut to the network's input; seeded noise without photos."""
    entry = config_of(network)
    if options.images is None:
        generator = np.random.default_rng(0)
        return generator.integers(0, 256, (2, *entry.input_size, 3), dtype=np.uint8)
    detector, weights = options.detector or (AUTO if options.detector_weights else None), options.detector_weights
    for other, other_file in models:
        if config_of(other).gives_boxes and detector is None:
            detector, weights = config_of(other).name, other_file
    if entry.takes_boxes and detector is not None:
        runner = load_runner(detector, weights, task="detection", usage="--detector NAME")
        people = PersonDetector(runner, person_class=options.person_class)
        return people_for_network(options.images, people, of_task(entry, TopDownConfig))
    return photos_for_network(options.images, entry)
