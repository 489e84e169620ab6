"""A static site: the demo page, the npm package, ONNX Runtime and an app file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

from tinypose_torch.checkpoints.errors import CheckpointError
from tinypose_torch.runtime.app import open_app
from tinypose_torch.utils.atomic import replacing
from tinypose_torch.web.package import RUNTIME_FILES, SOURCES, build_package

PAGES = ("index.html", "style.css")
_WORKER = "service_worker.js"


def write_site(app: Path, folder: Path) -> list[Path]:
    """Write the site.

    Args:
        app: An app file in ONNX format.
        folder: Of the site; made if it does not exist. Files of an earlier site are replaced.

    Returns:
        The files.

    Raises:
        CheckpointError: ``app`` is damaged or holds no app for browsers.
        BuildError: See `build_package`.
        OutputError: The folder cannot be written to.
    """
    check_app(app)
    sources = site_files(app)
    for name, source in sources.items():
        with replacing(folder / name, durable=False) as temporary:
            shutil.copyfile(source, temporary)
    with replacing(folder / _WORKER, durable=False) as temporary:
        temporary.write_text(_service_worker(sources), encoding="utf-8")
    return [folder / name for name in (*sources, _WORKER)]


def check_app(app: Path) -> None:
    """Check that browsers can run an app file.

    Raises:
        CheckpointError: They cannot.
    """
    open_app(app, threads=1)
    if app.suffix != ".onnx":
        raise CheckpointError(f"{app}: browsers run ONNX; export the app with --format onnx")


def site_files(app: Path) -> dict[str, Path]:
    """The files that the site is copied from, by their names in it."""
    package = build_package()
    runtime = package / "node_modules/onnxruntime-web/dist"
    return {
        **{name: SOURCES / "site" / name for name in PAGES},
        **{f"tinypose/{file.name}": file for file in sorted((package / "dist").glob("*.js"))},
        **{f"runtime/{name}": runtime / name for name in RUNTIME_FILES},
        "app.onnx": app,
    }


def _service_worker(files: dict[str, Path]) -> str:
    """The service worker with the names of the site's files, and a name of the cache that changes with their content."""
    digest = hashlib.sha256()
    for name, path in files.items():
        digest.update(f"{name}\0".encode() + path.read_bytes())
    text = (SOURCES / "site" / _WORKER).read_text(encoding="utf-8")
    names = json.dumps(["./", *files])
    cache = json.dumps(f"tinypose-{digest.hexdigest()[:16]}")
    return text.replace("const FILES = [];", f"const FILES = {names};").replace(
        'const CACHE = "";', f"const CACHE = {cache};"
    )


def total_size(files: list[Path]) -> int:
    """Bytes of all files."""
    return sum(os.path.getsize(file) for file in files)
