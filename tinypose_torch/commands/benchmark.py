"""`tinypose benchmark`: backends side by side, in one interleaved run."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import trange

from tinypose_torch.atomic import replacing
from tinypose_torch.commands.photos import photos_for_network
from tinypose_torch.defaults import BENCHMARK_MODELS
from tinypose_torch.export import ExportOptions, export_model
from tinypose_torch.factory import create_model, entry_of
from tinypose_torch.runtime import EagerRunner
from tinypose_torch.runtime.exported import open_exported
from tinypose_torch.table import format_table

WARM_UP = 5
BASELINE = "onnx"
# Label in the table: format, precision, and what must be installed.
_FORMS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "torchscript": ("torchscript", "fp32", ()),
    "executorch": ("executorch", "fp32", ("executorch",)),
    "executorch fp16": ("executorch", "fp16", ("executorch",)),
    "executorch int8": ("executorch", "int8", ("executorch",)),
    "onnx": ("onnx", "fp32", ("onnxscript", "onnxruntime")),
}

BACKENDS = ("eager", *_FORMS, "openvino")

Run = Callable[[np.ndarray], Any]


def run(options: argparse.Namespace) -> int:
    """Measure, print a table per model, and write the JSON if asked."""
    if options.rounds < 1:
        raise ValueError(f"--rounds {options.rounds}; at least 1 is needed")
    wanted = tuple(options.backend or BACKENDS)
    unknown = [name for name in wanted if name not in BACKENDS]
    if unknown:
        raise ValueError(f"--backend {unknown[0]}; there are {', '.join(map(repr, BACKENDS))}")
    rows: list[dict[str, Any]] = []
    for name in options.models or BENCHMARK_MODELS:
        weights = Path(options.weights, f"{name}.pdparams") if options.weights else None
        network = create_model(name, weights=weights)
        with tempfile.TemporaryDirectory() as folder:
            files = _export_all(network, name, Path(folder), options.images, wanted)
            measured = [
                row
                for threads in options.threads
                for row in _measure(network, name, files, wanted, threads, options.rounds)
            ]
        rows += measured
        print(f"\n{name}, float32 in and out, batch 1, median of {options.rounds} interleaved rounds\n")
        print(_table(measured))
    print(f"\n{platform.machine()}, {os.cpu_count()} cores; ratio: to ONNX Runtime with as many threads.")
    if options.json:
        with replacing(Path(options.json)) as temporary:
            temporary.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


def _export_all(
    network: nn.Module, name: str, folder: Path, images: str | None, wanted: tuple[str, ...]
) -> dict[str, Path]:
    """The network in every form that is wanted and whose exporter and runtime are installed."""
    files = {}
    photos = photos_for_network(images, entry_of(network)) if images else None
    for label, (format_name, precision, packages) in _FORMS.items():
        if label not in wanted and not (label == BASELINE and "openvino" in wanted):
            continue
        if any(importlib.util.find_spec(package) is None for package in packages):
            print(f"{label}: not installed, left out", file=sys.stderr)
            continue
        if precision == "int8" and photos is None:
            print(f"{label}: needs --images to calibrate on, left out", file=sys.stderr)
            continue
        print(f"exporting {name} to {label} ...", file=sys.stderr, flush=True)
        files[label] = folder / f"{name}.{precision}.{'pte' if format_name == 'executorch' else format_name}"
        options = ExportOptions(format_name, images=False, decode=False, precision=precision)
        export_model(network, files[label], options, photos)
    return files


def _measure(
    network: nn.Module, name: str, files: dict[str, Path], wanted: tuple[str, ...], threads: int, rounds: int
) -> list[dict[str, Any]]:
    """Times of every backend.

    Each round runs each once, so that a slow moment hits all alike, and in another order, as each finds the processor's
    caches as its predecessor left them.
    """
    torch.set_num_threads(threads)
    backends: dict[str, Run] = {"eager": EagerRunner(network).run} if "eager" in wanted else {}
    for label, file in files.items():
        backends[label] = open_exported(file, _FORMS[label][0], threads=threads).run
    if "openvino" in wanted and BASELINE in files and importlib.util.find_spec("openvino") is not None:
        backends["openvino"] = _openvino(files[BASELINE], threads)
    height, width = entry_of(network).input_size
    x = np.random.default_rng(0).standard_normal((1, 3, height, width)).astype(np.float32)
    times: dict[str, list[float]] = {backend: [] for backend in backends}
    generator = np.random.default_rng(1)
    for number in trange(rounds + WARM_UP, desc=f"{name}, {threads} threads", disable=None, leave=False):
        for backend in generator.permutation(list(backends)).tolist():
            start = time.perf_counter()
            backends[backend](x)
            if number >= WARM_UP:
                times[backend].append((time.perf_counter() - start) * 1e3)
    medians = {backend: statistics.median(values) for backend, values in times.items()}
    return [
        {
            "model": name,
            "backend": backend,
            "threads": threads,
            "median_ms": round(medians[backend], 3),
            "p90_ms": round(float(np.percentile(times[backend], 90)), 3),
            "ratio": round(medians[backend] / medians[BASELINE], 3) if BASELINE in medians else None,
            "bytes": files[backend].stat().st_size if backend in files else None,
            "version": _version(backend),
        }
        for backend in sorted(medians, key=medians.__getitem__)
    ]


def _openvino(file: Path, threads: int) -> Run:
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(core.read_model(file), "CPU", {"INFERENCE_NUM_THREADS": threads})
    return lambda x: compiled(x)


def _version(backend: str) -> str:
    package = {"onnx": "onnxruntime", "openvino": "openvino", "executorch": "executorch"}.get(
        backend.split()[0], "torch"
    )
    return f"{package} {version(package)}"


def _table(rows: list[dict[str, Any]]) -> str:
    header = ("backend", "threads", "median ms", "p90 ms", "ratio", "MB", "version")
    cells = [
        (
            row["backend"],
            str(row["threads"]),
            f"{row['median_ms']:.2f}",
            f"{row['p90_ms']:.2f}",
            "-" if row["ratio"] is None else f"{row['ratio']:.2f}",
            "-" if row["bytes"] is None else f"{row['bytes'] / 1e6:.2f}",
            row["version"],
        )
        for row in rows
    ]
    return format_table(header, cells, right=range(1, 6))
