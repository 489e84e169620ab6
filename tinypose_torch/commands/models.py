"""`tinypose models`: the catalogue as a table."""

from __future__ import annotations

import argparse

import torch

from tinypose_torch.checkpoints.catalogue import get_entry, list_models
from tinypose_torch.checkpoints.entries import DetectorEntry, ModelEntry, PoseEntry
from tinypose_torch.table import format_table


def run(options: argparse.Namespace) -> int:
    """Print the table."""
    names = list_models(options.pattern)
    if not names:
        raise ValueError(f"no model matches {options.pattern!r}")
    header = ("model", "task", "input", "parameters", "accuracy", "weights", "licence")
    print(format_table(header, [_row(get_entry(name)) for name in names], right=(2, 3, 4)))
    print(
        "\nAccuracy as PaddleDetection documents it, percent: AP of keypoints (pose: with ground-truth boxes) and box mAP"
        "\nof detectors on COCO val2017; PCKh@0.5 on MPII."
    )
    return 0


def _row(entry: ModelEntry) -> tuple[str, ...]:
    return (
        entry.name,
        entry.task,
        f"{entry.input_size[0]}x{entry.input_size[1]}",
        _parameters(entry),
        documented_accuracy(entry),
        ", ".join(entry.weights) or "-",
        entry.licence if entry.weights else "-",
    )


def _parameters(entry: ModelEntry) -> str:
    try:
        return f"{count_parameters(entry) / 1e6:.2f} M"
    except RuntimeError:  # a network from blocks of a package that is not installed
        return "-"


def documented_accuracy(entry: ModelEntry) -> str:
    """With the name of its measure."""
    if isinstance(entry, PoseEntry) and entry.pckh is not None:
        return f"PCKh {entry.pckh:.1f}"
    measure = "mAP" if isinstance(entry, DetectorEntry) else "AP"
    return f"{measure} {entry.coco_ap:.1f}" if entry.coco_ap is not None else "-"


def count_parameters(entry: ModelEntry) -> int:
    """Trainable numbers of a model."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in entry.build().parameters())
