"""The options of `tinypose benchmark`."""

from __future__ import annotations

import argparse
from typing import Any

from tinypose_torch.utils import defaults
from tinypose_torch.utils.arguments import add_overwrite


def add_benchmark(commands: Any) -> None:
    """Add the command to the parser of `tinypose`."""
    parser = commands.add_parser(
        "benchmark",
        help="compare backends on this machine",
        description="Time the networks in every backend that is installed, side by side in one interleaved run.",
    )
    add_benchmark_options(parser)
    parser.add_argument("--end-to-end", action="store_true", help="also from photo to poses, for 1 and 6 people")
    parser.add_argument(
        "--app",
        metavar="FILE",
        help="time this app file of export --frame instead: all of it, detect and pose, beside the two networks alone in "
        "the same format and beside PoseEstimator; with --images on the photo with the most people",
    )


def add_benchmark_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `tinypose benchmark` and `python -m benchmarks.peers` share."""
    add = parser.add_argument
    add("models", nargs="*", metavar="NAME", help=f"models (default: {' '.join(defaults.BENCHMARK_MODELS)})")
    add(
        "--weights",
        metavar="PATH",
        help="folder with NAME.pdparams or NAME.safetensors, weights of one model, or a release that all of them have "
        "(default: random weights, which are as fast)",
    )
    add("--threads", type=int, nargs="+", default=[1, 2], metavar="N", help="numbers of threads (default: 1 2)")
    add("--rounds", type=int, default=100, metavar="N", help="default: %(default)s")
    add("--backend", nargs="+", metavar="NAME", help="only these, by their names in the table")
    add("--images", metavar="DIR", help="photos to calibrate int8 on (default: int8 is left out)")
    add("--json", metavar="FILE", help="write the figures here")
    add("--plot", metavar="FILE", help="draw them here: .svg, .png or .pdf")
    add_overwrite(parser)
