"""`benchmarks/update_pages.py`: the figures of the manual are what its commands print."""

import runpy
import sys

import pytest
from conftest import ROOT

from benchmarks.update_pages import FIGURES, commands_of, main

PAGE = """# Speed

```bash
echo one; echo noise >&2
```

```text
old
```

Prose with `code`.

```bash
echo two | tr o 0
```

```text
```

```bash
exit 3
```

```text
kept
```
"""


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


def test_outputs_replace_what_stood_there(page, capfd):
    assert main([str(page), "--only", "echo"]) == 0
    assert page.read_text() == PAGE.replace("old", "one").replace(
        "two | tr o 0\n```\n\n```text\n", "two | tr o 0\n```\n\n```text\ntw0\n"
    )
    assert "echo one" in capfd.readouterr().err


def test_earlier_outputs_are_kept_if_a_command_fails(page, capsys):
    assert main([str(page)]) == 2
    text = page.read_text()
    assert "```text\none\n```" in text
    assert "```text\nkept\n```" in text
    assert "status 3 of: exit 3" in capsys.readouterr().err


def test_no_such_command(page, capsys):
    assert main([str(page), "--only", "three"]) == 2
    assert "no command with 'three'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["speed", "training"])
def test_every_output_of_the_manual_has_its_command(name):
    path = ROOT / f"docs/benchmarks/{name}.md"
    assert len(commands_of(path)) == path.read_text().count("```text") >= 3
    assert all(match["output"].strip() for match in FIGURES.finditer(path.read_text()))


def test_machine(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["machine.py"])
    runpy.run_path(str(ROOT / "benchmarks/machine.py"), run_name="__main__")
    processor, packages = capsys.readouterr().out.splitlines()
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in processor
    assert "torch " in packages
