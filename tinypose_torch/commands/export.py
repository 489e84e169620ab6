"""`tinypose export`: a network as a file that takes pixels and gives keypoints."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from tinypose_torch.checkpoints.entries import PoseEntry
from tinypose_torch.checkpoints.identity import ModelSource, resolve_model
from tinypose_torch.commands.photos import photos_for_network
from tinypose_torch.defaults import AUTO
from tinypose_torch.export import ExportOptions, export_model, export_pair
from tinypose_torch.export.receipt import compare, make_receipt, receipt_path, write_receipt
from tinypose_torch.factory import entry_of, load_model
from tinypose_torch.outputs import check_outputs
from tinypose_torch.pipeline import PoseEstimator, people_for_network
from tinypose_torch.runtime.exported import open_exported

Model = tuple[nn.Module, str | None]  # and its weight file
SUFFIXES = {"torchscript": ".torchscript", "executorch": ".pte", "onnx": ".onnx"}


def run(options: argparse.Namespace) -> int:
    """Export, run the file beside the eager networks, print and keep the receipt."""
    sources = _resolve_models(options)
    names = [source.name for source in sources]
    output = Path(options.output or f"{'+'.join(names)}{SUFFIXES[options.format]}")
    check_outputs(
        {"--output": output, "the receipt": receipt_path(output)},
        [options.weights, options.with_weights, options.detector_weights],
        options.images,
        options.overwrite,
    )
    if options.precision == "int8" and not options.images:
        raise ValueError("--precision int8 needs --images DIR: photos like those that the network will see")
    size = tuple(options.input_size) if options.input_size else None
    if size and len(names) > 1:
        raise ValueError("--input-size is for files of one network")
    models: list[Model] = [
        (load_model(source, input_size=size), file)
        for source, file in zip(sources, (options.weights, options.with_weights), strict=False)
    ]
    models.sort(key=lambda model: entry_of(model[0]).task)  # the detector first
    networks = [network for network, _ in models]
    chosen = ExportOptions(
        options.format,
        images=not options.raw,
        decode=not (options.raw or options.heatmaps),
        batch=None if options.dynamic_batch else options.batch,
        precision=options.precision,
        error_budget=options.error_budget,
    )
    images = [_images_for(network, file, options, models) for network, file in models]
    real = [photos if options.images else None for photos in images]
    print(f"exporting {' and '.join(names)} to {options.format}, {options.precision} ...", flush=True)
    if len(networks) == 2:
        made = list(export_pair(networks[0], networks[1], output, chosen, (real[0], real[1])).values())
    else:
        made = [export_model(networks[0], output, chosen, real[0])]
    described = f"{{}} {'photos' if options.images else 'images of seeded noise'}"
    compared = [
        compare(
            open_exported(output, options.format, task=entry_of(network).task),
            network,
            photos,
            described.format(len(photos)),
            exported.facts,
        )
        for network, photos, exported in zip(networks, images, made, strict=True)
    ]
    receipt = make_receipt(output, compared)
    path = write_receipt(receipt, output)
    print(f"wrote {output} ({receipt['bytes'] / 1e6:.2f} MB) and {path}")
    for facts in compared:
        _print_comparison(facts)
    return 0


def _resolve_models(options: argparse.Namespace) -> list[ModelSource]:
    """The model, and the second one where there is one, with their weights."""
    sources = [resolve_model(options.model, options.weights, usage="NAME")]
    if options.with_model or options.with_weights:
        sources.append(resolve_model(options.with_model, options.with_weights, usage="--with NAME"))
    return sources


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
    detector, weights = options.detector or (AUTO if options.detector_weights else None), options.detector_weights
    for other, other_file in models:
        if entry_of(other).task == "detection" and detector is None:
            detector, weights = entry_of(other).name, other_file
    if isinstance(entry, PoseEntry) and detector is not None:
        return people_for_network(options.images, PoseEstimator(detector, entry.name, weights, file))
    return photos_for_network(options.images, entry)
