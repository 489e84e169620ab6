"""Counts of the instructions that one inference executes on an emulated core."""

from __future__ import annotations

import bisect
import functools
import os
import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

from benchmarks.arm.cycles import block_cycles
from benchmarks.arm.instructions import bytes_moved, disassemble, instruction_class, multiplications
from benchmarks.arm.toolchain import CORES, Toolchain

_PRICED_SHARE = 0.99  # of the instructions; pricing all takes minutes


@dataclass(frozen=True)
class Block:
    """Consecutive instructions that ran together.

    Attributes:
        address: In the emulated process.
        times: How often it ran in the inference.
        words: The instructions, eight hexadecimal digits each.
    """

    address: int
    times: int
    words: tuple[str, ...]


@dataclass
class Cost:
    """What an inference, or a part of it, costs.

    Attributes:
        classes: Executed instructions by class.
        loaded, stored: Bytes.
        multiply_adds: By FMLA and dot products.
        cycles: Estimated by llvm-mca.
    """

    classes: Counter[str] = field(default_factory=Counter)
    loaded: int = 0
    stored: int = 0
    multiply_adds: int = 0
    cycles: float = 0.0

    @property
    def instructions(self) -> int:
        """Executed instructions of all classes."""
        return self.classes.total()

    def add(self, texts: Sequence[str], times: int, cycles: float) -> None:
        """Add a block that ran so often, with the cycles of one execution."""
        for text in texts:
            kind = instruction_class(text)
            self.classes[kind] += times
            self.multiply_adds += times * multiplications(text)
            moved = times * bytes_moved(text)
            self.loaded += moved if kind == "load" else 0
            self.stored += moved if kind == "store" else 0
        self.cycles += times * cycles


@dataclass
class Measurement:
    """An inference on one core.

    Attributes:
        total: Of the whole process.
        libraries: By file name.
        kernels: By library and offset of the function in it.
        heap: Bytes allocated after two inferences: weights, activations, workspace.
        checksum: Sum of the outputs.
    """

    total: Cost
    libraries: dict[str, Cost]
    kernels: dict[str, Cost]
    heap: int
    checksum: float


class EmulationError(RuntimeError):
    """A program that failed under emulation."""


def run_blocks(command: Sequence[str | Path], core: str, tools: Toolchain) -> tuple[list[Block], Path, int, float]:
    """Run a program that marks two inferences; its blocks, its memory map, heap and checksum.

    Args:
        command: Program and arguments; the path of a memory map to write is added.
        core: A key of `CORES`.

    Raises:
        EmulationError: The program failed, or its two inferences executed different numbers of instructions.
    """
    dump, maps = tools.folder / "count.txt", tools.folder / "maps.txt"
    emulate = ["qemu-aarch64", "-cpu", CORES[core].emulated, "-L", tools.root(core), "-plugin"]
    emulate += [f"{tools.plugin},out={dump}", "-E", f"LD_LIBRARY_PATH={tools.libraries}"]
    done = subprocess.run([*emulate, *command, maps], capture_output=True, text=True, check=False)
    if done.returncode:
        raise EmulationError(f"{command[0]} failed with status {done.returncode}: {done.stderr.strip()[-300:]}")
    heap, checksum = done.stdout.split()
    counts = dump.read_text().split("count\n")[1:]
    return [_block(line) for line in counts[-1].splitlines()], maps, int(heap), float(checksum)


def _block(line: str) -> Block:
    address, times, *words = line.split()
    return Block(int(address, 16), int(times), tuple(words))


def measure(command: Sequence[str | Path], core: str, tools: Toolchain, with_cycles: bool = True) -> Measurement:
    """Cost of the last inference that a program marks; see `run_blocks`."""
    blocks, maps, heap, checksum = run_blocks(command, core, tools)
    texts = disassemble((word for block in blocks for word in block.words), tools.assembler)
    cycles = _cycles(blocks, texts, core, tools) if with_cycles else {}
    measured = Measurement(Cost(), {}, {}, heap, checksum)
    places = _Places(maps.read_text())
    for block in blocks:
        library, kernel = places.find(block.address)
        costs = (measured.total, measured.libraries.setdefault(library, Cost()))
        for cost in (*costs, measured.kernels.setdefault(kernel, Cost())):
            cost.add([texts[word] for word in block.words], block.times, cycles.get(block.words, 0.0))
    return measured


def _cycles(
    blocks: Sequence[Block], texts: dict[str, str], core: str, tools: Toolchain
) -> dict[tuple[str, ...], float]:
    """Cycles of each block by its instructions; the rarest are taken to be as fast as the others in the mean."""
    work: Counter[tuple[str, ...]] = Counter()
    for block in blocks:
        work[block.words] += block.times * len(block.words)
    kinds = [words for words, _ in work.most_common()]
    shares = accumulate(work[words] / work.total() for words in kinds)
    hot = kinds[: next(index for index, share in enumerate(shares, 1) if share >= _PRICED_SHARE)]
    listed = [tuple(texts[word] for word in words) for words in hot]
    cycles = dict(zip(hot, block_cycles(listed, CORES[core].priced, tools.analyser), strict=True))
    executed = sum(work[words] for words in hot)
    mean = sum(work[words] / len(words) * cycles[words] for words in hot) / executed
    return {words: cycles.get(words, mean * len(words)) for words in kinds}


class _Places:
    """Libraries and functions of a process, by address."""

    def __init__(self, maps: str) -> None:
        found = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) \S+ \d+ +(/\S+)", maps, re.M)
        self._ranges = [(int(low, 16), int(high, 16), int(offset, 16), path) for low, high, offset, path in found]

    def find(self, address: int) -> tuple[str, str]:
        """Name of the library, and of the function as library and offset."""
        for low, high, offset, path in self._ranges:
            if low <= address < high:
                return self._function(path, address - low + offset)
        return "unknown", "unknown"

    def _function(self, path: str, offset: int) -> tuple[str, str]:
        name = os.path.basename(path)
        starts = _function_starts(path)
        index = bisect.bisect_right(starts, offset) - 1
        return name, f"{name}+{starts[index] if index >= 0 else 0:x}"


@functools.cache
def _function_starts(path: str) -> list[int]:
    """Offsets of a library's functions, from its unwind tables: kernels have no exported names."""
    command = ["aarch64-linux-gnu-readelf", "--debug-dump=frames", path]
    frames = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return sorted({int(start, 16) for start in re.findall(r"pc=([0-9a-f]+)\.\.", frames)})
