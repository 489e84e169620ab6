"""Flip pairs from keypoint names: left and right keypoints that are swapped in a mirrored image.

A name's side is a word of its own (``left_knee``, ``kneeLeft``, ``R_Wrist``, ``hip.L``, ``LShoulder``) or the beginning of a word
(``lefteye``). Other fused forms (``lsho``, ``LASI``, ``kneeleft``) have a side only where the opposite keypoint exists, because
``light`` and ``upright`` have none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

LEFT, RIGHT = "left", "right"
_SIDES = {
    **dict.fromkeys(("left", "l", "lt", "lft"), LEFT),
    **dict.fromkeys(("right", "r", "rt", "rgt"), RIGHT),
}
_OPPOSITE = {LEFT: RIGHT, RIGHT: LEFT}
# "LShoulder" is L, Shoulder; "upperLeft2" is upper, Left2; separators and other signs are left out.
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[^\W\dA-Z_]+\d*|[A-Z]+\d*|\d+")


class SidedName(NamedTuple):
    """A keypoint name without its words for left and right.

    Attributes:
        sides: ``"left"`` and ``"right"`` in the order in which the name has them; empty for names without a side.
        rest: The other words, lower case, joined.
    """

    sides: tuple[str, ...]
    rest: str

    def mirrored(self) -> SidedName:
        """The name of the opposite keypoint."""
        return SidedName(tuple(_OPPOSITE[side] for side in self.sides), self.rest)


class FlipPairs(NamedTuple):
    """Flip pairs found in keypoint names.

    Attributes:
        pairs: Indices (left, right) that swap.
        unpaired: Indices of names with a side whose opposite was not found, or was found more than once.
    """

    pairs: tuple[tuple[int, int], ...]
    unpaired: tuple[int, ...]


def find_flip_pairs(names: Sequence[str]) -> FlipPairs:
    """Pair left and right keypoints by their names, in any mixture of naming styles."""
    sided = {index: _parse(name) for index, name in enumerate(names)}
    certain = {index: name for index, name in sided.items() if name.sides}
    pairs = _opposites(certain)
    paired = {index for pair in pairs for index in pair}
    fused = {index: _parse_fused(names[index]) for index in sided if index not in certain}
    open_names = {index: name for index, name in certain.items() if index not in paired}
    pairs += _opposites(open_names | {index: name for index, name in fused.items() if name.sides})
    paired = {index for pair in pairs for index in pair}
    return FlipPairs(tuple(sorted(pairs)), tuple(index for index in certain if index not in paired))


def side_of(name: str) -> str | None:
    """``"left"`` or ``"right"`` for names with a side, else ``None``."""
    sides = _parse(name).sides
    return sides[0] if sides else None


def without_side(name: str) -> str:
    """The name's words without left and right, lower case, joined; empty for a name of a side alone."""
    return _parse(name).rest


def _opposites(names: dict[int, SidedName]) -> list[tuple[int, int]]:
    """Pairs of names that each occur once, left first."""
    places: dict[SidedName, list[int]] = {}
    for index, name in names.items():
        places.setdefault(name, []).append(index)
    return [
        (found[0], places[name.mirrored()][0])
        for name, found in places.items()
        if name.sides[0] == LEFT and len(found) == 1 and len(places.get(name.mirrored(), [])) == 1
    ]


def _parse(name: str) -> SidedName:
    words = [word.lower() for word in _WORD.findall(name)]
    if len(words) == 1 and len(words[0]) == 1:
        return SidedName((), words[0])  # keypoints named a, b, c and so on
    sides, rest = [], []
    for word in words:
        side, other = _SIDES.get(word), ""
        if side is None:
            side = next((side for side in (LEFT, RIGHT) if word.startswith(side)), None)
            other = word.removeprefix(side or "")
        if side is not None:
            sides.append(side)
        rest.append(other)
    return SidedName(tuple(sides), "".join(rest))


def _parse_fused(name: str) -> SidedName:
    """The side of a name that is written together with its word for left or right."""
    words = [word.lower() for word in _WORD.findall(name)]
    for index, word in enumerate(words):
        ending = next((side for side in (LEFT, RIGHT) if word.endswith(side)), None)
        if ending is not None:
            return SidedName((ending,), "".join((*words[:index], word.removesuffix(ending), *words[index + 1 :])))
        if word[0] in "lr" and (index == 0 or word[1:].isdigit()):
            rest = "".join((*words[:index], word[1:], *words[index + 1 :]))
            return SidedName((_SIDES[word[0]],), rest) if rest else SidedName((), "")
    return SidedName((), "".join(words))
