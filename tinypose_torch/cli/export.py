"""`tinypose export`: a network as a file that takes pixels and gives keypoints."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from tinypose_torch.cli import export_app
from tinypose_torch.cli.export_common import (
    Model,
    check_int8,
    check_output,
    images_for,
    print_comparison,
    resolve_models,
)
from tinypose_torch.cli.photos import count_photos
from tinypose_torch.export import Exported, ExportOptions, export_model, export_pair
from tinypose_torch.export.progress import COMPARE, PHOTOS, Progress, export_stages, show_progress
from tinypose_torch.export.receipt import compare, make_receipt, write_receipt
from tinypose_torch.factory import load_model
from tinypose_torch.models.base import Network
from tinypose_torch.models.config import config_of
from tinypose_torch.models.registry import get_config
from tinypose_torch.runtime.exported import open_exported
from tinypose_torch.runtime.formats import find_export_format
from tinypose_torch.utils.hints import print_next


def run(options: argparse.Namespace) -> int:
    """Export, run the file beside the eager networks, print and keep the receipt."""
    suffix = find_export_format(options.format).suffix
    if options.frame is not None:
        return export_app.run(options)
    for name in ("people", "interface", "pixels", "detect_every"):
        if getattr(options, name) is not None:
            option = f"--{name.replace('_', '-')} {getattr(options, name)}"
            raise ValueError(f"{option} needs --frame HEIGHT WIDTH, which makes an app")
    if options.output:
        check_output(options.output, options)  # before weights are read
    sources = resolve_models(options)
    names = [source.name for source in sources]
    output = Path(options.output or f"{'+'.join(names)}{suffix}")
    check_output(output, options)
    _check(options, names)
    size = tuple(options.input_size) if options.input_size else None
    if size and len(names) > 1:
        raise ValueError("--input-size is for files of one network")
    chosen = ExportOptions(
        options.format,
        images=not options.raw,
        decode=not (options.raw or options.heatmaps),
        batch=None if options.dynamic_batch else options.batch,
        precision=options.precision,
        error_budget=options.error_budget,
    )
    num_photos = count_photos(options.images)
    models: list[Model] = [
        (load_model(source, input_size=size), file)
        for source, file in zip(sources, (options.weights, options.with_weights), strict=False)
    ]
    models.sort(key=lambda model: not config_of(model[0]).gives_boxes)  # the detector first
    networks = [network for network, _ in models]
    stages = export_stages(
        [config_of(network).name for network in networks],
        options.format,
        options.precision,
        num_photos=num_photos,
        receipt=True,
    )
    print(f"exporting {' and '.join(names)} to {options.format}, {options.precision} ...", flush=True)
    with show_progress("export", stages) as progress:
        if num_photos:
            progress(PHOTOS, 0)
        images = [images_for(network, file, options, models) for network, file in models]
        made = _export(networks, output, chosen, images if options.images else None, progress)
        compared = _compare(models, images, made, output, options, progress)
    receipt = make_receipt(output, compared)
    path = write_receipt(receipt, output)
    print(f"wrote {output} ({receipt['bytes'] / 1e6:.2f} MB) and {path}")
    for facts in compared:
        print_comparison(facts)
    parts = [config_of(network).option for network in networks]
    print_next(["tinypose", "predict", options.images or "photo.jpg", *_weights_options(parts, output)])
    return 0


def _weights_options(parts: list[str], file: Path) -> list[str]:
    return [word for part in parts for word in (f"--{part}-weights", str(file))]


def _export(
    networks: list[Network], output: Path, chosen: ExportOptions, photos: list[np.ndarray] | None, progress: Progress
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
        runner = open_exported(output, options.format, task=config_of(network).task)
        compared.append(compare(runner, network, some, f"{len(some)} {kind}", exported.facts))
    return compared


def _check(options: argparse.Namespace, names: list[str]) -> None:
    """Refuse options that need others, or have no effect on the models."""
    configs = [get_config(name) for name in names]
    check_int8(options)
    for name in ("detector", "detector_weights"):
        if getattr(options, name) is not None and options.images is None:
            raise ValueError(f"--{name.replace('_', '-')} needs --images, in which it finds the people")
    detector = options.detector or options.detector_weights
    if options.person_class is not None and not (
        options.images and (detector or any(config.gives_boxes for config in configs))
    ):
        raise ValueError("--person-class needs --images, and a detector that finds the people in them")
    if detector is not None and not any(config.takes_boxes for config in configs):
        option = "--detector" if options.detector else "--detector-weights"
        raise ValueError(f"{option} {detector} has no effect on {' and '.join(names)}, which see whole images")
