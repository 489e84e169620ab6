"""`tinypose models`: the catalogue as a table."""

from __future__ import annotations

import argparse

import torch

from tinypose_torch.models.config import DetectorConfig, ModelConfig, TopDownConfig
from tinypose_torch.models.registry import get_config, list_models
from tinypose_torch.utils.table import format_table


def run(options: argparse.Namespace) -> int:
    """Print the table."""
    names = list_models(options.pattern)
    if not names:
        raise ValueError(f"no model matches {options.pattern!r}")
    header = ("model", "task", "input", "parameters", "accuracy", "weights", "licence")
    print(format_table(header, [_row(get_config(name)) for name in names], right=(2, 3)))
    print(
        "\nAccuracy as PaddleDetection documents it, percent: AP of keypoints (pose: with ground-truth boxes) and box mAP"
        "\nof detectors on COCO val2017; PCKh@0.5 on MPII. The first figure is of the first release; in parentheses:"
        "\nother releases, DARK decoding instead of plain decoding, PCKh@0.1."
    )
    return 0


def _row(entry: ModelConfig) -> tuple[str, ...]:
    return (
        entry.name,
        entry.task,
        f"{entry.input_size[0]}x{entry.input_size[1]}",
        _parameters(entry),
        _aligned(documented_accuracy(entry)),
        ", ".join(entry.weights) or "-",
        entry.licence if entry.weights else "-",
    )


def _aligned(accuracy: str) -> str:
    """The measure as wide as the longest one, so that figures stand in one column."""
    measure, _, figures = accuracy.partition(" ")
    return f"{measure:<4} {figures}" if figures else accuracy


def _parameters(entry: ModelConfig) -> str:
    try:
        return f"{count_parameters(entry) / 1e6:.2f} M"
    except RuntimeError:  # a network from blocks of a package that is not installed
        return "-"


def documented_accuracy(entry: ModelConfig) -> str:
    """The measure and the figure of the first release; in parentheses, of other releases, decodings and thresholds."""
    if isinstance(entry, TopDownConfig) and entry.pckh is not None:
        measure, value = "PCKh", entry.pckh
    elif entry.coco_ap is not None:
        measure, value = "mAP" if isinstance(entry, DetectorConfig) else "AP", entry.coco_ap
    else:
        return "-"
    others = {tag: file.coco_ap for tag, file in entry.weights.items()}
    if isinstance(entry, TopDownConfig):
        others |= {"DARK": entry.dark_ap, "@0.1": entry.strict_pckh}
    more = ", ".join(f"{name}: {other:.1f}" for name, other in others.items() if other is not None)
    return f"{measure} {value:.1f}" + (f" ({more})" if more else "")


def count_parameters(entry: ModelConfig) -> int:
    """Trainable numbers of a model."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in entry.build().parameters())
