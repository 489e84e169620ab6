"""Cycles of instruction blocks on a core, estimated by llvm-mca: no cache misses, perfect branch prediction."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence

from benchmarks.arm.instructions import FEATURES

_REPEATS = 20
_BLOCKS_PER_CALL = 64
_PRICED: dict[tuple[str, tuple[str, ...]], float] = {}  # files share most of their blocks


def block_cycles(blocks: Sequence[tuple[str, ...]], core: str, analyser: str) -> list[float]:
    """Cycles of one execution of each block, repeated.

    Args:
        blocks: Texts of their instructions.
        core: llvm's name of the core, such as ``cortex-a55``.
        analyser: Program ``llvm-mca``.
    """
    wanted = [block for block in dict.fromkeys(blocks) if (core, block) not in _PRICED]
    for start in range(0, len(wanted), _BLOCKS_PER_CALL):
        part = wanted[start : start + _BLOCKS_PER_CALL]
        _PRICED.update(zip(((core, block) for block in part), _analyse(part, core, analyser), strict=True))
    return [_PRICED[core, block] for block in blocks]


def _analyse(blocks: Sequence[tuple[str, ...]], core: str, analyser: str) -> list[float]:
    regions = [
        "\n".join([f"// LLVM-MCA-BEGIN {index}", *map(_without_call, block), "// LLVM-MCA-END"])
        for index, block in enumerate(blocks)
    ]
    command = [analyser, "-mtriple=aarch64", f"-mcpu={core}", f"-mattr={FEATURES}", f"-iterations={_REPEATS}", "-json"]
    command += ["-instruction-info=false", "-resource-pressure=false", "-skip-unsupported-instructions=any"]
    done = subprocess.run(command, input="\n".join(regions) + "\n", capture_output=True, text=True, check=False)
    priced = [] if done.returncode else json.loads(done.stdout)["CodeRegions"]
    if len(priced) != len(blocks):
        if len(blocks) == 1:  # nothing in it that llvm-mca can time
            return [float(len(blocks[0]))]
        half = len(blocks) // 2
        return _analyse(blocks[:half], core, analyser) + _analyse(blocks[half:], core, analyser)
    return [region["SummaryView"]["TotalCycles"] / _REPEATS for region in priced]


def _without_call(text: str) -> str:
    """An instruction that llvm-mca can price: it takes calls for 100 cycles and returns for unknown."""
    return "nop" if text.startswith(("bl ", "blr ", "ret")) else text
