"""Attacks on JSON: every value of a document replaced by everything else, and texts that are hard to parse."""

import copy
import json

from .attack import HARMLESS, READABLE, REFUSED, part
from .texts import TEXTS

_REMOVED = object()
_LONG = {"a long text": "x" * 300_000, "300,000 entries": [0] * 300_000, "300,000 texts": ["x"] * 300_000}
# Values that json.dumps writes as something that is no JSON elsewhere are written as they are here.
_OTHERS = {
    "nothing there": _REMOVED,
    "null": None,
    "true": True,
    "false": False,
    "zero": 0,
    "one": 1,
    "minus one": -1,
    "a fraction": 0.5,
    "32": 32,
    "a million": 1_000_000,
    "2^31": 1 << 31,
    "2^63": 1 << 63,
    "2^64": 1 << 64,
    "a number of 4000 digits": 10**3999,
    "infinity": float("inf"),
    "minus infinity": float("-inf"),
    "not a number": float("nan"),
    "the smallest number": 5e-324,
    "the largest number": 1.7e308,
    "text": "x",
    "empty text": "",
    "a number as text": "1",
    "an empty list": [],
    "a list of null": [None],
    "a list of lists": [[[]]],
    "a list of ones": [1] * 17,
    "an empty object": {},
    "an object": {"x": 1},
}


def _paths(value, path=()):
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from _paths(child, (*path, key))


def _replaced(document, path, value):
    if not path:
        return None if value is _REMOVED else value
    document = copy.deepcopy(document)
    target = document
    for key in path[:-1]:
        target = target[key]
    if value is _REMOVED:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    return document


@part
def documents(document, *, long: bool = True, texts: bool = True, first_of_lists: int = 2, others=None):
    """Altered documents: intent, and the document.

    Args:
        long: Values that are long, too.
        texts: Texts that control a terminal, too, at every place of a text.
        first_of_lists: How many entries of a list are altered.
        others: Values to put in; all unless given.
    """
    for path in _paths(document):
        if any(isinstance(key, int) and key >= first_of_lists for key in path):
            continue
        where = ".".join(map(str, path)) or "everything"
        values = dict(others or _OTHERS)
        leaf = document
        for key in path:
            leaf = leaf[key]
        if long:
            values |= _LONG
        if texts and isinstance(leaf, str):
            values |= {intent: text for intent, text in TEXTS.items() if len(text) < 2000}
        for intent, value in values.items():
            if value != leaf or type(value) is not type(leaf):
                yield f"{where}: {intent}", _replaced(document, path, value)


def attacks(document, *, outcome=READABLE, **options):
    """Altered documents as JSON, and attacks on the parser."""
    for intent, altered in documents(document, **options):
        yield intent, json.dumps(altered), outcome
    text = json.dumps(document)
    yield from parsers(text)


@part
def parsers(text: str):
    """What is hard to parse, in place of, or inside, a JSON object."""
    inside = text[:-1]
    for depth in (100, 1000, 100_000):
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            yield (
                f"{depth} levels of {opening}",
                opening * depth + "1" + closing * depth,
                READABLE if depth == 100 else REFUSED,
            )
            yield f"{depth} levels of {opening} without an end", opening * depth
            yield (
                f"{depth} levels of {opening} in another field",
                f'{inside},"x":{opening * depth}1{closing * depth}}}',
                READABLE,
            )
    for digits in (4000, 5000, 1_000_000):
        yield f"a number of {digits} digits", "1" * digits
        yield f"a number of {digits} digits in another field", f'{inside},"x":{"1" * digits}}}', READABLE
        yield f"a fraction of {digits} digits in another field", f'{inside},"x":0.{"1" * digits}}}', READABLE
    for word in (
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "-1e999",
        "1e-999999999",
        "undefined",
        "0x10",
        "'x'",
        "01",
        "+1",
        ".5",
        "1.",
    ):
        yield f"{word} in another field", f'{inside},"x":{word}}}', READABLE
        yield f"{word} alone", word
    for escape in ("\\ud800", "\\udfff\\ud800", "\\u0000", "\\x41", "\\u12", "\\", "\n", "\x1b", "\x7f"):
        yield f"the text {escape!r} in another field", f'{inside},"x":"{escape}"}}', READABLE
        yield f"the text {escape!r} as another field", f'{inside},"{escape}":1}}', READABLE
    yield "a comma too many", f"{inside},}}"
    yield "a comment", f"/* x */{text}"
    yield "two objects", text + text
    yield "text behind", text + "x"
    yield "blanks around", " " * 1000 + text + "\n" * 1000, HARMLESS
    yield "a byte order mark", "\ufeff" + text
    yield "a list around", f"[{text}]"
    yield "nothing", ""
    for share in range(10, 100, 10):
        yield f"{share} % of it", text[: len(text) * share // 100]
