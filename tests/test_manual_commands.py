"""The commands of README, manual and notebooks run, one page after the other, with the demo weights.

The pages run in this process, which imports PyTorch once. `test_tutorial.py` runs the longest tutorial in processes.
"""

import json
import re
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from manual import NOTEBOOKS, PAGES, TUTORIALS, blocks, execute, make_example, official_weights, run_cells, words_of
from PIL import Image

from tinypose_torch import factory
from tinypose_torch.export import cache
from train.synthetic.__main__ import write_dataset

pytest.importorskip("lightning")
# A run of the guides is cut to one step; those of the tutorials and notebooks are whole.
SHORT_RUN = "max_steps=1 batch_size=2 devices=1 accelerator=cpu data.workers=0 optimisation.warmup_steps=0"

OUTPUTS = ("--output", "--json", "--predictions")


def commands_of(page):
    """Those that are neither marked nor executed for an earlier page."""
    own = [line for block in blocks(page) if block.language == "bash" and not block.why for line in block.commands()]
    earlier = [line for other in PAGES[: PAGES.index(page)] for line in executed_words(other)]
    return [line for line in dict.fromkeys(own) if words_without_launcher(line) not in earlier]


def executed_words(page):
    for block in blocks(page):
        if block.language == "bash" and not block.why:
            yield from (words_without_launcher(line) for line in block.commands())


def words_without_launcher(line):
    words = words_of(line)
    return words[1:] if words[:1] == ["run.py"] else words


GUIDES = [page for page in PAGES if page not in TUTORIALS and commands_of(page)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder with the weights of the clone, in which the page is followed."""
    for name in ("weights", "run.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "official").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TINYPOSE_BACKEND", "auto")
    for module in (cache, factory):
        monkeypatch.setattr(module, "fetch_pretrained", official_weights(tmp_path / "official"))
    return tmp_path


def printed_by(lines, capsys):
    """What each command printed; all must succeed."""
    outputs = {}
    for line in lines:
        assert execute(line) == 0, f"{line}\n{capsys.readouterr().err}"
        outputs[line] = capsys.readouterr().out
    return outputs


@pytest.mark.slow
@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_guide(page, folder, request, capsys):
    write_dataset(folder, 10, 3, {"size": (240, 320), "people_count": 1, "heights": (0.5, 0.8)}, workers=1)
    shutil.copy("train.json", "boxes.json")
    shutil.copytree("images", "photos")
    lines = [f"{line} {SHORT_RUN}" if "-m train " in line else line for line in commands_of(page)]
    for line in lines:
        words = words_of(line)
        for before, word in pairwise(words):
            if before not in OUTPUTS:
                make_example(word.partition("=")[2] or word, request)
    printed_by(lines, capsys)


@pytest.mark.slow
def test_first_poses(folder, request, capsys):
    """The demo's export finds the same people and keypoints, and overlays and JSON are written."""
    pytest.importorskip("executorch")
    make_example("photo.jpg", request)
    outputs = printed_by(commands_of(TUTORIALS[0]), capsys)
    demo = next(text for line, text in outputs.items() if "train.demo" in line)
    found = [
        re.findall(rf"{name}: (\d+) of (\d+) people and (\d+) of (\d+)", demo) for name in ("PyTorch", "ExecuTorch")
    ]
    assert found[0] == found[1]
    people, drawn, right, visible = map(int, found[0][0])
    assert people >= 0.8 * drawn > 0
    assert right >= 0.8 * visible > 0
    assert float(re.findall(r"the two agree within ([0-9.]+) pixel", demo)[0]) < 0.01
    assert Path("output/demo.pte").stat().st_size > 1_000_000
    assert Image.open("overlays/000000.png").size == (640, 480)
    assert all(record["poses"] for record in json.loads(Path("poses.json").read_text()))


@pytest.mark.slow
def test_your_detector(folder, capsys):
    """Training improves the detector, and its exported file finds people."""
    pytest.importorskip("executorch")
    outputs = printed_by(commands_of(TUTORIALS[1]), capsys)
    before, after = (box_accuracy(text) for line, text in outputs.items() if " evaluate " in line)
    assert after > before + 0.03
    prediction = next(text for line, text in outputs.items() if " predict " in line)
    assert re.search(r"000009.jpg: [1-9]\d* people -> overlays/000009.png", prediction)


def box_accuracy(printed):
    """AP of the table that `tinypose evaluate` prints."""
    return float(printed.splitlines()[3].split()[0])


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_notebook(notebook, folder, monkeypatch, capsys):
    """The cells run in order, and their last pictures show people with poses."""
    (folder / "notebooks").mkdir()
    monkeypatch.chdir(folder / "notebooks")
    poses = run_cells(notebook)["poses"]
    assert len(poses) > 0
    assert np.isfinite(poses.keypoints).all()


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_notebook_is_stripped(notebook):
    """Without outputs, which would change with every run."""
    content = json.loads(notebook.read_text())
    assert content["nbformat"] == 4
    codes = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert len(codes) > 3
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in codes)
