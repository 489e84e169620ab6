"""Count what inferences of ExecuTorch files cost on ARM cores, under emulation: `python -m benchmarks.arm FILE.pte`.

Prints executed instructions by class, bytes moved between registers and memory, cycles estimated by llvm-mca, and memory.
Counts are the same on every machine. Cycles assume that nothing misses a cache. The first call builds what it needs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.arm.counting import Cost, Measurement, measure
from benchmarks.arm.instructions import CLASSES
from benchmarks.arm.toolchain import CORES, prepare
from tinypose_torch.checkpoints.cache_folder import cache_dir
from tinypose_torch.utils.arguments import ArgumentParser, add_overwrite, run_program
from tinypose_torch.utils.outputs import check_outputs
from tinypose_torch.utils.table import format_table

_COUNTS = ("instructions", *CLASSES)
_HEADER = ("file", "core", *_COUNTS, "multiply-adds", "MB loaded", "MB stored", "cycles", "heap MB")


def build_parser() -> argparse.ArgumentParser:
    """The parser of `python -m benchmarks.arm`."""
    parser = ArgumentParser(
        prog="python -m benchmarks.arm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help="ExecuTorch files")
    add("--method", default="forward", help="method of the files to run (default: %(default)s)")
    add("--core", nargs="+", choices=CORES, default=list(CORES), help="default: all")
    add("--kernels", type=int, default=0, metavar="N", help="also print the N functions that cost most (default: 0)")
    add("--no-cycles", action="store_true", help="count only, which is faster")
    add("--tools", type=Path, metavar="DIR", help="folder for what is built (default: arm in the cache folder)")
    add("--json", type=Path, metavar="FILE", help="also write the figures to a file")
    add_overwrite(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        Exit status, see `run_program`.
    """
    return run_program("arm", lambda: _run(build_parser().parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    if options.json:
        check_outputs({"--json": options.json}, options.files, overwrite=options.overwrite)
    for file in options.files:
        if not file.is_file():
            raise FileNotFoundError(f"{file} is no file; expected an ExecuTorch file")
    tools = prepare(options.tools or cache_dir() / "arm")
    rows: list[dict[str, Any]] = []
    for file in options.files:
        for core in options.core:
            measured = measure([tools.runner, file, options.method], core, tools, not options.no_cycles)
            rows.append({"file": file.name, "method": options.method, "core": core, **_facts(measured)})
            _print_kernels(measured, options.kernels)
    print(format_table(_HEADER, [_cells(row) for row in rows], right=range(2, len(_HEADER))))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def _facts(measured: Measurement) -> dict[str, Any]:
    total = measured.total
    return {
        "instructions": total.instructions,
        "classes": {name: total.classes[name] for name in CLASSES},
        "libraries": {name: cost.instructions for name, cost in sorted(measured.libraries.items())},
        "multiply_adds": total.multiply_adds,
        "loaded": total.loaded,
        "stored": total.stored,
        "cycles": round(total.cycles),
        "heap": measured.heap,
        "checksum": measured.checksum,
    }


def _cells(row: dict[str, Any]) -> list[str]:
    counts = [row["instructions"], *row["classes"].values(), row["multiply_adds"], row["loaded"], row["stored"]]
    figures = [*counts, row["cycles"], row["heap"]]
    return [row["file"], row["core"], *(f"{figure / 1e6:.2f}" for figure in figures)]


def _print_kernels(measured: Measurement, count: int) -> None:
    """The functions that cost most: cycles, or instructions without cycles."""
    hottest = sorted(measured.kernels.items(), key=lambda item: _order(item[1]), reverse=True)[:count]
    if not hottest:
        return
    rows = []
    for name, cost in hottest:
        share = cost.instructions / measured.total.instructions
        per_instruction = cost.multiply_adds / cost.instructions
        figures = (
            f"{cost.instructions / 1e6:.2f}",
            f"{share:.1%}",
            f"{cost.cycles / 1e6:.2f}",
            f"{per_instruction:.2f}",
        )
        rows.append((name, *figures))
    header = ("function", "M instructions", "share", "M cycles", "multiply-adds per instruction")
    print(format_table(header, rows, right=range(1, 5)), end="\n\n")


def _order(cost: Cost) -> tuple[float, int]:
    return cost.cycles, cost.instructions


if __name__ == "__main__":
    sys.exit(main())
