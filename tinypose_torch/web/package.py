"""The npm package `tinypose` of `deploy/web`, built with npm in the cache folder."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from tinypose_torch.checkpoints.cache_folder import cache_dir, locked_in_cache
from tinypose_torch.utils.messages import escaped

SOURCES = Path(__file__).resolve().parents[2] / "deploy/web"
RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
_SECONDS = 600
_INSTALL = ("install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error")


class BuildError(RuntimeError):
    """The npm package cannot be built."""


def build_package() -> Path:
    """The folder of the built package, with its dependencies; built once for the same sources.

    Raises:
        BuildError: npm is not installed, or failed; the message has its last lines.
        CacheFolderError: The cache folder cannot be written to.
    """
    if not SOURCES.is_dir():
        raise BuildError("the sources of the npm package are part of the repository: run this in a clone")
    folder = cache_dir() / f"web-{_hash_sources()}"
    with locked_in_cache(folder):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
                built = Path(temporary, "package")
                _build(built)
                built.rename(folder)
    return folder


def _hash_sources() -> str:
    digest = hashlib.sha256()
    for file in source_files():
        digest.update(file.relative_to(SOURCES).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def source_files() -> list[Path]:
    """The files of the package that are not made by npm."""
    return [
        *(SOURCES / name for name in ("package.json", "tsconfig.json", "README.md")),
        *sorted((SOURCES / "src").glob("*.ts")),
    ]


def _build(folder: Path) -> None:
    for file in source_files():
        target = folder / file.relative_to(SOURCES)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    npm = shutil.which("npm")
    if npm is None:
        raise BuildError("npm is not installed; install Node.js 18 or newer, which has it")
    try:
        result = subprocess.run(
            [npm, *_INSTALL], cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"npm install took more than {_SECONDS} s; try again with a faster network") from None
    if result.returncode:
        last = " ".join((result.stdout + result.stderr).strip().splitlines()[-3:])
        raise BuildError(f"npm install failed: {escaped(last)}")
