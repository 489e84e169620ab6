"""Checks of output files before a command starts its work."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tinypose_torch.images import IMAGE_SUFFIXES

FilePath = str | os.PathLike[str]


def refuse_inputs(
    outputs: Mapping[str, FilePath | None], inputs: Iterable[FilePath | None] = (), images: FilePath | None = None
) -> None:
    """Check that no output of a command replaces one of its inputs.

    Args:
        outputs: Output file of each option, such as ``{"--json": options.json}``; ``None`` where it is not given.
        inputs: Input files, and folders of which every file is an input; ``None`` where not given.
        images: Folder whose images are inputs.

    Raises:
        ValueError: An output is a folder, an input, or the file of another output.
    """
    sources = [Path(path) for path in inputs if path is not None]
    option_of: dict[str, str] = {}
    for option, output in outputs.items():
        if output is None:
            continue
        path = Path(output)
        if path.is_dir():
            raise ValueError(f"{option} {path} is a folder; name a file")
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
        yield from source.rglob("*") if source.is_dir() else filter(Path.exists, [source])
    if images is not None:
        yield from (path for path in Path(images).rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.exists())
