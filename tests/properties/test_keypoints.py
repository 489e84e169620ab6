"""Keypoints: to heatmaps and back, and mirrored skeletons."""

import numpy as np
from hypothesis import strategies as st

from properties.checks import holds, texts
from tinypose_torch.codecs.heatmap import ENCODERS, decode_heatmaps
from tinypose_torch.data.formats.coco import skeleton_of_names
from tinypose_torch.geometry.flip_pairs import find_flip_pairs
from tinypose_torch.geometry.skeletons import COCO17, MPII16, Skeleton

INPUT, HEATMAP = (256, 192), (64, 48)
# Pixels of the input, far enough from its border for a full step.
inside = st.tuples(st.floats(12, 176), st.floats(12, 240))
anywhere = st.tuples(st.floats(-500, 700), st.floats(-500, 700))


@holds(places=st.lists(inside, min_size=1, max_size=5), sigma=st.sampled_from([1.5, 2.0, 3.0]))
def test_dark_finds_the_place(places, sigma):
    """Within a 20th of a cell."""
    joints = np.array([places], np.float32)
    maps, weights = ENCODERS["dark"](joints, np.ones((1, len(places)), np.float32), INPUT, HEATMAP, sigma)
    assert (weights == 1).all()
    found, scores = decode_heatmaps(maps)
    assert np.abs(found * 4 - joints).max() <= 0.2
    assert (scores > 0.85).all()


@holds(places=st.lists(inside, min_size=1, max_size=5))
def test_standard_maps_find_the_nearest_cell(places):
    joints = np.array([places], np.float32)
    maps, _ = ENCODERS["standard"](joints, np.ones((1, len(places)), np.float32), INPUT, HEATMAP, 2.0)
    assert np.abs(decode_heatmaps(maps, "none")[0] - joints / 4).max() <= 0.5 + 1e-3
    assert np.abs(decode_heatmaps(maps, "plain")[0] - joints / 4).max() <= 0.75 + 1e-3


@holds(
    places=st.lists(anywhere, min_size=1, max_size=5),
    kind=st.sampled_from(sorted(ENCODERS)),
    visible=st.sampled_from([0.0, 1.0]),
)
def test_maps_of_any_place(places, kind, visible):
    """Between 0 and 1, empty where the weight is 0; and decoding gives finite numbers."""
    joints = np.array([places], np.float32)
    maps, weights = ENCODERS[kind](joints, np.full((1, len(places)), visible, np.float32), INPUT, HEATMAP, 2.0)
    assert ((maps >= 0) & (maps <= 1)).all()
    assert (maps[weights == 0] == 0).all()
    assert ((weights == 0) | (weights == visible)).all()
    for method in ("dark", "plain", "none"):
        found, scores = decode_heatmaps(maps, method)
        assert np.isfinite(found).all()
        assert np.isfinite(scores).all()


@holds(seed=st.integers(0, 10_000), height=st.integers(1, 12), width=st.integers(1, 12), scale=st.floats(1e-3, 1e3))
def test_maps_of_any_numbers(seed, height, width, scale):
    """Noise of any size: finite coordinates; without refinement those of the greatest cell."""
    maps = (np.random.default_rng(seed).normal(0, scale, (2, 3, height, width))).astype(np.float32)
    cells, scores = decode_heatmaps(maps, "none")
    for person in range(2):
        for joint in range(3):
            x, y = cells[person, joint].astype(int)
            assert scores[person, joint] == maps[person, joint].max()
            assert maps[person, joint, y, x] == maps[person, joint].max() or maps[person, joint].max() <= 0
    assert np.isfinite(decode_heatmaps(maps)[0]).all()
    assert np.abs(decode_heatmaps(maps, "plain")[0] - cells).max(initial=0) <= 0.25


names = st.lists(
    st.builds(
        lambda side, part, end: f"{side}{part}{end}",
        st.sampled_from(["left_", "right_", "l_", "R", "Left", ""]),
        st.sampled_from(["eye", "knee", "Paw", "tip1", ""]),
        st.sampled_from(["", "_left", "_r", ".L", "2"]),
    )
    | texts,
    min_size=1,
    max_size=12,
    unique=True,
)


@holds(listed=names)
def test_flips_are_involutions(listed):
    """Whatever the names are: pairs are disjoint, and mirroring twice changes nothing."""
    found = find_flip_pairs(listed)
    indices = [index for pair in found.pairs for index in pair]
    assert len(set(indices)) == len(indices)
    assert not set(indices) & set(found.unpaired)
    skeleton = skeleton_of_names("x", listed, [], [])
    order = skeleton.mirrored_order()
    assert sorted(order) == list(range(len(listed)))
    assert [order[order[index]] for index in range(len(listed))] == list(range(len(listed)))
    backwards = find_flip_pairs(listed[::-1])
    last = len(listed) - 1
    assert sorted((last - a, last - b) for a, b in backwards.pairs) == sorted(found.pairs)


@holds(skeleton=st.sampled_from([COCO17, MPII16]), data=st.data())
def test_subsets(skeleton, data):
    """Flips, links and constants of a subset are those of the whole."""
    chosen = data.draw(st.lists(st.sampled_from(skeleton.keypoint_names), min_size=1, unique=True))
    part = skeleton.subset(chosen)

    def pairs_of(some, pairs):
        return {frozenset(some.keypoint_names[index] for index in pair) for pair in pairs}

    kept = set(chosen)
    for whole_pairs, part_pairs in ((skeleton.flip_pairs, part.flip_pairs), (skeleton.links, part.links)):
        assert pairs_of(part, part_pairs) == {pair for pair in pairs_of(skeleton, whole_pairs) if pair <= kept}
    assert len(part.sigmas) == (len(chosen) if skeleton.sigmas else 0)
    assert isinstance(part, Skeleton)
