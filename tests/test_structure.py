"""The rules of the code base: short files, documented and typed public names, the field's terms."""

import ast
import functools
import re

from conftest import ROOT

PACKAGES = ("tinypose_torch", "train", "convert")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
MOST_LINES = 300
# Methods that PyTorch, Albumentations and Lightning name and document.
HOOKS = re.compile(
    r"forward|targets|apply(_to_\w+)?|get_params\w*|on_\w+|(training|validation)_step|configure_optimizers"
    r"|(load_)?state_dict|save(_checkpoint)?|log_metrics|name|version"
)
# Words that the field does not use so, but for iscrowd, CrowdPose, contextlib.suppress, the long name of NMS, and the key
# of exported files.
TERMS = re.compile(
    r"\b(whom|nobody|everybody)\b|(?<!is)crowd(?!pose)|the original('s)?\b(?! (image|photo|picture|size|file|frame|order))|suppress",
    re.IGNORECASE,
)
ALLOWED = re.compile(r"\bsuppress\(|contextlib import .*\bsuppress\b|non-maximum suppression|[\"']suppression[\"']")

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path):
    return str(path.relative_to(ROOT))


@functools.cache
def parsed(path):
    return ast.parse(path.read_text())


@functools.cache
def classes():
    return {node.name: node for path in SOURCES for node in ast.walk(parsed(path)) if isinstance(node, ast.ClassDef)}


def is_documented(node, owner):
    """Whether a function, class or method has a docstring, or overrides a method that has one."""
    if ast.get_docstring(node) or owner is None:
        return ast.get_docstring(node) is not None
    bases = [ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in owner.bases]
    own = [classes()[base] for base in bases if base in classes()]
    inherited = [(other, base) for base in own for other in base.body if getattr(other, "name", "") == node.name]
    if any(is_documented(other, base) for other, base in inherited):
        return True
    if any(is_documented(node, base) for base in own):
        return True
    return len(own) < len(bases) and HOOKS.fullmatch(node.name) is not None


def public_definitions(path):
    """Public functions and classes of a module, and the public methods with their classes."""
    for node in parsed(path).body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node, None
            for method in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(method, Definition) and not method.name.startswith("_"):
                    yield method, node


def test_files_are_found():
    assert len(SOURCES) > 100
    assert len(PAGES) > 10
    assert all(path.is_file() for path in PAGES)


def test_files_are_short():
    lengths = {name_of(path): path.read_text().count("\n") for path in SOURCES}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_public_names_are_documented():
    missing = [
        f"{name_of(path)}:{node.lineno} {node.name}"
        for path in SOURCES
        for node, owner in public_definitions(path)
        if not is_documented(node, owner)
    ]
    assert missing == []


def test_public_functions_are_typed():
    missing = [
        f"{name_of(path)}:{node.lineno} {node.name}"
        for path in SOURCES
        for node, _ in public_definitions(path)
        if not isinstance(node, ast.ClassDef) and node.returns is None
    ]
    assert missing == []


def test_terms():
    found = [
        f"{name_of(path)}:{number} {line.strip()}"
        for path in (*SOURCES, *PAGES)
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if TERMS.search(ALLOWED.sub("", line))
    ]
    assert found == []


def test_the_rules_are_enforced(tmp_path):
    """Each of them finds what it forbids."""
    path = tmp_path / "x.py"
    path.write_text('class A:\n    """A."""\n    def f(self): ...\n    def forward(self): ...\ndef g(): ...\n')
    missing = [node.name for node, owner in public_definitions(path) if not is_documented(node, owner)]
    assert missing == ["f", "forward", "g"]
    assert [node.name for node, _ in public_definitions(path) if getattr(node, "returns", 0) is None] == missing
    for text in ("to whom", "a crowd of people", "as in the original.", "suppressed boxes", "Suppression"):
        assert TERMS.search(ALLOWED.sub("", text)), text
    for text in ("iscrowd", "with suppress(OSError):", "non-maximum suppression", "pixels of the original image"):
        assert not TERMS.search(ALLOWED.sub("", text)), text
