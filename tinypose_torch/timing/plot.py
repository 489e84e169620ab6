"""Times of the backends as bars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinypose_torch.utils.atomic import replacing
from tinypose_torch.utils.hints import check_matplotlib
from tinypose_torch.utils.provenance import plot_metadata

_FORMATS = (".svg", ".png", ".pdf")


def check_plot(path: Path) -> None:
    """Before anything is measured.

    Raises:
        ValueError: The file's format is unknown, or matplotlib is not installed.
    """
    if path.suffix not in _FORMATS:
        raise ValueError(f"--plot {path}; expected a name that ends in {', '.join(_FORMATS)}")
    check_matplotlib("--plot")


def draw_times(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """A panel per model and number of threads: the median of every backend, and up to where 90 % of the rounds lie."""
    from matplotlib.figure import Figure

    panels: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        panels.setdefault((row["model"], row["threads"]), []).append(row)
    most = max(map(len, panels.values()))
    figure = Figure(figsize=(8, len(panels) * (0.8 + 0.3 * most)), layout="constrained")
    for axes, ((model, threads), some) in zip(
        figure.subplots(len(panels), squeeze=False)[:, 0], panels.items(), strict=True
    ):
        some = some[::-1]  # the fastest on top
        medians = [row["median_ms"] for row in some]
        beyond = [row["p90_ms"] - row["median_ms"] for row in some]
        bars = axes.barh([row["backend"] for row in some], medians, xerr=[[0] * len(some), beyond], color="#4c78a8")
        labels = [f"{row['median_ms']:.2f} ms" + _ratio(row["ratio"]) for row in some]
        axes.bar_label(bars, labels, padding=6, fontsize=8)
        axes.set_xscale("log")
        axes.set_xlim(min(medians) / 2, max(medians) * 4)
        axes.set_title(f"{model}, {threads} thread{'s' * (threads > 1)}", fontsize=10, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("milliseconds, median and 90th percentile; in brackets the ratio to ONNX Runtime")
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], dpi=150, metadata=plot_metadata(path.suffix))


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f" ({ratio:.2f})"
