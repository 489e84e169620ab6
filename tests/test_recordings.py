"""The compact recordings: what is kept of an array, and that differences from it are found."""

import make_recordings
import numpy as np
import pytest
import recordings
from recordings import RECORDINGS, Recording, sampling_stride


@pytest.fixture
def arrays():
    generator = np.random.default_rng(0)
    return {
        "small": generator.normal(size=(3, 5)),
        "maps": generator.normal(size=(17, 64, 48)).astype(np.float32),
        "image": generator.integers(0, 256, (120, 90, 3), dtype=np.uint8),
    }


@pytest.fixture
def recorded(arrays, tmp_path, monkeypatch):
    for module in (recordings, make_recordings):
        monkeypatch.setattr(module, "RECORDINGS", tmp_path)
    (tmp_path / "transforms").mkdir()
    name = "transforms/x.npz"
    forms = {key: form for one in arrays for key, form in make_recordings.forms(name, one, arrays[one])}
    make_recordings.write_arrays(forms, name)
    return Recording(name)


def test_forms(arrays, recorded):
    assert set(recorded) == {"small", "maps@sub13", "maps@means", "maps@positive", "image@sha256"}
    assert all(recorded.has(name) for name in arrays)
    assert recorded["maps@sub13"].size <= recordings.POSITIONS
    for name in ("small", "maps"):
        assert recorded.difference(name, arrays[name]) == 0
    assert recorded.equals("image", arrays["image"])
    assert recorded.equally_positive("maps", arrays["maps"])


def test_differences_are_found(arrays, recorded):
    maps = arrays["maps"].copy()
    maps.reshape(-1)[13 * 100] += 0.5
    assert recorded.difference("maps", maps) == pytest.approx(0.5)
    maps = arrays["maps"].copy()
    maps[4, 10:20] += 0.5  # also where no position is sampled
    maps.reshape(-1)[::13] = arrays["maps"].reshape(-1)[::13]
    assert 0.2 < recorded.difference("maps", maps) <= 0.5, "a block's mean differs"
    assert not recorded.equally_positive("maps", -arrays["maps"])
    assert np.isnan(recorded.difference("maps", np.full_like(maps, np.nan)))
    image = arrays["image"].copy()
    image[7, 8, 1] += 1
    assert not recorded.equals("image", image)
    assert not recorded.equals("image", arrays["image"].transpose(1, 0, 2))
    assert not recorded.equals("image", arrays["image"].astype(int))
    with pytest.raises(AssertionError):
        recorded.difference("small", arrays["small"][0])
    with pytest.raises(KeyError):
        recorded.difference("image", image)


def test_sampled_positions_are_in_every_row_and_column():
    for shape in ((17, 64, 48), (256, 256, 3), (1, 258, 40, 40), (4096,)):
        places = np.arange(np.prod(shape))[:: sampling_stride(int(np.prod(shape)))]
        for axis, used in enumerate(np.unravel_index(places, shape)):
            assert len(set(used)) == shape[axis]


def test_recordings_stay_small():
    """Every clone has them."""
    assert sum(path.stat().st_size for path in RECORDINGS.rglob("*") if path.is_file()) < 15e6
