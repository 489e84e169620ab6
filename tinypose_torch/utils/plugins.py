"""Plug-ins: Python files outside the package that register networks, annotation formats and export formats.

The user names files in the environment variable ``TINYPOSE_PLUGINS``, separated by ``:`` (Windows: ``;``). Processes that a
command starts inherit it. Installed packages name a module as an entry point instead::

    [project.entry-points."tinypose_torch.models"]
    my_models = "my_package.models"
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Generic, TypeVar

VARIABLE = "TINYPOSE_PLUGINS"
ENTRY_POINTS = "tinypose_torch.models"
Entry = TypeVar("Entry")
_loaded = False
_failure: PluginError | None = None


class PluginError(ValueError):
    """A file in ``TINYPOSE_PLUGINS`` that cannot be imported."""


class Registry(Generic[Entry]):
    """Entries by name, those of plug-ins included.

    Args:
        kind: What an entry is, for error messages.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry] = {}

    def add(self, name: str, entry: Entry) -> None:
        """Add an entry.

        Raises:
            ValueError: The name is taken.
        """
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is already registered; choose another name")
        self._entries[name] = entry

    def find(self, name: str) -> Entry:
        """The entry of a name.

        Raises:
            ValueError: There is none; the message lists the names.
        """
        load_plugins()
        if name not in self._entries:
            raise ValueError(f"unknown {self.kind} {name!r}; choose one of {', '.join(self._entries)}")
        return self._entries[name]

    def __iter__(self) -> Iterator[Entry]:
        load_plugins()
        return iter(list(self._entries.values()))


def load_plugins() -> None:
    """Import, once, the modules of installed plug-ins and the files that ``TINYPOSE_PLUGINS`` names.

    A warning names an installed plug-in that fails.

    Raises:
        PluginError: A named file is missing or fails; also at every later call.
    """
    global _loaded, _failure
    if _failure is not None:
        raise _failure
    if _loaded:
        return
    _loaded = True  # before the modules are imported, which may call this
    _load_entry_points()
    try:
        for name in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
            _import_file(Path(name))
    except PluginError as error:
        _failure = error
        raise


def _load_entry_points() -> None:
    for point in entry_points(group=ENTRY_POINTS):
        try:
            point.load()
        except Exception as error:
            package = point.dist.name if point.dist is not None else point.value
            reason = (str(error).splitlines() or [""])[0]
            warnings.warn(
                f"plug-in of {package} ({point.name} = {point.value}) is not available: {type(error).__name__}: {reason}",
                stacklevel=4,
            )


def _import_file(path: Path) -> None:
    """Import a file as the module of its name, so that worker processes can import it, too."""
    if path.suffix != ".py" or not path.is_file():
        raise PluginError(f"{VARIABLE}: no Python file {str(path)!r}")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        spec = importlib.util.find_spec(path.stem)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None or not Path(spec.origin).exists() or not path.samefile(spec.origin):
        raise PluginError(f"{VARIABLE}: {path}: another module is called {path.stem!r}; rename the file")
    try:
        importlib.import_module(path.stem)
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == spec.origin]
        if isinstance(error, SyntaxError) and error.filename == spec.origin:
            lines.append(error.lineno)
        where = f", line {lines[-1]}" if lines else ""
        reason = (str(error).splitlines() or [""])[0]
        raise PluginError(f"{VARIABLE}: {path}{where}: {type(error).__name__}: {reason}") from error
