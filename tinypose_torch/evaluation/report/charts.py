"""Charts of a report as inline SVG, whose text and axes have the colour of the page."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from tinypose_torch.evaluation.report.statistics import PCK_OF_TABLE, PCK_THRESHOLDS, ErrorSummary
from tinypose_torch.utils.messages import escaped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray
Points = Sequence[tuple[float, float]]
_INK = "#010203"  # replaced by the page's colour of text
_COLOURS = (
    "#4c86c6",
    "#f58518",
    "#4fae54",
    "#e45756",
    "#b279c2",
    "#9d755d",
    "#e377a8",
    "#8f9aa5",
    "#2ba8b4",
    "#a8a020",
)
_WIDTH = 4.6  # inches; phones show it in about its own size
_MAX_NAME = 24  # characters
# Names come from annotation files: "$" is no formula.
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tinypose-torch",
    "text.parse_math": False,
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.2,
    "legend.frameon": False,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color"), _INK
    ),
}


def line_chart(lines: Mapping[str, Points], x_label: str, *, log: bool = False) -> str:
    """Lines over one axis; those with few points have markers.

    Args:
        lines: Points (x, y) by name; a single line has no legend.
        log: Whether the vertical axis is logarithmic.
    """
    with _figure(2.2 + 0.09 * len(lines)) as figure:
        axes = figure.subplots()
        for number, (name, points) in enumerate(lines.items()):
            xs, ys = zip(*points, strict=True)
            marker = "o" if len(points) < 40 else None
            colour = _COLOURS[number % len(_COLOURS)]
            style = "-" if number < len(_COLOURS) else "--"
            width = 2.2 if number == 0 and len(lines) > 1 else 1.4
            axes.plot(xs, ys, style, color=colour, linewidth=width, marker=marker, markersize=3, label=_short(name))
        axes.set_xlabel(x_label)
        if log:
            axes.set_yscale("log")
        if len(lines) > 1:
            figure.legend(loc="outside lower center", ncols=3, fontsize=8)
        return _svg(figure)


def pck_chart(curves: Mapping[str, Array]) -> str:
    """Share of keypoints within a distance, for each group of keypoints."""
    lines = {name: list(zip(PCK_THRESHOLDS * 100, 100 * curve, strict=True)) for name, curve in curves.items()}
    return line_chart(lines, "distance, % of the box's longer side")


def histogram(values: Array, x_label: str) -> str:
    """Number of values in twenty steps from 0 to 1."""
    from matplotlib.ticker import MaxNLocator

    with _figure(2.2) as figure:
        axes = figure.subplots()
        axes.hist(values, bins=20, range=(0, 1), color=_COLOURS[0], rwidth=0.9)
        axes.set_xlabel(x_label)
        axes.set_ylabel("people")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(visible=False, axis="x")
        return _svg(figure)


def keypoint_chart(names: Sequence[str], aps: Sequence[float], errors: Sequence[ErrorSummary]) -> str:
    """AP and error of every keypoint, side by side.

    Args:
        aps: -1 for keypoints without labels.
    """
    with _figure(0.7 + 0.21 * len(names)) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        rows = np.arange(len(names))
        bars = left.barh(rows, np.maximum(aps, 0), color=_COLOURS[0], height=0.7)
        left.bar_label(bars, ["no labels" if ap < 0 else f"{ap:.2f}" for ap in aps], padding=2, fontsize=7)
        left.set_yticks(rows, [_short(name) for name in names])
        left.set_xlim(0, 1.2)
        left.set_xticks([0, 0.5, 1])
        left.set_title("AP of the keypoint alone", fontsize=8.5)
        medians, tails = (np.array([getattr(one, key) for one in errors]) * 100 for key in ("median", "p90"))
        limit = max([1.0, *(value for value in (*medians, *tails) if np.isfinite(value))]) * 1.05
        medians, tails = (np.nan_to_num(values, nan=0.0, posinf=limit) for values in (medians, tails))
        right.barh(rows, tails, color=_COLOURS[1], alpha=0.45, height=0.7)
        right.barh(rows, medians, color=_COLOURS[1], height=0.7)
        right.set_xlim(0, limit)
        right.invert_yaxis()
        right.set_title("error, % of the box", fontsize=8.5)
        for axes in (left, right):
            axes.grid(visible=False, axis="y")
        return _svg(figure)


def describe_pck() -> str:
    """What the reports call PCK."""
    return f"PCK@{PCK_OF_TABLE:g}"


@contextmanager
def _figure(height: float) -> Iterator[Figure]:
    """A figure of some inches with the style of reports, which holds until the block ends."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with warnings.catch_warnings(), mpl.rc_context(_STYLE):
        warnings.filterwarnings("ignore", message="Glyph")  # the browser has other fonts
        yield Figure(figsize=(_WIDTH, height), layout="constrained")


def _svg(figure: Figure) -> str:
    """The figure as an SVG element without metadata."""
    figure.patch.set_visible(False)
    for axes in figure.axes:
        axes.patch.set_visible(False)
        axes.set_axisbelow(True)
    buffer = StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text[text.index("<svg") :], flags=re.S)
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    return text.replace(_INK, "currentColor")


def _short(name: str) -> str:
    name = escaped(name)
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"
