"""Run the commands of pages in docs/benchmarks, and write what they print into the pages.

    WEIGHTS=DIR PHOTOS=DIR python benchmarks/update_pages.py docs/benchmarks/speed.md [--only WORD]

The output of a ```bash block stands in the ```text block behind it. Commands run in the root of the clone, with this
environment's programs. WEIGHTS is a folder with MODEL.pdparams, PHOTOS one with photos of people. The page is written after every
command, so that those that ran are kept if a later one fails.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tinypose_torch.utils.arguments import ArgumentParser, run_program
from tinypose_torch.utils.atomic import replacing

ROOT = Path(__file__).resolve().parent.parent
FIGURES = re.compile(r"(?<=^```bash\n)(?P<command>[^`]*)```\n\n```text\n(?P<output>[^`]*)(?=```$)", re.M)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        Exit status, see `run_program`.
    """
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+", type=Path, metavar="PAGE")
    parser.add_argument("--only", metavar="WORD", help="run the commands that contain WORD (default: all)")
    return run_program("update_pages", lambda: _run(parser.parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    word = options.only or ""
    commands = [(page, command) for page in options.pages for command in commands_of(page) if word in command]
    if not commands:
        raise ValueError(f"no command with {word!r} and a text block behind it in the given pages")
    for page, command in commands:
        print(f"{page}: {command.strip()}", file=sys.stderr, flush=True)
        update(page, command, run_command(command))
    return 0


def commands_of(page: Path) -> list[str]:
    """The commands of a page whose output it shows."""
    return [match["command"] for match in FIGURES.finditer(page.read_text(encoding="utf-8"))]


def run_command(command: str) -> str:
    """What a command prints to its standard output.

    Raises:
        ValueError: It failed.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {
        **os.environ,
        "PATH": path,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    result = subprocess.run(
        ["bash", "-euc", command], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if result.returncode:
        raise ValueError(f"status {result.returncode} of: {command.strip()}")
    return result.stdout.strip("\n")


def update(page: Path, command: str, output: str) -> None:
    """Replace the output of a command in a page."""
    text = page.read_text(encoding="utf-8")
    match = next(match for match in FIGURES.finditer(text) if match["command"] == command)
    with replacing(page) as temporary:
        temporary.write_text(
            f"{text[: match.start('output')]}{output}\n{text[match.end('output') :]}", encoding="utf-8"
        )


if __name__ == "__main__":
    sys.exit(main())
