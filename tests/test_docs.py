"""The Python blocks of README and manual run as they stand, and their commands have arguments that exist.

A Python block that cannot run here follows an HTML comment in the page, ``<!-- not run: REASON -->``.
"""

import argparse
import ast
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import DEMO_WEIGHTS, ROOT, photos_of_people, write_video

import tinypose_torch.factory
from tinypose_torch import cli, create_model, list_models
from tinypose_torch.data.formats import registry as annotation_formats
from tinypose_torch.models import registry
from tinypose_torch.runtime import formats as export_formats
from tinypose_torch.utils.addresses import is_address
from tinypose_torch.utils.images import save_png
from train.config import load_config

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(ROOT / "docs").rglob("*.md"),
    ROOT / "weights/README.md",
    ROOT / "deploy/cpp/README.md",
]
FENCE = re.compile(r"(?P<mark><!-- not run: .+? -->\n+)?^ *```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.M | re.S)


SAME_NETWORK = {
    "tinypose_256x192": "tinypose_128x96",
    "picodet_s_320_lcnet_pedestrian": "picodet_s_192_lcnet_pedestrian",
}


def python_blocks():
    """Page and line of every block, with its text."""
    for page in PAGES:
        content = page.read_text()
        for block in FENCE.finditer(content):
            if block["language"] == "python" and not block["mark"]:
                line = content.count("\n", 0, block.start("text"))
                yield pytest.param(block["text"], id=f"{page.relative_to(ROOT)}:{line}")


@pytest.fixture
def official_weights(tmp_path_factory, monkeypatch):
    """Demo weights instead of downloaded ones for the default models, random ones for others."""
    folder = tmp_path_factory.mktemp("official")

    def fetch(entry, tag=None):
        assert tag is None or tag in entry.weights
        path = folder / f"{entry.name}.pt"
        save_weights(SAME_NETWORK.get(entry.name, entry.name), path)
        return path

    monkeypatch.setattr(tinypose_torch.factory, "fetch_pretrained", fetch)


def save_weights(model, path):
    """As a plain state dict, which says no model's name."""
    torch.save(create_model(model, weights=DEMO_WEIGHTS.get(model)).state_dict(), path)


@pytest.mark.parametrize("block", list(python_blocks()))
def test_python_blocks(block, official_weights, request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_CONFIGS", dict(registry.model_configs()))  # blocks may register models and formats
    for formats in (annotation_formats._FORMATS, export_formats._FORMATS):
        monkeypatch.setattr(formats, "_entries", dict(formats._entries))
    tree = ast.parse(block)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            make_example(node.value, request)
    exec(compile(tree, "block", "exec"), {"__name__": "__main__"})


def make_example(name, request):
    """The file or folder that a block names, in the working folder."""
    path = Path(name)
    if not re.fullmatch(r"[\w./]+", name) or path.exists():
        return
    if path.suffix in (".jpg", ".png"):
        save_png(photos_of_people(1)[0], path)  # images are recognised by their contents
    elif path.suffix == ".mp4":
        write_video(path, frames=3)
    elif path.suffix == ".pte":
        shutil.copy(request.getfixturevalue("app_folder") / "app.pte", path)
    elif path.suffix in (".pdparams", ".safetensors", ".pt"):
        save_weights("tinypose_128x96", path)  # as are weights
    elif name.endswith("/"):
        path.mkdir()
        save_png(photos_of_people(1)[0], path / "photo.png")


def test_command_line_reference_is_current():
    """Run docs/generate_reference.py after a change of options."""
    generator = runpy.run_path(str(ROOT / "docs/generate_reference.py"))
    page, generated = generator["PAGE"].read_text(), generator["command_line_page"]()
    assert page.split() == generated.split()


@pytest.mark.slow
def test_manual_builds(tmp_path):
    """No broken links, and every name of the API reference exists."""
    pytest.importorskip("zensical")
    copy = tmp_path / "project"
    shutil.copytree(ROOT / "docs", copy / "docs")
    shutil.copytree(ROOT / "tinypose_torch", copy / "tinypose_torch")
    shutil.copy(ROOT / "mkdocs.yml", copy)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    built = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    api = (copy / "output/site/reference/api/index.html").read_text()
    assert "tinypose_torch.estimators.pose_estimator.PoseEstimator" in api


def commands():
    """Every command line of a block, indented or fenced, in the pages."""
    for page in PAGES:
        text = re.sub(r"\\\n\s*", "", page.read_text())
        fenced = "\n".join(block["text"] for block in FENCE.finditer(text) if block["language"] in ("", "bash"))
        indented = re.findall(r"^    .+$", FENCE.sub("", text), re.M)
        for line in (*fenced.splitlines(), *indented):
            words = words_of(line)
            if words:
                yield pytest.param(words, id=f"{page.relative_to(ROOT)}: {' '.join(words)[:60]}")


def words_of(line):
    """The arguments of a command of this project, without the way in which it is started; [] for other text."""
    line = re.sub(r"\[(--[^]]*)\]", r"\1", line)  # [--option] may be left out
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # prose
        return []
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    if words[:2] in (["python", "run.py"], ["python3", "run.py"]):
        return words[1:]
    is_ours = words[:1] == ["tinypose"] or (words[:1] == ["python"] and words[1:2] != ["run.py"])
    return [word for word in words if not word.startswith("$")] if is_ours else []


class ParsedError(Exception):
    """Carries what a parser made of its arguments, in place of what would follow."""


@pytest.fixture
def parsed_only(monkeypatch):
    for name in ("parse_args", "parse_intermixed_args"):
        parse = getattr(argparse.ArgumentParser, name)

        def stop(parser, arguments=None, namespace=None, parse=parse):
            raise ParsedError(parse(parser, arguments, namespace))

        monkeypatch.setattr(argparse.ArgumentParser, name, stop)


@pytest.mark.parametrize("words", list(commands()))
def test_commands(words, parsed_only, monkeypatch):
    if words[0] == "run.py":
        words = words[1:]
        if words[0] == "--extras":
            words = words[2:]
        assert not words or shutil.which(words[0], path=str(Path(sys.executable).parent)), f"not in .venv: {words[0]}"
    if words[:1] == ["tinypose"]:
        check_models(parsed(lambda: cli.main(words[1:])))
    elif words[:2] == ["python", "-m"] and words[2] != "http.server":
        monkeypatch.setattr(sys, "argv", words[2:])
        options = parsed(lambda: runpy.run_module(words[2], run_name="__main__", alter_sys=True))
        if words[2] == "train":
            load_config(options.recipe, options.overrides)
    elif words[:1] == ["python"] and words[1] != "-m":
        monkeypatch.setattr(sys, "argv", [str(ROOT / words[1]), *words[2:]])
        parsed(lambda: runpy.run_path(str(ROOT / words[1]), run_name="__main__"))


def parsed(command):
    with pytest.raises(ParsedError) as raised:
        command()
    return raised.value.args[0]


def check_models(options):
    """Models that a command names are in the catalogue."""
    for key in ("detector", "pose", "model", "with_model"):
        name = getattr(options, key, None)
        names = [one for one in (name if isinstance(name, list) else [name]) if not is_address(one)]
        assert set(names) - {None, "NAME", "auto", "none"} <= set(list_models()), names


def test_options_of_the_cpp_program():
    """Those that the pages name are known to its command line."""
    source = (ROOT / "deploy/cpp/src/options.cpp").read_text()
    known = set(re.findall(r"--[a-z-]+", source.split("known{")[1].split("}")[0]))
    text = re.sub(r"\\\n\s*", "", (ROOT / "docs/guides/phone.md").read_text())
    lines = re.findall(r"^    .*build(?:-arm)?/tinypose (.+)$", text, re.M)
    assert len(lines) >= 2
    assert {word for line in lines for word in line.split() if word.startswith("--")} <= known


def test_links_between_pages():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
