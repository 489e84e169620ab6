"""Checks of output files before a command starts its work."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tinypose_torch.images import IMAGE_SUFFIXES

FilePath = str | os.PathLike[str]


def check_outputs(
    outputs: Mapping[str, FilePath | None], inputs: Iterable[FilePath | None] = (), images: FilePath | None = None
) -> None:
    """Check that the outputs of a command can be written, and replace none of its inputs.

    Args:
        outputs: Output file of each option, such as ``{"--json": options.json}``; ``None`` where it is not given.
        inputs: Input files, and folders of which every file is an input; ``None`` where not given.
        images: Folder whose images are inputs.

    Raises:
        ValueError: An output is a folder, an input, or the file of another output; or its folder cannot be written to.
    """
    sources = [Path(path) for path in inputs if path is not None]
    option_of: dict[str, str] = {}
    for option, output in outputs.items():
        if output is None:
            continue
        path = Path(output)
        if path.is_dir():
            raise ValueError(f"{option} {path} is a folder; name a file")
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not (folder.is_dir() and os.access(folder, os.W_OK)):
            raise ValueError(f"{option} {path} cannot be written: {folder} is no folder that can be written to")
        other = option_of.setdefault(os.path.realpath(path), option)
        if other != option:
            raise ValueError(f"{other} and {option} name the same file, {path}; name two files")
        if path.exists():  # only then can it be an input
            replaced = next((source for source in _files(sources, images) if path.samefile(source)), None)
            if replaced is not None:
                raise ValueError(f"{option} {path} would replace an input, {replaced}; name another file")


def _files(sources: Iterable[Path], images: FilePath | None) -> Iterator[Path]:
    """Existing input files."""
    for source in sources:
        yield from filter(Path.exists, source.rglob("*") if source.is_dir() else [source])
    if images is not None:
        yield from (path for path in Path(images).rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.exists())
