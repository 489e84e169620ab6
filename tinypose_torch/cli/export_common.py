"""What exports of networks and of apps share on the command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tinypose_torch.checkpoints.identity import ModelSource, resolve_model
from tinypose_torch.export.receipt import receipt_path
from tinypose_torch.utils.outputs import check_outputs


def check_output(output: str | Path, options: argparse.Namespace) -> None:
    """Refuse an output that would replace an input, or a file of another program."""
    inputs = (options.weights, options.with_weights, options.detector_weights)
    outputs = {"--output": output, "the receipt": receipt_path(Path(output))}
    check_outputs(outputs, inputs, options.images, options.overwrite)


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
