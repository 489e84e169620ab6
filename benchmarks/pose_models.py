"""All top-down pose networks side by side: writes docs/benchmarks/pose_models.md and its plot.

    tinypose benchmark --backend onnx --threads 1 --json times.json MODEL ...
    python benchmarks/pose_models.py times.json

Times are the benchmark's (one thread, batch 1, without pre- and post-processing), as ratios to one network's, since
milliseconds depend on the machine more than ratios do. Accuracies are what PaddleDetection documents.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib as mpl
import torch
from torch.utils.flop_counter import FlopCounterMode

from tinypose_torch.cli.models import count_parameters, documented_accuracy
from tinypose_torch.models.config import TopDownConfig, of_task
from tinypose_torch.models.registry import model_configs
from tinypose_torch.utils.arguments import add_overwrite
from tinypose_torch.utils.outputs import check_outputs

mpl.use("svg")
import matplotlib.pyplot as plt

UNIT = "tinypose_128x96"
DOCS = Path(__file__).resolve().parent.parent / "docs/benchmarks"
HEADER = ("model", "input", "parameters", "multiply-adds", "time", "documented accuracy")


def main() -> None:
    """Read the times, count the rest, write page and plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("times", type=Path, help="what tinypose benchmark --json wrote")
    parser.add_argument("--backend", default="onnx", help="default: %(default)s")
    parser.add_argument("--output", type=Path, default=DOCS, metavar="DIR", help="default: docs")
    add_overwrite(parser)
    options = parser.parse_args()
    files = {"the page": "pose_models.md", "the plot": "pose_models.svg"}
    replaced = options.overwrite or options.output == DOCS  # whose pages are made by this program
    check_outputs({kind: options.output / name for kind, name in files.items()}, [options.times], overwrite=replaced)
    rows = json.loads(options.times.read_text())
    times = {
        row["model"]: row["median_ms"] for row in rows if row["backend"] == options.backend and row["threads"] == 1
    }
    entries = [of_task(config, TopDownConfig) for config in model_configs().values() if config.takes_boxes]
    missing = [config.name for config in entries if config.name not in times]
    if missing:
        parser.error(f"{options.times} has no times of {', '.join(missing)} on {options.backend} with 1 thread")
    (version,) = {row["version"] for row in rows if row["backend"] == options.backend}
    ratios = {name: time / times[UNIT] for name, time in times.items()}
    draw_plot(entries, ratios, options.output / "pose_models.svg")
    (options.output / "pose_models.md").write_text(page(entries, ratios, f"{version}, {times[UNIT]:.2f} ms"))


def count_multiply_adds(config: TopDownConfig) -> int:
    """Multiplications with an addition each, of convolutions and matrix products, for one crop."""
    with torch.device("meta"):
        network = config.build().eval()
        crop = torch.empty(1, 3, *config.input_size)
    with FlopCounterMode(display=False) as counter:
        network(crop)
    return counter.get_total_flops() // 2


def page(entries: list[TopDownConfig], ratios: dict[str, float], unit: str) -> str:
    """The page in Markdown."""
    lines = [
        "# The pose networks side by side",
        "",
        "![Accuracy against time](pose_models.svg)",
        "",
        "Choose a pose network by its accuracy and its time.",
        "",
        f"* Time: one crop on one CPU thread, in units of `{UNIT}` ({unit} here).",
        "* Multiply-adds: convolutions and matrix products, counted by PyTorch.",
        "* Accuracy: AP on COCO val2017 with annotated boxes, or PCKh@0.5 on MPII, percent, as documented by PaddleDetection. The two",
        "  are not comparable, and the plot shows AP alone.",
        "",
        "| " + " | ".join(HEADER) + " |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for config in entries:
        cells = (
            f"`{config.name}`",
            f"{config.input_size[0]}x{config.input_size[1]}",
            f"{count_parameters(config) / 1e6:.2f} M",
            f"{count_multiply_adds(config) / 1e9:.2f} G",
            f"{ratios[config.name]:.1f}",
            documented_accuracy(config),
        )
        lines.append("| " + " | ".join(cells) + " |")
    names = " ".join(config.name for config in entries)
    lines += [
        "",
        "Made by",
        "",
        "<!-- not executed: a benchmark -->",
        "```bash",
        f"tinypose benchmark --backend onnx --threads 1 --rounds 30 --json times.json {names}",
        "python benchmarks/pose_models.py times.json",
        "```",
        "",
    ]
    return "\n".join(lines)


def draw_plot(entries: list[TopDownConfig], ratios: dict[str, float], path: Path) -> None:
    """Accuracy against time, as SVG that is the same for the same figures."""
    mpl.rcParams["svg.hashsalt"] = "pose_models"
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for config in entries:
        if config.coco_ap is None:
            continue
        place = (ratios[config.name], config.coco_ap)
        axes.scatter(*place, s=36, color="tab:orange" if config.name.startswith("tinypose") else "tab:blue")
        axes.annotate(config.name, place, xytext=(6, -9), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(0.8, max(ratios.values()) * 4)
    axes.set_xlabel(f"time of one crop, times that of {UNIT}")
    axes.set_ylabel("COCO AP, percent")
    axes.grid(visible=True, which="major", alpha=0.3)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
