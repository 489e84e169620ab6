"""`tinypose export`: a network as a file that takes pixels and gives keypoints."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from tinypose_torch.checkpoints.catalogue import get_entry
from tinypose_torch.checkpoints.entries import PoseEntry
from tinypose_torch.commands.photos import photos_for_network
from tinypose_torch.export import Exported, ExportOptions, export_model, export_pair
from tinypose_torch.export.progress import COMPARE, PHOTOS, Progress, export_stages, show_progress
from tinypose_torch.export.receipt import compare, make_receipt, write_receipt
from tinypose_torch.factory import create_model, entry_of
from tinypose_torch.images import find_inputs
from tinypose_torch.pipeline import PoseEstimator, people_for_network
from tinypose_torch.runtime.exported import open_exported

Model = tuple[nn.Module, str | None]  # and its weight file
SUFFIXES = {"torchscript": ".torchscript", "executorch": ".pte", "onnx": ".onnx"}


def run(options: argparse.Namespace) -> int:
    """Export, run the file beside the eager networks, print and keep the receipt."""
    names = [options.model, options.with_model] if options.with_model else [options.model]
    output = Path(options.output or f"{'+'.join(names)}{SUFFIXES[options.format]}")
    if output.is_dir():
        raise ValueError(f"--output {output} is a folder; name a file")
    _check(options)
    size = tuple(options.input_size) if options.input_size else None
    if size and len(names) > 1:
        raise ValueError("--input-size is for files of one network")
    models: list[Model] = [
        (create_model(name, pretrained=file is None, weights=file, input_size=size), file)
        for name, file in zip(names, (options.weights, options.with_weights), strict=False)
    ]
    models.sort(key=lambda model: entry_of(model[0]).task)  # the detector first
    chosen = ExportOptions(
        options.format,
        images=not options.raw,
        decode=not (options.raw or options.heatmaps),
        batch=None if options.dynamic_batch else options.batch,
        precision=options.precision,
        error_budget=options.error_budget,
    )
    num_photos = len(find_inputs([options.images])[0]) if options.images else 0
    networks = [network for network, _ in models]
    stages = export_stages(
        [entry_of(network).name for network in networks],
        options.format,
        options.precision,
        num_photos=num_photos,
        receipt=True,
    )
    print(f"exporting {' and '.join(names)} to {options.format}, {options.precision} ...", flush=True)
    with show_progress("export", stages) as progress:
        if num_photos:
            progress(PHOTOS, 0)
        images = [_images_for(network, file, options, models) for network, file in models]
        made = _export(networks, output, chosen, images if options.images else None, progress)
        compared = _compare(models, images, made, output, options, progress)
    receipt = make_receipt(output, compared)
    path = write_receipt(receipt, output)
    print(f"wrote {output} ({receipt['bytes'] / 1e6:.2f} MB) and {path}")
    for facts in compared:
        _print_comparison(facts)
    return 0


def _export(
    networks: list[nn.Module], output: Path, chosen: ExportOptions, photos: list[np.ndarray] | None, progress: Progress
) -> list[Exported]:
    """What was made of each network."""
    calibration: list[np.ndarray | None] = [*photos] if photos else [None for _ in networks]
    if len(networks) == 1:
        return [export_model(networks[0], output, chosen, calibration[0], progress)]
    pair = export_pair(networks[0], networks[1], output, chosen, (calibration[0], calibration[1]), progress)
    return list(pair.values())


def _compare(
    models: list[Model],
    images: list[np.ndarray],
    made: list[Exported],
    output: Path,
    options: argparse.Namespace,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Facts of every network for the receipt."""
    compared = []
    kind = "photos" if options.images else "images of seeded noise"
    for index, ((network, _), some, exported) in enumerate(zip(models, images, made, strict=True)):
        progress(COMPARE, index / len(models))
        runner = open_exported(output, options.format, task=entry_of(network).task)
        compared.append(compare(runner, network, some, f"{len(some)} {kind}", exported.facts))
    return compared


def _check(options: argparse.Namespace) -> None:
    """Refuse options that need others, or have no effect on the model."""
    if options.precision == "int8" and not options.images:
        raise ValueError("--precision int8 needs --images DIR: photos like those that the network will see")
    needed = (
        ("with_weights", "with_model"),
        ("detector", "images"),
        ("detector_weights", "detector"),
    )
    for name, other in needed:
        if getattr(options, name) is not None and getattr(options, other) is None:
            raise ValueError(f"{_flag(name)} needs {_flag(other)}")
    if options.person_class is not None and not (options.images and (options.detector or options.with_model)):
        raise ValueError("--person-class needs --images, and a detector that finds the people in them")
    if options.error_budget is not None and options.precision != "int8":
        raise ValueError("--error-budget needs --precision int8")
    tasks = {get_entry(name).task for name in (options.model, options.with_model) if name}
    if options.detector is not None and "pose" not in tasks:
        raise ValueError(f"--detector {options.detector} has no effect on {options.model}, which sees whole images")


def _flag(name: str) -> str:
    return f"--{name.removesuffix('_model').replace('_', '-')}"


def _print_comparison(facts: dict[str, Any]) -> None:
    print(f"{facts['model']} beside the eager network, on {facts['images']}:")
    for name, value in facts["differences"].items():
        print(f"  {name}: {value:.3g}")
    print(f"  time: {facts['latency_ratio_to_eager']:.2f} of eager")
    for name, value in facts["made"].items():
        if not isinstance(value, dict):
            print(f"  {name}: {value}")
        elif value:
            print(f"  {name}:")
            for item, detail in value.items():
                shown = ", ".join(f"{k} {v}" for k, v in detail.items()) if isinstance(detail, dict) else detail
                print(f"    {item}: {shown}")


def _images_for(network: nn.Module, file: str | None, options: argparse.Namespace, models: list[Model]) -> np.ndarray:
    """Photos, or the people in them, cut to the network's input; seeded noise without photos."""
    entry = entry_of(network)
    if options.images is None:
        generator = np.random.default_rng(0)
        return generator.integers(0, 256, (2, *entry.input_size, 3), dtype=np.uint8)
    detector, weights = options.detector, options.detector_weights
    for other, other_file in models:
        if entry_of(other).task == "detection" and detector is None:
            detector, weights = entry_of(other).name, other_file
    if isinstance(entry, PoseEntry) and detector is not None:
        estimator = PoseEstimator(detector, entry.name, weights, file, person_class=options.person_class)
        return people_for_network(options.images, estimator)
    return photos_for_network(options.images, entry)
