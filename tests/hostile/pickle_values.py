"""Attacks on the values that a pickle builds: lengths, arrays, memory, and keys of dicts."""

import pickletools
import struct

from .attack import HARMLESS, part
from .pickle_parts import ARRAY, Values, array, dtype, name_of, value


@part
def lengths() -> Values:
    """Lengths beyond the file, and sizes that cannot be allocated."""
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
def arrays() -> Values:
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
def memory() -> Values:
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
def keys() -> Values:
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
