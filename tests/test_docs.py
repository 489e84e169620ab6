"""The Python blocks of README and manual run as they stand, and their commands have arguments that exist.

`test_manual_commands.py` executes the commands. A block that the tests cannot execute follows an HTML comment in the
page, ``<!-- not executed: needs ... -->``.
"""

import argparse
import ast
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from manual import FENCE, NOTEBOOKS, PAGES, TUTORIALS, blocks, cells, make_example, official_weights, words_of

import tinypose_torch.factory
from tinypose_torch import cli, list_models
from tinypose_torch.data.formats import registry as annotation_formats
from tinypose_torch.models import registry
from tinypose_torch.runtime import formats as export_formats
from tinypose_torch.utils.addresses import is_address
from train.config import load_config


def python_blocks():
    for page in PAGES:
        yield from (pytest.param(b.text, id=str(b)) for b in blocks(page) if b.language == "python" and not b.why)


@pytest.mark.parametrize("block", list(python_blocks()))
def test_python_blocks(block, request, tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.setattr(
        tinypose_torch.factory, "fetch_pretrained", official_weights(tmp_path_factory.mktemp("official"))
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_CONFIGS", dict(registry.model_configs()))  # blocks may register models and formats
    for formats in (annotation_formats._FORMATS, export_formats._FORMATS):
        monkeypatch.setattr(formats, "_entries", dict(formats._entries))
    tree = ast.parse(block)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            make_example(node.value, request)
    exec(compile(tree, "block", "exec"), {"__name__": "__main__"})


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
    """Every command line of pages and notebooks; of printed output, too, which names commands that follow."""
    for page in PAGES:
        for block in blocks(page):
            if block.language in ("", "bash"):
                yield from ((f"{page.relative_to(ROOT)}", line) for line in block.commands())
    for notebook in NOTEBOOKS:
        for source in cells(notebook):
            yield from ((notebook.name, line) for line in re.findall(r"^!(.+)$", source, re.M))


def parsed_commands():
    for name, line in commands():
        words = words_of(line)
        if words:
            yield pytest.param(words, id=f"{name}: {' '.join(words)[:60]}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_executed_or_marked(page):
    """Commands stand in bash blocks, of which `test_manual_commands.py` executes those without a mark."""
    indented = re.findall(r"^ {4}.+$", FENCE.sub("", page.read_text()), re.M)
    hidden = [line for line in indented if words_of(line)]
    hidden += [block.text for block in blocks(page) if not block.language and words_of(block.text.split("\n")[0])]
    assert not hidden, "commands outside of bash blocks"
    for block in blocks(page):
        if block.language in ("bash", "python") and block.why is not None:
            assert re.match(r"needs |a benchmark", block.why), f"{block}: {block.why}"
        elif block.language == "bash" and page not in TUTORIALS:
            others = [line for line in block.commands() if not words_of(line)]
            assert not others, f"{block}: not this project's commands, so mark the block as not executed"


class ParsedError(Exception):
    """Carries what a parser made of its arguments, in place of what would follow."""


@pytest.fixture
def parsed_only(monkeypatch):
    for name in ("parse_args", "parse_intermixed_args"):
        parse = getattr(argparse.ArgumentParser, name)

        def stop(parser, arguments=None, namespace=None, parse=parse):
            raise ParsedError(parse(parser, arguments, namespace))

        monkeypatch.setattr(argparse.ArgumentParser, name, stop)


@pytest.mark.parametrize("words", list(parsed_commands()))
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
    commands = [line for block in blocks(ROOT / "docs/guides/phone.md") for line in block.commands()]
    lines = [words for line in commands for words in re.findall(r"build(?:-arm)?/tinypose (.+)$", line)]
    assert lines
    assert {word for line in lines for word in line.split() if word.startswith("--")} <= known


def test_functions_of_the_c_interface():
    """Those of the header are in the table of the page about it."""
    header = (ROOT / "deploy/cpp/include/tinypose.h").read_text()
    page = (ROOT / "docs/guides/phone.md").read_text()
    functions = re.findall(r"^[\w *]+?\b(tinypose_\w+)\(", header, re.M)
    assert set(re.findall(r"^\| `(tinypose_\w+)`", page, re.M)) == set(functions)


def test_links_between_pages():
    for page in PAGES:
        for path, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", page.read_text()):
            target = page.parent / path if path else page
            assert target.exists(), f"{page.name}: {path}"
            assert not anchor or anchor in anchors(target), f"{page.name}: {path}#{anchor}"


def anchors(page):
    """Of its headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_fits_on_two_screens():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 90
    assert [line[:2] for line in lines if line][:3] == ["# ", "![", "!["], "pictures come before words"


def test_picture_of_the_data_flow_names_folders_that_exist():
    source = (ROOT / "docs/draw_data_flow.py").read_text().replace("\\n", " ")
    names = re.findall(r"(\w+)/", source.split("BOXES = {")[1].split("}")[0])
    assert len(names) > 10
    assert all((ROOT / "tinypose_torch" / name).is_dir() or (ROOT / name).is_dir() for name in names)
