"""The `tinypose` command: its arguments. Torch is imported only once they are known to be right."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from typing import Any

import tinypose_torch
from tinypose_torch.cli.addresses import fetch_addresses
from tinypose_torch.cli.annotation_options import add_annotation_commands
from tinypose_torch.cli.batch_options import add_batch
from tinypose_torch.cli.benchmark_options import add_benchmark
from tinypose_torch.cli.evaluate_options import add_evaluate
from tinypose_torch.cli.export_options import add_export
from tinypose_torch.cli.network_options import add_boxes, add_networks, add_runtime
from tinypose_torch.cli.web_options import add_web
from tinypose_torch.utils import defaults
from tinypose_torch.utils.arguments import ArgumentParser, add_overwrite, run_program

_BACKEND = (
    "what runs the networks: auto, eager, torchscript, executorch, onnx, or a plug-in's export format (default: "
    "$TINYPOSE_BACKEND, or auto: on the CPU ExecuTorch, if it is installed and the networks were exported before, or "
    "there are 1000 photos and frames or more, for which they are exported once; else eager, which is PyTorch)"
)
_THREADS = (
    "inference threads (default: the backend's own; for exported files in videos half as many as there are cores)"
)


class _PrintVersion(argparse.Action):
    """Reads the version only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(f"tinypose-torch {tinypose_torch.__version__}")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """The parser of `tinypose` and its subcommands."""
    parser = ArgumentParser(
        prog="tinypose", description="PP-TinyPose in PyTorch: find people's poses in photos and videos."
    )
    parser.add_argument("--version", action=_PrintVersion, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.type = str  # the words after it are checked by the command's own parser
    _add_predict(commands)
    _add_models(commands)
    add_evaluate(commands)
    add_export(commands)
    add_annotation_commands(commands)
    add_batch(commands)
    add_benchmark(commands)
    add_web(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 if some inputs failed; 2 for wrong arguments, models or weights; 130 and 141: see `run_program`.
    """
    return run_program("tinypose", lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    options = build_parser().parse_args(arguments)
    fetch_addresses(options)
    command = importlib.import_module(f"tinypose_torch.cli.{options.command.replace('-', '_')}")
    status: int = command.run(options)
    return status


def _add_predict(commands: Any) -> None:
    parser = commands.add_parser(
        "predict",
        help="find poses in photos and videos",
        description="Find people's poses. Overlays go to --output (PNG, MP4), numbers to --json.",
        epilog="Exit status: 0; 1 if some inputs failed (they are listed) or an output cannot be written; 2 for wrong "
        "arguments or weights.",
    )
    add = parser.add_argument
    add("inputs", type=str, nargs="+", metavar="INPUT", help="image, folder, glob pattern, video, or webcam[:NUMBER]")
    add_networks(parser)
    add("--app", metavar="FILE", help="app file of export --frame, in place of detector and pose network")
    _add_outputs(parser)
    _add_tracking(parser)
    add_boxes(parser)
    add(
        "--resize",
        choices=defaults.RESIZES,
        help="arithmetic of resizes and crops: opencv's, which depends on the machine, or portable, the same bits on every "
        f"machine (default: {defaults.RESIZES[0]})",
    )
    add(
        "--uncertainty",
        action="store_true",
        help="covariances and error radii of keypoints in the JSON, 90 %% ellipses in overlays; the weights of the pose "
        "network need the calibration that evaluate --calibrate writes",
    )
    add_runtime(parser, _BACKEND, _THREADS)


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--output",
        metavar="DIR",
        help=f"folder for overlays (default: {defaults.OUTPUT_FOLDER}; none if only --json is given)",
    )
    add("--json", metavar="FILE", help="write boxes and keypoints here; to a .jsonl file line by line, as they come")
    add_overwrite(parser)
    add(
        "--view",
        type=int,
        nargs="?",
        const=8765,
        metavar="PORT",
        help="show a video or camera in the browser while it runs, at http://127.0.0.1:PORT/ (8765; 0: a free one)",
    )
    add(
        "--keypoint-threshold",
        type=float,
        default=defaults.VISIBLE,
        metavar="S",
        help="minimum score of a keypoint to be drawn (default: %(default)s); the JSON has all",
    )


def _add_tracking(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--track", action="store_true", help="follow the people of a video: ids, and steady keypoints")
    add("--detect-every", type=int, default=1, metavar="N", help="with --track: detect in every Nth frame only")
    add(
        "--smoothing",
        choices=("steady", "paddle", "off"),
        default="steady",
        help="with --track: how keypoints are smoothed; paddle: with PaddleDetection's settings (default: %(default)s)",
    )


def _add_models(commands: Any) -> None:
    parser = commands.add_parser("models", help="list the models", description="The catalogue as a table.")
    parser.add_argument("pattern", nargs="?", default="*", help="names to show, for example 'tinypose*'")
