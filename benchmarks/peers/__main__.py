"""Compare this package's files with other runtimes: `python -m benchmarks.peers`.

Prints the tables of `tinypose benchmark` with more rows: torch.compile, OpenVINO, ncnn and Paddle Inference, where
they are installed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.runtimes import peers
from tinypose_torch.cli import benchmark
from tinypose_torch.cli.benchmark_options import add_benchmark_options
from tinypose_torch.timing.backends import BACKENDS
from tinypose_torch.utils.arguments import ArgumentParser, run_program


def build_parser() -> argparse.ArgumentParser:
    """The parser of `python -m benchmarks.peers`."""
    parser = ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_benchmark_options(parser)
    deployed = "folder with PaddleDetection's deployed models, NAME/model.pdmodel or .json (default: no row for Paddle)"
    parser.add_argument("--paddle-model", type=Path, metavar="DIR", help=deployed)
    parser.set_defaults(end_to_end=False, app=None)  # PoseEstimator does not run other runtimes
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        Exit status, see `run_program`.
    """
    return run_program("peers", lambda: _run(build_parser().parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    folder = options.paddle_model
    if folder is not None and not folder.is_dir():
        raise ValueError(f"--paddle-model {folder}; expected a folder of deployed models")
    return benchmark.run(options, BACKENDS | peers(folder))


if __name__ == "__main__":
    sys.exit(main())
