"""Draw docs/images/data_flow.svg, the picture of docs/explanation/design.md.

python docs/draw_data_flow.py [FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

PICTURE = Path(__file__).parent / "images/data_flow.svg"
FILE, CODE, NETWORK = "#dfe7f1", "#ffffff", "#fbe3d3"
EDGE = "#333333"
WIDTH, HEIGHT = 2.0, 0.9
# Name: column, row, text, fill. Italics name the folder in which the step is.
BOXES = {
    "checkpoint": (0, 3, "weight file\n.pdparams, .safetensors", FILE),
    "read": (1, 3, "read, check, rename\ncheckpoints/", CODE),
    "network": (2, 3, "network + config\nmodels/", NETWORK),
    "export": (3, 3, "rewrite, lower\nexport/", CODE),
    "program": (4, 3, "exported file\n.pte, .onnx, .torchscript", FILE),
    "annotations": (0, 2, "annotations, images\nCOCO, MPII", FILE),
    "samples": (1, 2, "samples, augmentation\ndata/", CODE),
    "train": (2, 2, "losses, optimiser\ntrain/, losses/", CODE),
    "runtime": (3, 2, "run eager or exported\nruntime/", NETWORK),
    "app": (4, 2, "app\ndeploy/", CODE),
    "image": (0, 1, "image or frame\nvideo/", FILE),
    "detect": (1, 1, "resize, detect, NMS\nestimators/, geometry/", CODE),
    "crop": (2, 1, "crop each person\ngeometry/", CODE),
    "pose": (3, 1, "heatmaps to keypoints\ncodecs/", CODE),
    "poses": (4, 1, "poses in pixels\nestimators/", FILE),
    "evaluate": (3, 0, "AP, PCKh, MOTA\nevaluation/", CODE),
    "track": (4, 0, "track, smooth, draw\ntracking/", CODE),
}
ARROWS = [
    *("checkpoint>read", "read>network", "network>export", "export>program", "program>app"),
    *("annotations>samples", "samples>train", "train>network", "network>runtime", "program>runtime"),
    *("image>detect", "detect>crop", "crop>pose", "pose>poses", "runtime>pose", "runtime>detect"),
    *("poses>track", "poses>evaluate"),
]


def main() -> None:
    """Draw and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=PICTURE, help="default: %(default)s")
    file = parser.parse_args().file
    mpl.rcParams.update({"svg.hashsalt": "tinypose-torch", "font.size": 9})
    figure, axes = plt.subplots(figsize=(10.8, 5.0), facecolor="white")
    axes.set(xlim=(-0.2, 12.6), ylim=(-0.2, 5.6))
    axes.axis("off")
    for column, row, text, fill in BOXES.values():
        _draw_box(axes, *_corner(column, row), text, fill)
    for arrow in ARROWS:
        _draw_arrow(axes, *arrow.split(">"))
    figure.tight_layout(pad=0.2)
    figure.savefig(file, metadata={"Date": None})


def _corner(column: int, row: int) -> tuple[float, float]:
    return 2.55 * column, 1.45 * row


def _draw_box(axes: Axes, x: float, y: float, text: str, fill: str) -> None:
    axes.add_patch(FancyBboxPatch((x, y), WIDTH, HEIGHT, "round,pad=0.04", facecolor=fill, edgecolor=EDGE))
    first, second = text.split("\n")
    axes.text(x + WIDTH / 2, y + 0.61, first, ha="center", va="center", color="black")
    axes.text(x + WIDTH / 2, y + 0.27, second, ha="center", va="center", color="#444444", style="italic", size=8)


def _draw_arrow(axes: Axes, start: str, end: str) -> None:
    """From the side of one box to the nearest side of the other."""
    (column, row), (to_column, to_row) = BOXES[start][:2], BOXES[end][:2]
    (x, y), (to_x, to_y) = _corner(column, row), _corner(to_column, to_row)
    if row == to_row:
        points = (x + WIDTH + 0.05, y + HEIGHT / 2), (to_x - 0.05, to_y + HEIGHT / 2)
    else:
        up = to_row > row
        lean = 0.6 * (to_column > column) - 0.6 * (to_column < column)
        points = (
            (x + WIDTH * (0.5 + 0.5 * lean), y + HEIGHT + 0.05 if up else y - 0.05),
            (to_x + WIDTH * (0.5 - 0.5 * lean), to_y - 0.05 if up else to_y + HEIGHT + 0.05),
        )
    arrow = {"arrowstyle": "-|>", "color": EDGE, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=points[1], xytext=points[0], arrowprops=arrow)


if __name__ == "__main__":
    main()
