"""Deformable convolutions: ours beside torchvision's operator, at the sizes of PP-YOLOv2 and FairMOT.

python -m benchmarks.deformable [--threads N]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torchvision.ops import deform_conv2d

from tinypose_torch.models.deformable import DeformableConv

SIZES = ((512, 20, 20), (64, 152, 272), (128, 76, 136), (256, 38, 68))  # channels, height, width
ROUNDS = 9


def milliseconds(function: Callable[[], object]) -> float:
    """One call."""
    start = time.perf_counter()
    function()
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    """Print a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    print(f"{'channels':>8} {'height':>6} {'width':>6} {'ours, ms':>9} {'torchvision, ms':>15}", flush=True)
    for channels, height, width in SIZES:
        layer = DeformableConv(channels, channels)
        torch.nn.init.normal_(layer.offset.weight, std=0.05)
        x = torch.randn(1, channels, height, width)

        def theirs(layer: DeformableConv = layer, x: torch.Tensor = x) -> torch.Tensor:
            moved = layer.offset(x)
            return deform_conv2d(x, moved[:, :18], layer.conv.weight, padding=1, mask=moved[:, 18:].sigmoid())

        with torch.inference_mode():
            rounds = [(milliseconds(lambda layer=layer, x=x: layer(x)), milliseconds(theirs)) for _ in range(ROUNDS)]
        ours, other = (statistics.median(times) for times in zip(*rounds, strict=True))
        print(f"{channels:8} {height:6} {width:6} {ours:9.1f} {other:15.1f}", flush=True)


if __name__ == "__main__":
    main()
