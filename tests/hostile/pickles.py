"""Attacks on pickles: values that a pickle builds, and whole pickles, each inside an otherwise genuine file."""

import pickletools
from collections.abc import Callable

from .attack import HARMLESS, part
from .dangerous import DANGEROUS
from .pickle_parts import Values, extended, name_of, value
from .pickle_values import arrays, keys, lengths, memory
from .texts import TEXTS

ALLOWED = [
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
    ("builtins", "tuple"),
]


def attacks(genuine: bytes, ignored: object, *, calls: int = 1) -> Values:
    """Pickles that do harm.

    Args:
        genuine: A pickled dict of a genuine file.
        ignored: A key whose value the reader does not look at, so that an attack that gets past the interpreter loads.
        calls: Every which call of a dangerous function is made.
    """
    sources = (
        list(_dangerous_calls())[::calls],
        _opcodes(),
        _allowed_calls(),
        lengths(),
        arrays(),
        memory(),
        keys(),
    )
    for source in sources:
        for intent, opcodes, *outcome in source:
            yield intent, extended(genuine, ignored, opcodes), *outcome
    yield from _whole(genuine)


@part
def _dangerous_calls() -> Values:
    for module, name, arguments in DANGEROUS:
        function, given = name_of(module, name), value(tuple(arguments))
        items = b"".join(map(value, arguments))
        ways = {
            "mentioned": function,
            "called": function + given + b"R",
            "called by a name on the stack": value(module) + value(name) + b"\x93" + given + b"R",
            "called by INST": b"(" + items + b"i" + function[1:],
            "called by OBJ": b"(" + function + items + b"o",
            "built by NEWOBJ": function + given + b"\x81",
            "built by NEWOBJ_EX": function + given + b"}\x92",
            "given a state": function + given + b"b",
            "as an ordered dict's __setstate__": name_of("collections", "OrderedDict")
            + b")R"
            + b"}"
            + value("__setstate__")
            + function
            + b"sb",
            "as a persistent id": function + b"Q",
        }
        for way, opcodes in ways.items():
            yield f"{module}.{name} {way}", opcodes


@part
def _opcodes() -> Values:
    """Every byte where a value belongs: most opcodes find nothing on the stack, or no argument behind them."""
    known = {ord(op.code): op.name for op in pickletools.opcodes}
    for code in range(256):
        byte, name = bytes([code]), known.get(code, f"0x{code:02x}")
        yield f"{name} alone", byte, HARMLESS
        yield f"{name} on a number", b"K\x01" + byte, HARMLESS
        yield f"{name} on two dicts", b"}}" + byte, HARMLESS
        yield f"{name} with 16 zeros behind it", byte + b"\0" * 16
        yield f"{name} with 16 bytes of 255 behind it", byte + b"\xff" * 16
        yield f"{name} with lines behind it", byte + b"0\nos\nsystem\n"


@part
def _allowed_calls() -> Values:
    """Functions that are known, with arguments that they must not take."""
    lists = b"](K\x01K\x02e"
    arguments = {
        "nothing": b")",
        "None": b"N\x85",
        "a number": b"K\x07\x85",
        "a huge number": b"\x8a\x08" + b"\xff" * 7 + b"\x7f\x85",
        "text": value(("x",)),
        "a list": lists + b"\x85",
        "a dict": b"}\x85",
        "itself": b"\x85",
        "a mark": b"(",
        "a list, not a tuple": lists,
        "four values": value((1, "x", None, 2.0))[:-1],
        "numpy.ndarray and a shape": name_of("numpy", "ndarray") + value((1 << 40,)) + b"C\x01b\x87",
        "a code and an encoding": value(("x" * 40, "zlib")),
        "pairs that are none": value(([1, 2],)),
        "colliding pairs": value(([(-1, 1), (-2, 2)],)),
    }
    for module, name in ALLOWED:
        function = name_of(module, name)
        for intent, given in arguments.items():
            call = function + b"2" + given if intent == "itself" else function + given
            yield f"{name} called with {intent}", call + b"R", HARMLESS
        for way, end in {"NEWOBJ": b")\x81", "NEWOBJ_EX": b")}\x92", "BUILD": b"}b", "OBJ": b"o", "INST": b"i"}.items():
            yield f"{name} by {way}", b"(" * (end in (b"o", b"i")) + function + end
        yield f"{name} twice", function + b")R)R"
        yield f"an attribute of {name}", name_of(module, f"{name}.__class__") + b")R"
        yield f"a submodule of {module}", name_of(f"{module}.x", name) + b")R"


@part
def _whole(genuine: bytes) -> Values:
    for protocol in range(256):
        outcome = (HARMLESS,) if 2 <= protocol <= 5 else ()
        yield f"protocol {protocol}", b"\x80" + bytes([protocol]) + genuine[2:], *outcome
    yield "a second protocol inside", genuine[:2] + b"\x80\x00" + genuine[2:]
    yield "no end", genuine[:-1]
    yield "a second pickle behind the first", genuine + b"\x80\x02cos\nsystem\n" + value(("true",)) + b"R.", HARMLESS
    yield "an end at once", b"\x80\x02."
    yield "a mark as the value", b"\x80\x02(."
    for position in range(0, len(genuine) - 1, max(1, len(genuine) // 60)):
        yield f"cut after {position} bytes", genuine[:position]
    for number, position in enumerate(range(0, len(genuine), max(1, len(genuine) // 60))):
        yield (
            f"an end after {position} bytes",
            genuine[:position] + b"." + genuine[position:],
            HARMLESS if number else "",
        )
    for intent, content in {
        "a list": [],
        "text": "x",
        "nothing": None,
        "a number": 1,
        "an empty dict": {},
        "a tuple": (),
    }.items():
        yield f"{intent} instead of a dict", b"\x80\x02" + value(content) + b"."


@part
def with_text_keys(genuine: bytes, make: Callable[[str], bytes]) -> Values:
    """Names that would control a terminal, or fill it, as the names of entries."""
    for intent, text in TEXTS.items():
        yield f"an entry whose name is {intent}", extended(genuine, text, make(text))
