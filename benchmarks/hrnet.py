"""HRNet-w32 against timm's own features of the same network: `python benchmarks/hrnet.py`.

Both are eager, on the same input, in one interleaved run. timm's features are those of all four branches; the pose
network needs only the finest, and has a 1x1 convolution on it.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import timm
import torch
from tqdm import trange

from tinypose_torch import create_model
from tinypose_torch.utils.table import format_table

NAME = "hrnet_w32_256x192"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    networks = {
        NAME: create_model(NAME),
        "timm features": timm.create_model("hrnet_w32", features_only=True, feature_location="").eval(),
    }
    x = torch.randn(1, 3, 256, 192)
    times: dict[str, list[float]] = {name: [] for name in networks}
    with torch.inference_mode():
        for number in trange(options.rounds + 2, unit="round", disable=None):
            for name, network in networks.items():
                started = time.perf_counter()
                network(x)
                if number >= 2:
                    times[name].append(1e3 * (time.perf_counter() - started))
    medians = {name: median(values) for name, values in times.items()}
    rows = [(name, f"{value:.1f}", f"{value / medians['timm features']:.2f}") for name, value in medians.items()]
    print(format_table(("network", "median ms", "ratio"), rows, right=(1, 2)))


if __name__ == "__main__":
    main()
