"""Output files: their names, and which existing files a command may replace."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tinypose_torch.provenance import is_own_output, printable
from tinypose_torch.video.files import is_video

FilePath = str | os.PathLike[str]
_MAX_NAME = 255  # bytes


def check_outputs(outputs: Iterable[FilePath], inputs: Iterable[FilePath | None] = (), overwrite: bool = False) -> None:
    """Check that the outputs of a command replace no input and no file of another program.

    A file that this program wrote and can write again may be replaced; see `is_own_output`.

    Args:
        outputs: All files that the command is going to write.
        inputs: Files that it reads, and folders of which it reads files; ``None`` is skipped.
        overwrite: Whether other files may be replaced. Inputs never are.

    Raises:
        ValueError: Two outputs are one file; an output is a folder, an input, or a file of another program.
    """
    existing: list[FilePath] = []
    seen: set[str] = set()
    for output in outputs:
        place = os.path.realpath(output)
        if place in seen:
            raise ValueError(f"{output} is the file of two outputs; choose another name for one of them")
        seen.add(place)
        if os.path.exists(output):
            existing.append(output)
    if not existing:
        return
    used = {_identity(file): file for file in _files(inputs)}
    for output in existing:
        if not os.path.isfile(output):
            raise ValueError(f"{output} is {'a folder' if os.path.isdir(output) else 'no regular file'}; name a file")
        if _identity(output) in used:
            raise ValueError(f"{output} would replace the input {used[_identity(output)]}; choose another output")
        if not overwrite and not is_own_output(output):
            raise ValueError(f"{output} exists, and is no earlier result; choose another output, or add --overwrite")


def overlay_paths(folder: Path, sources: Sequence[str]) -> dict[str, Path]:
    """The overlay of every source: an MP4 file for videos and cameras, else PNG; equal names get numbers."""
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    paths = {}
    for source in sources:
        suffix = ".mp4" if is_video(source) else ".png"
        stem = Path(printable(source).replace(":", "_") if is_video(source) else printable(source)).stem
        number = numbers.get(stem + suffix, 1)
        name = _fitting(stem, suffix)
        while name.casefold() in taken:  # file systems may ignore the case
            number += 1
            name = _fitting(stem, f"_{number}{suffix}")
        numbers[stem + suffix] = number
        taken.add(name.casefold())
        paths[source] = folder / name
    return paths


def _fitting(stem: str, end: str) -> str:
    """A file name that is not too long for file systems."""
    return stem.encode()[: _MAX_NAME - len(end)].decode("utf-8", "ignore") + end


def _files(inputs: Iterable[FilePath | None]) -> Iterator[FilePath]:
    """Existing files among the inputs and in their folders."""
    for source in inputs:
        if source is not None and os.path.isdir(source):
            yield from (os.path.join(parent, name) for parent, _, names in os.walk(source) for name in names)
        elif source is not None and os.path.exists(source):
            yield source


def _identity(path: FilePath) -> tuple[int, int]:
    facts = os.stat(path)
    return facts.st_dev, facts.st_ino
