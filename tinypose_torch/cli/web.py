"""`tinypose web`: a site that runs an app file in browsers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tinypose_torch.utils.outputs import check_outputs
from tinypose_torch.web.server import SiteServer
from tinypose_torch.web.site import check_app, total_size, write_site

_MAX_PORT = 65535


def run(options: argparse.Namespace) -> int:
    """Write the site and serve it."""
    if not 0 <= options.port <= _MAX_PORT:
        raise ValueError(f"--port {options.port}; expected 0 to {_MAX_PORT}")
    _check_output(options)
    check_app(options.app)
    print("building the npm package (only the first time) ...", file=sys.stderr, flush=True)
    files = write_site(options.app, options.output)
    print(f"wrote {options.output} ({len(files)} files, {total_size(files) / 1e6:.1f} MB)", flush=True)
    if not options.no_serve:
        with SiteServer(options.output, options.port) as server:
            print(f"serving {server.address} until Ctrl-C", flush=True)
            server.serve_forever()
    return 0


def _check_output(options: argparse.Namespace) -> None:
    """An existing folder is replaced only if it holds a site."""
    folder = Path(options.output)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--output {folder} is a file; name a folder")
    is_other = folder.is_dir() and any(folder.iterdir()) and not (folder / "service_worker.js").is_file()
    if is_other and not options.overwrite:
        raise ValueError(f"--output {folder} has other files; name another folder, or add --overwrite")
    check_outputs({"--output": folder / "app.onnx"}, [options.app], overwrite=True)
