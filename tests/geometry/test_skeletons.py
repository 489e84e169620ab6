"""Which keypoints swap in a mirrored image, by names in any style."""

import itertools
import random

import pytest

from tinypose_torch.data.formats.coco import skeleton_of_names
from tinypose_torch.geometry.flip_pairs import find_flip_pairs, side_of
from tinypose_torch.geometry.skeletons import COCO17, MPII16, Skeleton

PARTS = (("eye",), ("knee",), ("upper", "arm"), ("lip",), ("ring", "finger"))
CENTRAL = ("nose", "Neck", "lower_lip", "light", "ring", "mid-hip", "upright", "L5")


def camel(words):
    return words[0] + "".join(word.title() for word in words[1:])


def pascal(words):
    return "".join(word.title() for word in words)


STYLES = {
    "left_upper_arm": lambda side, part: "_".join((side, *part)),
    "upper_arm_left": lambda side, part: "_".join((*part, side)),
    "LEFT_UPPER_ARM": lambda side, part: "_".join((side, *part)).upper(),
    "leftUpperArm": lambda side, part: camel((side, *part)),
    "LeftUpperArm": lambda side, part: pascal((side, *part)),
    "upperArmLeft": lambda side, part: camel((*part, side)),
    "left upper arm": lambda side, part: " ".join((side, *part)),
    "Upper Arm (Left)": lambda side, part: f"{' '.join(part).title()} ({side.title()})",
    "leftupperarm": lambda side, part: "".join((side, *part)),
    "l_upper_arm": lambda side, part: "_".join((side[0], *part)),
    "L_Upper_Arm": lambda side, part: "_".join((side[0], *part)).title(),
    "upper_arm_l": lambda side, part: "_".join((*part, side[0])),
    "l-upper-arm": lambda side, part: "-".join((side[0], *part)),
    "upper_arm.L": lambda side, part: f"{'_'.join(part)}.{side[0].upper()}",
    "LUpperArm": lambda side, part: side[0].upper() + pascal(part),
    "lUpperArm": lambda side, part: side[0] + pascal(part),
    "upperArmL": lambda side, part: camel(part) + side[0].upper(),
    "rig:LeftUpperArm": lambda side, part: f":{pascal((side, *part))}",
    "lt_upper_arm": lambda side, part: "_".join(({"left": "lt", "right": "rt"}[side], *part)),
}


def named_pairs(names):
    return {(names[left], names[right]) for left, right in find_flip_pairs(names).pairs}


@pytest.mark.parametrize("left", STYLES)
def test_styles_and_their_mixtures(left):
    for right in STYLES:
        expected = {(STYLES[left]("left", part), STYLES[right]("right", part)) for part in PARTS}
        names = [*itertools.chain(*expected), *CENTRAL]
        random.Random(f"{left} {right}").shuffle(names)
        assert named_pairs(names) == expected, right
        assert not find_flip_pairs(names).unpaired, right


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_without_its_opposite_a_name_is_reported(style, side):
    sides = [STYLES[style](one, part) for part in PARTS for one in ("left", "right")]
    alone = STYLES[style](side, PARTS[2])
    names = [name for name in (*sides, *CENTRAL) if name == alone or name.lower().find("arm") < 0]
    found = find_flip_pairs(names)
    assert [names[index] for index in found.unpaired] == [alone]
    assert len(found.pairs) == len(PARTS) - 1
    assert skeleton_of_names("x", names, [], []).unpaired_names() == (alone,)
    assert side_of(alone) == side


@pytest.mark.parametrize(
    "names",
    [
        CENTRAL,
        [f"keypoint_{index}" for index in range(20)],
        [str(index) for index in range(20)],
        list("abcdefghijklmnopqrstuvwxyz"),
        ["bright", "upright", "cleft", "theft", "rear", "root", "lower_back", "real", "Loin", "L1", "L2", "T12"],
        ["wrist", "thumb_1", "index_2", "ring_3", "little_4", "mid_lr", "", "--", "眼"],
    ],
)
def test_names_without_sides(names):
    assert find_flip_pairs(names) == ((), ())
    assert not any(side_of(name) for name in names)


def test_fused_letters_count_where_the_opposite_exists():
    names = ["lsho", "rsho", "LASI", "RASI", "kneeleft", "kneeright", "CLAV", "RBAK", "light", "ring", "lank", "R_Ank"]
    assert named_pairs(names) == {("lsho", "rsho"), ("LASI", "RASI"), ("kneeleft", "kneeright"), ("lank", "R_Ank")}
    assert not find_flip_pairs(names).unpaired


def test_two_sides_in_a_name_swap_both():
    names = [f"{eye}_eye_{corner}_corner" for eye in ("left", "right") for corner in ("left", "right")]
    assert named_pairs(names) == {
        ("left_eye_left_corner", "right_eye_right_corner"),
        ("left_eye_right_corner", "right_eye_left_corner"),
    }


def test_opposites_that_are_not_unique_are_reported():
    names = ["left_hip", "hip.L", "right_hip", "left_knee", "right_knee"]
    assert named_pairs(names) == {("left_knee", "right_knee")}
    assert find_flip_pairs(names).unpaired == (0, 1, 2)


def test_known_skeletons():
    for skeleton in (COCO17, MPII16):
        found = find_flip_pairs(skeleton.keypoint_names)
        assert {frozenset(pair) for pair in found.pairs} == {frozenset(pair) for pair in skeleton.flip_pairs}
        assert not skeleton.unpaired_names()


def test_a_keypoint_swaps_once():
    with pytest.raises(ValueError, match="keypoint 1 is in more than one flip pair"):
        Skeleton("x", ("a", "b", "c"), flip_pairs=((0, 1), (1, 2)))
