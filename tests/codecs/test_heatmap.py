import numpy as np
import pytest
from recordings import Recording

from tinypose_torch.codecs.heatmap import decode_heatmaps
from tinypose_torch.geometry.crops import evaluation_crops


@pytest.mark.parametrize("size", ["32x24", "64x48"])
@pytest.mark.parametrize("method", ["dark", "plain"])
def test_recorded_cases(size, method):
    """All joints, the badly conditioned ones too: the float32 intermediates are PaddleDetection's."""
    recorded = Recording("postprocess/dark_decode.npz")
    heatmaps = recorded[f"{size}.heatmaps"]
    coordinates, scores = decode_heatmaps(heatmaps, method)
    assert np.abs(coordinates - recorded[f"{size}.{method}.coords_heatmap"]).max() < 1e-4
    assert np.array_equal(scores, recorded[f"{size}.maxvals"][..., 0])
    h, w = heatmaps.shape[2:]
    crops = evaluation_crops(
        recorded[f"{size}.center"], recorded[f"{size}.scale"], (1, 1), (4 * h, 4 * w), (h, w), udp=False
    )
    in_image = crops.to_image(coordinates) - recorded[f"{size}.{method}.coords_image"]
    assert np.abs(in_image).max() < 1e-3


def gaussian(h, w, x, y, sigma=2.0):
    ys, xs = np.mgrid[:h, :w]
    return np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * sigma**2)).astype(np.float32)


def test_dark_finds_the_centre_of_a_gaussian():
    """Exact for the true logarithm; the blur in front of it costs a few thousandths of a cell."""
    points = [(10.3, 20.7), (30.5, 8.25), (24.0, 32.0)]
    maps = np.stack([gaussian(64, 48, x, y) for x, y in points])[None]
    coordinates, scores = decode_heatmaps(maps)
    assert np.abs(coordinates[0] - points).max() < 5e-3
    assert scores.shape == (1, 3)


def test_peaks_at_the_border_stay_where_they_are():
    for x, y in [(0, 0), (1, 5), (47, 63), (46, 10), (10, 62)]:
        coordinates, _ = decode_heatmaps(gaussian(64, 48, x, y)[None, None])
        assert coordinates[0, 0].tolist() == [x, y]


def test_maps_without_a_positive_peak():
    coordinates, scores = decode_heatmaps(np.stack([np.zeros((8, 8)), -np.ones((8, 8))])[None].astype(np.float32))
    assert not coordinates.any()
    assert scores.tolist() == [[0.0, -1.0]]


def test_no_people_and_bad_arguments():
    coordinates, scores = decode_heatmaps(np.zeros((0, 17, 8, 8), np.float32))
    assert coordinates.shape == (0, 17, 2)
    assert scores.shape == (0, 17)
    with pytest.raises(ValueError, match="expected \\(N, K, h, w\\)"):
        decode_heatmaps(np.zeros((17, 8, 8), np.float32))
    with pytest.raises(ValueError, match="unknown decoding 'darkk'"):
        decode_heatmaps(np.zeros((1, 17, 8, 8), np.float32), "darkk")


def test_input_is_not_changed():
    maps = gaussian(32, 24, 10, 10)[None, None]
    before = maps.copy()
    decode_heatmaps(maps)
    assert np.array_equal(maps, before)
