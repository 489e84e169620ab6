"""Classes of AArch64 instructions, and the bytes that they load and store."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable

FEATURES = "+v8.2a,+fullfp16,+dotprod,+i8mm,+bf16,+sve2,+sme2"
# The first class whose pattern matches the instruction's text.
CLASSES = {
    "FMLA": r"f(n?m)?(mla|mls|madd|msub)",
    "dot product": r"[su]+(dot|mmla) ",
    "load": r"ld(?!add|clr|set)|prfm",
    "store": r"st[rupnlx1-4]",
    "conversion": r"[su]cvtf|fcvt|[su]q?xtn|sq?r?shrn|[su]shll|[su]xtl",
    "branch": r"b |b\.|bl|br |ret|cbn?z|tbn?z",
    "vector": r"\w+ (v\d+\.|\{|[bhsdq]\d)",
    "integer": r"",
}
_WIDTHS = {"b": 1, "h": 2, "s": 4, "d": 8, "q": 16, "w": 4, "x": 8}


def disassemble(words: Iterable[str], assembler: str) -> dict[str, str]:
    """Text of instruction words.

    Args:
        words: Eight hexadecimal digits each.
        assembler: Program ``llvm-mc``.

    Raises:
        ValueError: A word that the assembler does not know.
    """
    words = sorted(set(words))
    lines = "\n".join(" ".join(f"0x{word[i : i + 2]}" for i in (6, 4, 2, 0)) for word in words)
    command = [assembler, "--disassemble", "-triple=aarch64", f"-mattr={FEATURES}"]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    texts = [" ".join(line.partition("//")[0].split()) for line in done.stdout.splitlines()]
    texts = [text for text in texts if text and text != ".text"]
    if len(texts) != len(words):
        raise ValueError(f"{assembler} does not know all instructions: {done.stderr.splitlines()[0]}")
    return dict(zip(words, texts, strict=True))


def instruction_class(text: str) -> str:
    """Class of an instruction, a key of `CLASSES`."""
    return next(name for name, pattern in CLASSES.items() if re.match(pattern, text))


def multiplications(text: str) -> int:
    """Multiplications that are added to a sum: the lanes of FMLA, four times the lanes of a dot product."""
    per_lane = {"FMLA": 1, "dot product": 8 if "mmla" in text else 4}.get(instruction_class(text), 0)
    lanes = re.match(r"\S+ v\d+\.(\d+)", text)
    return per_lane * (int(lanes[1]) if lanes else 1)


def bytes_moved(text: str) -> int:
    """Bytes that an instruction moves between registers and memory."""
    name, _, operands = text.partition(" ")
    if name == "prfm" or instruction_class(text) not in ("load", "store"):
        return 0
    if operands.startswith("{"):
        return _structure_bytes(name, operands)
    register = re.match(r"([bhsdqwx])(?:\d|zr)", operands)
    if register is None:
        return 0
    narrow = re.search(r"s?(b|h|sw)$", name.removeprefix("ld").removeprefix("st").removeprefix("ur").removeprefix("r"))
    width = {"b": 1, "h": 2, "sw": 4}[narrow[1]] if narrow else _WIDTHS[register[1]]
    return width * (2 if name[2:] in ("p", "np", "psw") else 1)


def _structure_bytes(name: str, operands: str) -> int:
    """Of LD1 to LD4 and ST1 to ST4: registers in braces."""
    registers, _, rest = operands.partition("}")
    ends = [int(number) for number in re.findall(r"v(\d+)", registers)]
    count = (ends[1] - ends[0]) % 32 + 1 if "-" in registers else len(ends)
    shape = re.search(r"\.(\d*)([bhsd])", registers)
    assert shape
    one_lane = rest.startswith("[") or name.endswith("r")
    return count * _WIDTHS[shape[2]] * (1 if one_lane else int(shape[1]))
