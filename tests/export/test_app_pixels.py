"""Pixel formats of the frames that apps take: the same people as in RGB frames."""

import cv2
import numpy as np
import pytest
import torch
from conftest import DEMO_WEIGHTS

from tinypose_torch import AppEstimator
from tinypose_torch.estimators import app as app_module
from tinypose_torch.estimators.app import letterbox
from tinypose_torch.export.app.columns import ColumnGroups, column_resize
from tinypose_torch.export.app.pixels import pixel_reader
from tinypose_torch.export.formats import delegation
from tinypose_torch.export.graphs import ToFloat
from tinypose_torch.export.xnnpack import FromUint8, uint8_inputs
from tinypose_torch.models.layers import replace_modules
from tinypose_torch.runtime.app_metadata import AppMetadata
from tinypose_torch.utils.defaults import PIXEL_FORMATS
from tinypose_torch.utils.pixel_formats import find_pixel_format
from train.synthetic.scenes import render_scene

from .app_helpers import EagerApp, describe, networks

SIZE = (240, 320)


@pytest.fixture(scope="module")
def scene():
    return letterbox(render_scene(np.random.default_rng([77, 1]))[0], SIZE).frame


@pytest.fixture(scope="module")
def app_of():
    """Apps by pixel format."""
    pose, detector = networks(DEMO_WEIGHTS.get)
    apps = {}

    def make(pixels):
        if pixels not in apps:
            apps[pixels] = EagerApp(describe(pose, detector, SIZE, pixels=pixels), pose, detector)
        return apps[pixels]

    return make


@pytest.mark.parametrize("pixels", PIXEL_FORMATS)
def test_conversions(pixels):
    """Smooth colours survive the way there and back; NV21 has chroma for two by two pixels."""
    image = cv2.resize(np.random.default_rng(3).integers(60, 200, (4, 5, 3), dtype=np.uint8), (64, 48))
    pixel_format = find_pixel_format(pixels)
    frame = pixel_format.from_rgb(image)
    assert frame.dtype == np.uint8
    assert frame.shape == pixel_format.frame_shape((48, 64))
    difference = np.abs(pixel_format.to_rgb(frame).astype(int) - image)
    assert difference.mean() <= (3 if find_pixel_format(pixels).chroma_rows else 0)


def test_nv21_is_opencvs():
    """Every pair of chroma values with eight random lumas, bit for bit."""
    chroma = np.stack(np.meshgrid(np.arange(256), np.arange(256)), axis=-1).astype(np.uint8)
    luma = np.random.default_rng(0).integers(0, 256, (512, 512), dtype=np.uint8)
    luma[0] = np.arange(512) % 256
    frame = np.concatenate([luma, chroma.reshape(256, 512)])
    reader = pixel_reader("nv21", (512, 512))
    planes = reader.planes(torch.from_numpy(frame))
    columns = reader.gather(planes, 1, torch.arange(512))
    expected = cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_NV21)
    assert np.array_equal(reader.values(*columns).numpy(), expected)
    rows = torch.tensor([0, 511, 7, 7])
    pixels = reader.gather(reader.gather(planes, 0, rows), 1, torch.tensor([3, 510]))
    assert np.array_equal(reader.values(*pixels).numpy(), expected[rows][:, [3, 510]])


@pytest.mark.parametrize("pixels", [name for name in PIXEL_FORMATS if name != "rgb"])
def test_people_are_those_of_rgb_frames(pixels, app_of, scene):
    """All methods, on a frame with noise in what the format ignores."""
    app, pixel_format = app_of(pixels), find_pixel_format(pixels)
    frame = pixel_format.from_rgb(scene)
    if pixels == "rgba":
        frame[..., 3] = np.random.default_rng(0).integers(0, 256, SIZE)
    rgb = pixel_format.to_rgb(frame)
    found, expected = app(frame), app_of("rgb")(rgb)
    assert (expected.scores > 0).sum() >= 1
    for ours, theirs in zip(found, expected, strict=True):
        assert np.array_equal(ours, theirs)
    assert np.array_equal(app.detect(frame)[0], expected.boxes)
    count = int((expected.scores > 0).sum())
    assert np.array_equal(app.pose(frame, expected.boxes, count), app_of("rgb").pose(rgb, expected.boxes, count))


@pytest.mark.parametrize("pixels", PIXEL_FORMATS)
def test_descriptions_and_wrong_frames(pixels, app_of):
    app = app_of(pixels)
    assert AppMetadata.from_json(app.metadata.to_json()) == app.metadata
    assert app.metadata.pixels == pixels
    shape = app.metadata.frame_shape
    for wrong in (np.zeros((*SIZE, 5), np.uint8), np.zeros(shape, np.float32)):
        with pytest.raises(ValueError, match=f"uint8: {pixels}, 240 rows of 320 pixels"):
            app(wrong)


@pytest.mark.slow
def test_xnnpack_converts_every_format():
    """It takes all of the conversion and of the resize's columns, and computes the same bits."""
    pytest.importorskip("executorch")
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
    from executorch.runtime import Runtime

    blends, given, expected = {}, {}, {}
    for pixels, width in (*zip(PIXEL_FORMATS, (48, 128, 128, 128), strict=True), ("nv21", 48)):
        reader, name = pixel_reader(pixels, (32, width)), f"{pixels}_{width}"
        shape = find_pixel_format(pixels).frame_shape((32, width))
        read, blend = column_resize(width, 40, reader)
        assert isinstance(blend, ColumnGroups) == (width == 128)
        given[name] = read(torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)))
        expected[name] = blend(*given[name])
        blends[name] = replace_modules(blend, ToFloat, lambda module: FromUint8())
    with uint8_inputs():
        lowered = to_edge_transform_and_lower(
            {name: torch.export.export(blend, given[name], strict=False) for name, blend in blends.items()},
            partitioner={name: [XnnpackPartitioner()] for name in blends},
            compile_config=EdgeCompileConfig(_check_ir_validity=False),
        )
    program = Runtime.get().load_program(lowered.to_executorch().buffer)
    for name, columns in given.items():
        assert delegation(lowered, name)["outside"] == {}
        (found,) = program.load_method(name).execute([part.contiguous() for part in columns])
        assert torch.equal(found, expected[name])


def test_photos_are_converted(app_of, scene, monkeypatch):
    monkeypatch.setattr(app_module, "open_app", lambda path, threads: app_of("bgr"))
    found, expected = AppEstimator("app.pte")(scene), app_of("rgb")(scene)
    assert np.array_equal(found.boxes, expected.boxes[: len(found)])
    assert len(found) >= 1
