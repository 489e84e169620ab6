"""The options of `tinypose web`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tinypose_torch.utils.arguments import add_overwrite


def add_web(commands: Any) -> None:
    """Add the command to the parser of `tinypose`."""
    parser = commands.add_parser(
        "web",
        help="make and serve a page that finds poses in the browser",
        description="Make a static site in which an app file finds people in the camera's picture, photos and videos, and "
        "serve it on this machine. Pictures stay in the browser. Any host that serves files over HTTPS can serve the site. "
        "Needs npm and, the first time, a network.",
        epilog="Exit status: 0; 1 if the site cannot be written; 2 for a wrong file or argument; 130 after Ctrl-C.",
    )
    add = parser.add_argument
    add("--app", type=Path, required=True, metavar="FILE", help="of tinypose export --frame H W --format onnx")
    add("--output", type=Path, default=Path("site"), metavar="DIR", help="folder of the site (default: %(default)s)")
    add("--port", type=int, default=8000, metavar="N", help="serve here; 0: a free port (default: %(default)s)")
    add("--no-serve", action="store_true", help="write the site and end")
    add_overwrite(parser, "of an earlier site")
