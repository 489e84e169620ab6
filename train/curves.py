"""The curves of the numbers that a run logs, as a picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinypose_torch.utils.atomic import replacing
from tinypose_torch.utils.provenance import plot_metadata
from train.logs import read_log
from train.preflight import CURVES


def read_curves(output: Path, metric: str) -> dict[str, list[tuple[float, float]]]:
    """Loss, learning rate and accuracy of a run: title to points (steps, value); without those that were not logged."""
    rows = read_log(output)
    rate = next((name for row in rows for name in row if re.fullmatch(r"lr-\w+(/pg1)?", name)), "lr")
    titles = {"loss": "loss", rate: "learning rate", metric: f"{metric} on the validation data"}
    curves = {title: [(row["step"] + 1, row[name]) for row in rows if name in row] for name, title in titles.items()}
    return {title: points for title, points in curves.items() if points}


def is_wide(title: str, points: Sequence[tuple[float, float]]) -> bool:
    """Whether a curve needs a logarithmic axis: a loss that falls to less than a tenth."""
    values = [value for _, value in points]
    return title == "loss" and min(values) > 0 and max(values) > 10 * min(values)


def draw_curves(output: Path, metric: str) -> Path:
    """Draw the loss, the learning rate and the accuracy of a run over its steps.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    curves = read_curves(output, metric)
    figure = Figure(figsize=(8, 2.2 * len(curves)), layout="constrained")
    column = figure.subplots(len(curves), sharex=True, squeeze=False)[:, 0]
    for axes, (title, points) in zip(column, curves.items(), strict=True):
        _draw_panel(axes, points, title)
    column[-1].set_xlabel("optimizer steps")
    column[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    with replacing(output / CURVES) as temporary:
        figure.savefig(temporary, format="png", dpi=120, metadata=plot_metadata(".png"))
    return output / CURVES


def _draw_panel(axes: Any, points: list[tuple[float, float]], title: str) -> None:
    steps, values = zip(*points, strict=True)
    axes.plot(steps, values, color="#4c78a8", linewidth=1.2, marker="o" if len(points) < 40 else None, markersize=3)
    axes.set_title(title, fontsize=10, loc="left")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if is_wide(title, points):
        axes.set_yscale("log")
