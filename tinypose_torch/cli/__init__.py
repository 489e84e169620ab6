"""The `tinypose` command: the parser, and one module per subcommand."""

from tinypose_torch.cli.parser import EXIT_PIPE, EXIT_USAGE, build_parser, main

__all__ = ["EXIT_PIPE", "EXIT_USAGE", "build_parser", "main"]
