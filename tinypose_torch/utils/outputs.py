"""Output files: their names, and which existing files a command may replace."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tinypose_torch.utils.images import IMAGE_SUFFIXES
from tinypose_torch.utils.provenance import is_overlay, is_own_output, printable
from tinypose_torch.video.files import is_video

FilePath = str | os.PathLike[str]
_MAX_NAME = 255  # bytes


def check_outputs(
    outputs: Mapping[str, FilePath | None],
    inputs: Iterable[FilePath | None] = (),
    images: FilePath | None = None,
    overwrite: bool = True,
    remedy: str = "name another file, or replace it with --overwrite",
) -> None:
    """Check that the outputs of a command can be written, and replace none of its inputs.

    Args:
        outputs: Output file of each option, such as ``{"--json": options.json}``; ``None`` where it is not given.
        inputs: Input files, and folders of which every file is an input; ``None`` where not given.
        images: Folder whose images are inputs.
        overwrite: Whether existing files that are no earlier results may be replaced; see `is_own_output`.
        remedy: What the error advises about existing files that are no earlier results.

    Raises:
        ValueError: An output is a folder, an input, or the file of another output; its name or folder cannot be written
            to; it exists and may not be replaced.
    """
    existing: dict[str, Path] = {}
    option_of: dict[tuple[str, str], str] = {}
    for option, output in outputs.items():
        if output is None:
            continue
        path = Path(output)
        _check_file(option, output)
        other = option_of.setdefault((os.path.realpath(path.parent), _comparable(path.name)), option)
        if other != option:
            raise ValueError(f"{other} and {option} name the same file, {path}; name two files")
        if os.path.lexists(path):  # only then can it be an input
            existing[option] = path
    used = {_identity(file): file for file in _files(inputs, images)} if existing else {}
    for option, path in existing.items():
        if _identity(path) in used:
            raise ValueError(f"{option} {path} would replace an input, {used[_identity(path)]}; name another file")
        if not overwrite and not is_own_output(path):
            raise ValueError(f"{option} {path} exists and is no earlier result; {remedy}")


def check_output_folder(option: str, folder: FilePath) -> None:
    """Check that a folder of outputs is not a file.

    Raises:
        ValueError: It is one.
    """
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise ValueError(f"{option} {folder} is a file; name a folder")


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
        while _comparable(name) in taken:
            number += 1
            name = _fitting(stem, f"_{number}{suffix}")
        numbers[stem + suffix] = number
        taken.add(_comparable(name))
        paths[source] = folder / name
    return paths


def _check_file(option: str, output: FilePath) -> None:
    """Refuse an output at which no file can be written."""
    path = Path(output)
    if os.path.isdir(path) or os.fspath(output).endswith(("/", os.sep)):
        raise ValueError(f"{option} {output} is a folder; name a file")
    if any(len(os.fsencode(part)) > _MAX_NAME for part in path.parts):
        raise ValueError(f"{option} {output} cannot be written: a name in it has more than {_MAX_NAME} bytes")
    if path.parts[0].startswith("~") and len(path.parts) > 1 and not os.path.exists(path.parts[0]):
        raise ValueError(f"{option} {output}: the shell did not replace {path.parts[0]}; write that folder out")
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:  # a path that is too long, or has a NUL
        raise ValueError(f"{option} {output} cannot be written: {getattr(error, 'strerror', None) or error}") from None
    folder = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    if not (os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)):
        raise ValueError(f"{option} {path} cannot be written: {folder} is no folder that can be written to")
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"{option} {path} is not a regular file; name another file")


def _comparable(name: str) -> str:
    """A file name as file systems compare it that ignore the case, or how letters with accents are written."""
    return unicodedata.normalize("NFC", name).casefold()


def _fitting(stem: str, end: str) -> str:
    """A file name that is not too long for file systems."""
    return stem.encode()[: _MAX_NAME - len(end)].decode("utf-8", "ignore") + end


def _files(inputs: Iterable[FilePath | None], images: FilePath | None) -> Iterator[FilePath]:
    """Existing input files."""
    for source in inputs:
        if source is not None and os.path.isdir(source):
            yield from _files_in(source)
        elif source is not None and os.path.exists(source):
            yield source
    if images is not None:
        files = (file for file in _files_in(images) if os.path.splitext(file)[1].lower() in IMAGE_SUFFIXES)
        yield from (file for file in files if not is_overlay(file))


def _files_in(folder: FilePath) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        yield from filter(os.path.exists, (os.path.join(parent, name) for name in names))


def _identity(path: FilePath) -> tuple[int, int]:
    facts = os.stat(path) if os.path.exists(path) else os.lstat(path)
    return facts.st_dev, facts.st_ino
