"""`python -m convert`: convert PaddleDetection checkpoints to safetensors and verify them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from convert import DEFAULT_FOLDER
from tinypose_torch.utils.arguments import ArgumentParser, add_overwrite, run_program
from tinypose_torch.utils.hints import command_line


def build_parser() -> argparse.ArgumentParser:
    """The parser of `python -m convert`."""
    parser = ArgumentParser(
        prog="python -m convert",
        description="Convert PaddleDetection checkpoints to safetensors, and check them against PaddleDetection.",
        epilog="Exit status: 0; 1 if port and PaddleDetection differ, some models failed, or an output cannot be written; 2 for "
        "wrong arguments or files.",
    )
    add = parser.add_argument
    add("file", nargs="?", type=Path, metavar="FILE", help=".pdparams, or a deployed model (folder, file, .tar, .zip)")
    add(
        "--model",
        metavar="NAME",
        help=f"the model that the checkpoint belongs to; {command_line('tinypose models')} lists them "
        "(default: the model that FILE names)",
    )
    add("--all", action="store_true", help="fetch and convert every published release of every model")
    add(
        "--output",
        metavar="FILE",
        help="what to write (default: weights/MODEL.safetensors); with --all a folder",
    )
    add_overwrite(parser, "converted official weights or receipts")
    add("--num-keypoints", type=int, metavar="K", help="keypoints of a pose checkpoint trained on another skeleton")
    add("--num-classes", type=int, metavar="C", help="classes of a detector trained on other classes")
    add("--verify", action="store_true", help="compare with --paddle-model and --reference, and write a receipt")
    add("--paddle-model", type=Path, metavar="DIR", help="the exported Paddle model, to run on PaddlePaddle")
    add("--reference", type=Path, metavar="DIR", help="recorded activations: manifest.json and io.npz")
    add("--images", type=Path, metavar="DIR", help="photos to run PaddleDetection on (default: seeded noise)")
    add(
        "--receipt", type=Path, default=DEFAULT_FOLDER, metavar="DIR", help="folder for receipts (default: %(default)s)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; see the parser's epilog for the exit status."""
    return run_program("convert", lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    parser = build_parser()
    options = parser.parse_args(arguments)
    _check(parser, options)
    from convert.conversion import convert_all, convert_file  # imports torch

    if options.all:
        return convert_all(Path(options.output or DEFAULT_FOLDER), options.overwrite)
    return convert_file(options)


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.all:
        if options.file or options.model or options.verify:
            parser.error("--all takes no FILE, --model or --verify")
        return
    if options.file is None:
        parser.error("FILE is needed (or --all)")
    if options.verify and not (options.paddle_model or options.reference):
        parser.error("--verify needs --paddle-model or --reference to compare with")
    if (options.paddle_model or options.reference) and not options.verify:
        parser.error("--paddle-model and --reference go with --verify")


if __name__ == "__main__":
    sys.exit(main())
