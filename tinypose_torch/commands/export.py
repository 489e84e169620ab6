"""`tinypose export`: a network as a file that takes pixels and gives keypoints."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from tinypose_torch.export import ExportOptions, export_model, export_pair
from tinypose_torch.export.receipt import compare, make_receipt, write_receipt
from tinypose_torch.factory import create_model, entry_of
from tinypose_torch.pipeline import photos_for_network
from tinypose_torch.runtime.exported import open_exported

SUFFIXES = {"torchscript": ".torchscript", "executorch": ".pte", "onnx": ".onnx"}


def run(options: argparse.Namespace) -> int:
    """Export, run the file beside the eager networks, print and keep the receipt."""
    names = [options.model, options.with_model] if options.with_model else [options.model]
    output = Path(options.output or f"{'+'.join(names)}{SUFFIXES[options.format]}")
    if output.is_dir():
        raise ValueError(f"--output {output} is a folder; name a file")
    files = [options.weights, options.with_weights]
    networks = [
        create_model(name, pretrained=file is None, weights=file) for name, file in zip(names, files, strict=False)
    ]
    batch = None if options.dynamic_batch else options.batch
    chosen = ExportOptions(
        options.format, images=not options.raw, decode=not (options.raw or options.heatmaps), batch=batch
    )
    print(f"exporting {' and '.join(names)} to {options.format} ...", flush=True)
    if len(networks) == 2:
        networks.sort(key=lambda network: entry_of(network).task)  # the detector first
        export_pair(networks[0], networks[1], output, chosen)
    else:
        export_model(networks[0], output, chosen)
    compared = []
    for network in networks:
        runner = open_exported(output, options.format, task=entry_of(network).task)
        compared.append(compare(runner, network, *_test_images(network, options.images)))
    receipt = make_receipt(output, compared)
    path = write_receipt(receipt, output)
    print(f"wrote {output} ({receipt['bytes'] / 1e6:.2f} MB) and {path}")
    for facts in compared:
        print(f"{facts['model']} beside the eager network, on {facts['images']}:")
        for name, value in facts["differences"].items():
            print(f"  {name}: {value:.3g}")
        print(f"  time: {facts['latency_ratio_to_eager']:.2f} of eager")
    return 0


def _test_images(network: Any, folder: str | None) -> tuple[np.ndarray, str]:
    """Photos cut to the network's input, or seeded noise."""
    entry = entry_of(network)
    if folder is None:
        generator = np.random.default_rng(0)
        return generator.integers(0, 256, (2, *entry.input_size, 3), dtype=np.uint8), "seeded noise"
    photos = photos_for_network(folder, entry)
    return photos, f"{len(photos)} photos"
