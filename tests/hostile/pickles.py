"""Attacks on pickles: values that a pickle builds, and whole pickles, each inside an otherwise genuine file."""

import pickle
import pickletools
import struct
from collections.abc import Callable, Iterator

from .attack import HARMLESS, part
from .dangerous import DANGEROUS
from .texts import TEXTS

Values = Iterator[tuple[str, bytes, str] | tuple[str, bytes]]

ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
DTYPE_STATE = b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
ALLOWED = [
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
    ("builtins", "tuple"),
]


def value(content: object) -> bytes:
    """Opcodes that build a value."""
    return pickletools.optimize(pickle.dumps(content, 2))[2:-1]


def name_of(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode("utf-8", "surrogatepass")


def array(
    shape: object, code: object = "f4", raw: bytes = bytes(16), order: str = "<", fortran: bytes = b"\x89"
) -> bytes:
    """An array that declares any shape and dtype for its bytes; ``shape`` may be opcodes."""
    shape = shape if isinstance(shape, bytes) else value(shape)
    data = b"B" + struct.pack("<I", len(raw)) + raw
    return ARRAY + b"(K\x01" + shape + dtype(code, order) + fortran + data + b"tb"


def dtype(code: object, order: object = "<") -> bytes:
    state = DTYPE_STATE.replace(b"U\x01<", value(order))
    return name_of("numpy", "dtype") + b"(" + value(code) + b"K\x00K\x01tR" + state


def extended(genuine: bytes, key: object, opcodes: bytes) -> bytes:
    """A pickled dict with one more entry."""
    assert genuine.endswith(b"u.")
    return genuine[:-2] + value(key) + opcodes + b"u."


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
        _lengths(),
        _arrays(),
        _memory(),
        _keys(),
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
def _lengths() -> Values:
    """Lengths beyond the file, and of what nobody could build."""
    sized = {"X": "<I", "\x8d": "<Q", "B": "<I", "\x8e": "<Q", "T": "<i", "\x8b": "<i", "\x96": "<Q", "\x8a": "<B"}
    sized |= {"U": "<B", "C": "<B", "\x8c": "<B", "\x95": "<Q"}
    numbers = (
        1 << 7,
        255,
        1 << 16,
        1 << 31,
        (1 << 31) - 1,
        (1 << 32) - 1,
        1 << 40,
        1 << 62,
        (1 << 63) - 1,
        (1 << 64) - 1,
    )
    for code, layout in sized.items():
        bits = 8 * struct.calcsize(layout)
        for number in sorted({number % (1 << bits) for number in numbers} - {0}):
            raw = number.to_bytes(bits // 8, "little")
            outcome = (HARMLESS,) if code == "\x95" else ()  # lengths of frames say nothing
            name = pickletools.code2op[code].name
            yield f"{name} of {number} bytes", code.encode("latin-1") + raw + b"N" * bool(outcome), *outcome
    for size in (17, 100, 10_000):
        yield f"an integer of {size} bytes", b"\x8b" + struct.pack("<i", size) + b"\x01" * size
    yield "a line without an end", b"c" + b"a" * 5000
    for raw in (b"\xff\xfe", b"\xc0\x80", b"\xf8\x88\x80\x80\x80"):
        yield f"text of the bytes {raw!r}", b"X" + struct.pack("<I", len(raw)) + raw


@part
def _arrays() -> Values:
    big = 1 << 62
    shapes = [
        (-1,),
        (-4,),
        (4, -1),
        (2, -2),
        (1 << 40,),
        (big, big),
        (big, 4),
        (1 << 32, 1 << 32),
        (0, 1 << 62),
        (5,),
        (3,),
    ]
    shapes += [
        (),
        (1,) * 9 + (4,),
        (4, 0),
        (1.0,),
        (None,),
        (True,),
        ("4",),
        ((4,),),
        (1 << 100,),
        [4],
        None,
        4,
        "4",
        {},
    ]
    for shape in shapes:
        yield f"an array of shape {shape}", array(shape)
        yield f"a Fortran array of shape {shape}", array(shape, fortran=b"\x88")
        yield (
            f"a numpy scalar whose data are {shape}",
            name_of("numpy.core.multiarray", "scalar") + dtype("f4") + value(shape) + b"\x86R",
        )
    codes = [
        "O",
        "O8",
        "V",
        "V4",
        "V999999999",
        "S4",
        "U1",
        "a",
        "c8",
        "c16",
        "M8",
        "m8[s]",
        "f4,f4",
        "(2,3)f4",
        "f",
        "e",
        "g",
    ]
    codes += [
        "f16",
        "f1",
        "f-4",
        "f4 ",
        " f4",
        "<<f4",
        "<>f4",
        "i16",
        "b",
        "?",
        "",
        "4",
        "x" * 1000,
        "float32",
        "object",
    ]
    codes += ["{'names': ['a']}", "f4\0", "F4", "f04", "datetime64", 1, None, ("f4",), ["f4"], {"f4": 1}, b"f4", 4.0]
    for code in codes:
        yield f"an array of dtype {code!r:.40}", array((4,), code)
    for order in ["", "<<", "x", "\0", "<=", "!", "@", None, 1, (), ["<"], {}, "<" * 1000, b"<", "\x1b[2J"]:
        yield (
            f"an array of byte order {order!r:.40}",
            ARRAY + b"(K\x01" + value((4,)) + dtype("f4", order) + b"\x89C\x04abcdtb",
        )
    states = {
        "of one value": b"K\x01\x85",
        "of six values": b"(K\x01K\x01K\x01K\x01K\x01K\x01t",
        "that is a dict": b"}",
    }
    states |= {"that is a list": b"](K\x01e", "without a dtype": b"(K\x01K\x04\x85N\x89C\x04abcdt"}
    states |= {"whose data are text": b"(K\x01" + value((1,)) + dtype("f4") + b"\x89U\x04abcdt"}
    states |= {
        "whose data are a list": b"(K\x01" + value((1,)) + dtype("f4") + b"\x89](K\x01et",
        "that is itself": b"2",
    }
    for intent, state in states.items():
        yield f"an array with a state {intent}", ARRAY + state + b"b"
    yield "an array without a state", ARRAY
    yield (
        "an array with two states",
        array((4,)) + b"(K\x01" + value((4,)) + dtype("f4") + b"\x89C\x10" + bytes(16) + b"tb",
    )
    yield "a dtype with a short state", name_of("numpy", "dtype") + value(("f4", 0, 1)) + b"RK\x03\x85b"


@part
def _memory() -> Values:
    """Small files that ask for much: copies, recursion, and memoised values used again and again."""
    for index in (250_000, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1):
        yield f"a memo index of {index}", b"Nr" + struct.pack("<I", index)
        yield f"an empty place {index} of the memo", b"j" + struct.pack("<I", index)
    for depth in (25, 1000, 100_000):
        for name, opening, closing in (("lists", b"]", b"a"), ("tuples", b"", b"\x85"), ("dicts", b"}K\x00", b"s")):
            yield f"{depth} {name} inside each other", opening * depth + b"N" + closing * depth
    yield "a list that holds itself", b"]q\xf0h\xf0a"
    yield "a dict that holds itself", b"}q\xf0K\x00h\xf0s"
    yield "a tuple in a list that holds the tuple", b"]q\xf0h\xf0\x85q\xf1a"
    for base, levels in ((b"]", 30), (b"]", 200), (b")", 60)):
        shared = b"".join(b"](h\xf0" + b"h\xf0" * 9 + b"eq\xf0" for _ in range(levels))
        yield f"{levels} lists, each ten times in the next one, from {base!r}", base + b"q\xf0" + shared
    for size, times in ((20_000, 2000), (1_000_000, 500)):
        text = b"X" + struct.pack("<I", size) + b"a" * size + b"q\xf0"
        encode = name_of("_codecs", "encode") + b"q\xf1"
        call = b"h\xf1h\xf0" + value("latin1") + b"\x86R"
        yield f"{size} characters encoded {times} times", b"](" + text + encode + call * times + b"e"
        block = b"B" + text[1:]
        view = ARRAY + b"(K\x01" + value((size,)) + b"h\xf2\x89h\xf0tb"
        yield f"{times} arrays over {size} bytes", b"](" + dtype("u1", "|") + b"q\xf2" + block + view * times + b"e"
    items = b"](" + b"K\x01" * 2000 + b"eq\xf1"
    yield (
        "a list copied into 5000 tuples",
        b"](" + name_of("builtins", "tuple") + b"q\xf0" + items + b"h\xf0h\xf1\x85R" * 5000 + b"e",
    )
    pairs = b"](" + b"".join(value(str(number)) + b"K\x01\x86" for number in range(300)) + b"eq\xf1"
    ordered = name_of("collections", "OrderedDict") + b"q\xf0"
    yield "pairs copied into 5000 dicts", b"](" + ordered + pairs + b"h\xf0h\xf1\x85R" * 5000 + b"e"
    yield "more opcodes than are counted", b"](" + b"N" * 260_000 + b"e"
    yield "marks without an end", b"(" * 100_000


@part
def _keys() -> Values:
    keys = {
        "None": b"N",
        "a float": b"G" + struct.pack(">d", 1.5),
        "not a number": b"G\x7f\xf8" + bytes(6),
        "a tuple": b")",
    }
    keys |= {
        "a list": b"]",
        "a dict": b"}",
        "bytes": b"C\x01a",
        "True": b"\x88",
        "an array": array((4,)),
        "a mark": b"(",
    }
    keys |= {
        "a negative number": b"J\xff\xff\xff\xff",
        "65536": b"J\x00\x00\x01\x00",
        "a function": name_of("numpy", "dtype"),
    }
    for intent, key in keys.items():
        yield f"{intent} as a key", b"}" + key + b"Ns"
        yield f"{intent} among keys", b"}(" + value("a") + b"N" + key + b"Nu"
        yield f"{intent} without a value", b"}(" + key + b"u"
    colliding = b"".join(b"\x8a\x0c" + (n * (2**61 - 1)).to_bytes(12, "little") + b"N" for n in range(1, 9999))
    yield "keys that collide", b"}(" + colliding + b"u"


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
