"""The `tinypose` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tinypose_torch.commands import models, predict

EXIT_USAGE = 2


def build_parser() -> argparse.ArgumentParser:
    """The parser of `tinypose` and its subcommands."""
    from tinypose_torch import __version__

    parser = argparse.ArgumentParser(
        prog="tinypose", description="PP-TinyPose in PyTorch: find people's poses in photos and videos."
    )
    parser.add_argument("--version", action="version", version=f"tinypose-torch {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    predict.add_parser(commands)
    models.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 if some inputs failed; 2 for wrong arguments, models or weights.
    """
    options = build_parser().parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, KeyError, OSError) as error:
        print(f"tinypose: error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("tinypose: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
