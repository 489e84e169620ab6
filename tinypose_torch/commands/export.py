"""`tinypose export`: a network as a file that takes pixels and gives keypoints."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from tinypose_torch.checkpoints.catalogue import DetectorEntry
from tinypose_torch.export import ExportOptions, export_model
from tinypose_torch.export.receipt import make_receipt, write_receipt
from tinypose_torch.factory import create_model, entry_of
from tinypose_torch.images import find_inputs, load_image
from tinypose_torch.pipeline import crop_people, resize_for_detector, whole_image_crops
from tinypose_torch.runtime.exported import open_exported

SUFFIXES = {"torchscript": ".torchscript", "executorch": ".pte", "onnx": ".onnx"}


def run(options: argparse.Namespace) -> int:
    """Export, run the file beside the eager network, print and keep the receipt."""
    output = Path(options.output or f"{options.model}{SUFFIXES[options.format]}")
    if output.is_dir():
        raise ValueError(f"--output {output} is a folder; name a file")
    network = create_model(options.model, pretrained=options.weights is None, weights=options.weights)
    batch = None if options.dynamic_batch else options.batch
    chosen = ExportOptions(
        options.format, images=not options.raw, decode=not (options.raw or options.heatmaps), batch=batch
    )
    print(f"exporting {options.model} to {options.format} ...", flush=True)
    export_model(network, output, chosen)
    runner = open_exported(output, options.format)
    images, described = _test_images(network, options.images)
    receipt = make_receipt(output, runner, network, images, described)
    path = write_receipt(receipt, output)
    print(f"wrote {output} ({receipt['bytes'] / 1e6:.2f} MB) and {path}")
    print(f"beside the eager network, on {described}:")
    for name, value in receipt["differences"].items():
        print(f"  {name}: {value:.3g}")
    print(f"  time: {receipt['latency_ratio_to_eager']:.2f} of eager")
    return 0


def _test_images(network: Any, folder: str | None) -> tuple[np.ndarray, str]:
    """Photos cut to the network's input, or seeded noise."""
    entry = entry_of(network)
    if folder is None:
        generator = np.random.default_rng(0)
        return generator.integers(0, 256, (2, *entry.input_size, 3), dtype=np.uint8), "seeded noise"
    files, _ = find_inputs([folder])
    if not files:
        raise FileNotFoundError(f"no images in {folder}")
    images = []
    for file in files:
        image = load_image(file)
        if isinstance(entry, DetectorEntry):
            images.append(resize_for_detector(image, entry))
        else:
            images.append(crop_people(image, whole_image_crops(image, entry), entry))
    return np.concatenate(images), f"{len(files)} photos"
