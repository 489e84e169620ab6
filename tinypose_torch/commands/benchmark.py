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
from tinypose_torch.defaults import BENCHMARK_MODELS
from tinypose_torch.export import ExportOptions, export_model
from tinypose_torch.factory import create_model, entry_of
from tinypose_torch.runtime import EagerRunner
from tinypose_torch.runtime.exported import open_exported
from tinypose_torch.table import format_table

WARM_UP = 5
BASELINE = "onnx"
_NEEDS = {"torchscript": (), "executorch": ("executorch",), "onnx": ("onnxscript", "onnxruntime")}

Run = Callable[[np.ndarray], Any]


def run(options: argparse.Namespace) -> int:
    """Measure, print a table per model, and write the JSON if asked."""
    if options.rounds < 1:
        raise ValueError(f"--rounds {options.rounds}; at least 1 is needed")
    rows: list[dict[str, Any]] = []
    for name in options.models or BENCHMARK_MODELS:
        weights = Path(options.weights, f"{name}.pdparams") if options.weights else None
        network = create_model(name, weights=weights)
        with tempfile.TemporaryDirectory() as folder:
            files = _export_all(network, name, Path(folder))
            measured = [
                row for threads in options.threads for row in _measure(network, name, files, threads, options.rounds)
            ]
        rows += measured
        print(f"\n{name}, float32 in and out, batch 1, median of {options.rounds} interleaved rounds\n")
        print(_table(measured))
    print(f"\n{platform.machine()}, {os.cpu_count()} cores; ratio: to ONNX Runtime with as many threads.")
    if options.json:
        with replacing(Path(options.json)) as temporary:
            temporary.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


def _export_all(network: nn.Module, name: str, folder: Path) -> dict[str, Path]:
    """The network in every format whose exporter and runtime are installed."""
    files = {}
    for format_name, packages in _NEEDS.items():
        if any(importlib.util.find_spec(package) is None for package in packages):
            print(f"{format_name}: not installed, left out", file=sys.stderr)
            continue
        print(f"exporting {name} to {format_name} ...", file=sys.stderr, flush=True)
        files[format_name] = folder / f"{name}.{'pte' if format_name == 'executorch' else format_name}"
        export_model(network, files[format_name], ExportOptions(format_name, images=False, decode=False))
    return files


def _measure(network: nn.Module, name: str, files: dict[str, Path], threads: int, rounds: int) -> list[dict[str, Any]]:
    """Times of every backend; each round runs each once, so that a slow moment hits all alike."""
    torch.set_num_threads(threads)
    backends: dict[str, Run] = {"eager": EagerRunner(network).run}
    for backend, file in files.items():
        backends[backend] = open_exported(file, backend, threads=threads).run
    if BASELINE in files and importlib.util.find_spec("openvino") is not None:
        backends["openvino"] = _openvino(files[BASELINE], threads)
    height, width = entry_of(network).input_size
    x = np.random.default_rng(0).standard_normal((1, 3, height, width)).astype(np.float32)
    times: dict[str, list[float]] = {backend: [] for backend in backends}
    for number in trange(rounds + WARM_UP, desc=f"{name}, {threads} threads", disable=None, leave=False):
        for backend, run_once in backends.items():
            start = time.perf_counter()
            run_once(x)
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
    package = {"onnx": "onnxruntime", "openvino": "openvino", "executorch": "executorch"}.get(backend, "torch")
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
