"""The pages of the manual: their blocks, the files that these name, and how commands run."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import torch
from conftest import DEMO_WEIGHTS, ROOT, photos_of_people, write_video
from PIL import Image

from tinypose_torch import create_model
from tinypose_torch.cli import main as tinypose

TUTORIALS = [ROOT / f"docs/tutorials/{name}.md" for name in ("first_poses", "your_detector", "your_keypoints")]
PAGES = [
    *TUTORIALS,
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(set((ROOT / "docs").rglob("*.md")) - set(TUTORIALS)),
    ROOT / "weights/README.md",
    ROOT / "deploy/cpp/README.md",
]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FENCE = re.compile(r"^ *```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.M | re.S)
MARK = re.compile(r"<!-- not executed: (?P<why>\S.*?) -->\s*\Z", re.S)
SAME_NETWORK = {
    "tinypose_256x192": "tinypose_128x96",
    "picodet_s_320_lcnet_pedestrian": "picodet_s_192_lcnet_pedestrian",
}


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a page; ``why`` it is not executed, if it is marked so."""

    page: Path
    line: int
    language: str
    text: str
    why: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def commands(self) -> list[str]:
        """Its command lines; those that continue with a backslash are joined."""
        lines = re.sub(r"\\\n\s*", "", self.text).splitlines()
        return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


@functools.cache
def blocks(page: Path) -> tuple[Block, ...]:
    return tuple(_blocks(page))


def _blocks(page: Path) -> Iterator[Block]:
    content = page.read_text()
    for fence in FENCE.finditer(content):
        mark = MARK.search(content, 0, fence.start())
        line = content.count("\n", 0, fence.start("text"))
        yield Block(page, line, fence["language"], fence["text"], mark and mark["why"])


def words_of(line: str) -> list[str]:
    """The words of one of the project's commands, without `python run.py`; [] for other text."""
    line = re.sub(r"\[(--[^]]*)\]", r"\1", line)  # [--option] may be left out
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # prose
        return []
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    if words[:2] in (["python", "run.py"], ["python3", "run.py"]):
        return words[1:]
    if words[:1] not in (["tinypose"], ["python"]):
        return []
    end = next((index for index, word in enumerate(words) if word in (">", "|")), len(words))
    # A variable in place of a value stays; others stand for several words.
    return [word for before, word in pairwise(["", *words[:end]]) if word[:1] != "$" or before.startswith("--")]


def execute(line: str) -> int:
    """Run a command line in this process, so that PyTorch is imported once; returns the exit status."""
    words = words_of(line)
    if words[:1] == ["run.py"]:
        words = words[1:]
    if words[0] == "tinypose":
        return tinypose(words[1:])
    assert words[:2] == ["python", "-m"], f"no command that a test can run: {line}"
    try:
        module = importlib.import_module(f"{words[2]}.__main__")
    except ModuleNotFoundError:
        module = importlib.import_module(words[2])
    return module.main(words[3:])


def save_weights(model: str, path: Path) -> None:
    """As a plain state dict, which says no model's name."""
    torch.save(create_model(model, weights=DEMO_WEIGHTS.get(model)).state_dict(), path)


def official_weights(folder: Path):
    """In place of `fetch_pretrained`: demo weights for the default models, random ones for others."""

    def fetch(entry, tag=None):
        assert tag is None or tag in entry.weights
        path = folder / f"{entry.name}.pt"
        if not path.is_file():
            save_weights(SAME_NETWORK.get(entry.name, entry.name), path)
        return path

    return fetch


def make_example(name: str, request) -> None:
    """The file or folder that a block names, in the working folder."""
    name = name.replace("*", "photo")
    path = Path(name)
    if not re.fullmatch(r"[\w./]+", name) or path.is_absolute() or path.exists() or ".." in path.parts:
        return
    if path.suffix in (".jpg", ".png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_photo(path)  # images are recognised by their contents
    elif path.suffix == ".mp4":
        write_video(path, frames=3)
    elif path.suffix == ".pte":
        shutil.copy(request.getfixturevalue("app_folder") / "app.pte", path)
    elif path.suffix in (".pdparams", ".safetensors", ".pt") and path.parent == Path():
        save_weights("tinypose_128x96", path)  # as are weights
    elif name.endswith("/"):
        path.mkdir(parents=True)
        save_photo(path / "photo.png")


def save_photo(path: Path) -> None:
    """Without the mark of this program's overlays, which folders and patterns skip."""
    Image.fromarray(photos_of_people(1)[0]).save(path, format="PNG")


def cells(notebook: Path) -> list[str]:
    """The source of a notebook's code cells."""
    content = json.loads(notebook.read_text())
    return ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code"]


def run_cells(notebook: Path) -> dict[str, object]:
    """Run the code cells in one namespace, lines that begin with `!` as commands; returns the namespace.

    A kernel would do no more with plain Python, and would make Jupyter a dependency of development.
    """
    namespace: dict[str, object] = {"__name__": "__main__", "_command": _checked_command}
    for number, source in enumerate(cells(notebook)):
        code = re.sub(r"^!(.+)$", lambda line: f"_command({line[1]!r})", source, flags=re.M)
        exec(compile(code, f"{notebook.name}, code cell {number}", "exec"), namespace)
    return namespace


def _checked_command(line: str) -> None:
    status = execute(line)
    assert status == 0, f"{line}: exit status {status}"
