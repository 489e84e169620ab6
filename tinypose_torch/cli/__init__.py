"""The `tinypose` command: the parser, and one module per subcommand."""

from tinypose_torch.cli.parser import build_parser, main

__all__ = ["build_parser", "main"]
