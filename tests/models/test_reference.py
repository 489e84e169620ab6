"""Every recorded model of the catalogue: seeded weights through the .pdparams reader, activation by activation."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from recordings import Recording, catalogue_name, read_manifest, reference_models, unpack_network

from convert.verify import recorded_input, verify_against_recording
from tinypose_torch import create_model
from tinypose_torch.codecs.heatmap import decode_heatmaps
from tinypose_torch.estimators.detection import select_detections
from tinypose_torch.evaluation.top_down import average_with_flipped
from tinypose_torch.geometry.crops import evaluation_crops
from tinypose_torch.geometry.matrix_nms import in_image, matrix_nms
from tinypose_torch.models.fairmot import FairMOTMaps, decode_centres
from tinypose_torch.models.picodet import decode_levels
from tinypose_torch.models.ppyolov2 import decode_yolo
from tinypose_torch.models.registry import get_config

SLOW_HRNETS = ("dark_hrnet", "hrnet_w32_384x288", "hrnet_w32_256x256_mpii", "higherhrnet_hrnet_w32_512_swahr")
ACTIVATION_TOLERANCES = {
    "lite_hrnet_30": 1.3e-4,
    "lite_hrnet_18": 7e-5,
    "picodet": 5e-5,
    ("tinypose", "wider_naive"): 4e-6,
    "fairmot": 5e-6,
    "ppyolov2": 2.5e-6,
    ("hrnet", "dark_hrnet", "higherhrnet"): 2e-6,
}


def tolerance(name: str) -> float:
    """Of activations, relative to the largest value of each layer: as ``docs/explanation/parity.md`` states."""
    return next(limit for start, limit in ACTIVATION_TOLERANCES.items() if name.startswith(start))


def one_hrnet(folders):
    """The folders as parameters; of the HRNets, which differ in input size and training, all but one are slow."""
    return [
        pytest.param(folder, marks=pytest.mark.slow if folder.startswith(SLOW_HRNETS) else ()) for folder in folders
    ]


def seeded_model(folder, filler, tmp_path):
    path = tmp_path / f"{folder}.pdparams"
    filler.save_pdparams(filler.build(read_manifest(folder)), path)
    return create_model(catalogue_name(folder), weights=path)


@pytest.fixture(scope="module")
def seeded(request, filler, tmp_path_factory):
    """A folder of recordings, and its network with the seeded weights."""
    return request.param, seeded_model(request.param, filler, tmp_path_factory.mktemp("seeded"))


@pytest.mark.parametrize("seeded", one_hrnet(reference_models(recorded=True)), indirect=True)
def test_activations_and_outputs(seeded, filler, tmp_path):
    folder, network = seeded
    result = verify_against_recording(network, unpack_network(folder, tmp_path / "recorded"), tolerance(folder))
    manifest = read_manifest(folder)
    assert len(result.layers) == len(manifest["activations"]) > 10
    assert result.first_difference is None
    recorded = Recording(f"models/{folder}/io.npz")
    with torch.inference_mode():
        output = network(torch.from_numpy(filler.manifest_input(manifest)))
    if recorded.has("head_tagmap"):
        output = output.combined()
        assert recorded.difference("head_avg_heatmap", output.heatmaps.numpy()) <= 1e-4
        assert recorded.difference("head_tagmap", output.tags.numpy()) <= 1e-4
        return
    if isinstance(output, FairMOTMaps):
        check_tracking_maps(output, network, recorded, manifest)
        return
    if folder.startswith("ppyolov2"):
        check_yolo_heads(output, network, recorded, manifest)
        return
    if recorded.has("heatmap"):
        limit = 20 * manifest["float32_vs_float64"]["heatmap_max_abs_diff"]
        assert recorded.difference("heatmap", output.numpy()) <= limit
        return
    for index, level in enumerate(output):
        for kind in ("cls", "box", "align"):
            name = f"level{index}.{kind}_logit"
            if recorded.has(name):
                assert recorded.difference(name, getattr(level, f"{kind}_logit").numpy()) <= 1e-3
    scores, boxes = decode_levels(output)
    assert recorded.difference("boxes_input_pixels", boxes.numpy()) <= 0.1
    if recorded.has("scores"):
        assert recorded.difference("scores", scores.numpy().transpose(0, 2, 1)) <= 2e-4
    else:
        assert recorded.difference("scores_class_max", scores.numpy().max(axis=-1)) <= 2e-4


def check_tracking_maps(output, network, recorded, manifest):
    """Maps, and the detections in them."""
    names = {"heatmap": "heatmap", "size_ltrb": "size", "offset": "offset", "reid_feature": "reid"}
    for (key, kind), maps in zip(names.items(), output, strict=True):
        maps = maps[:, ::8] if kind == "reid" else maps
        assert recorded.difference(key, maps.numpy()) <= 20 * manifest["float32_vs_float64"][kind]
    entry = replace(network.config, input_size=(160, 288))
    image_size = tuple(np.round(recorded["im_shape"][0] / recorded["scale_factor"][0]).astype(int))
    scores, boxes, embeddings = (part[0].numpy() for part in decode_centres(output, 500))
    found = select_detections(scores, boxes, entry, image_size, embeddings)
    count = manifest["num_peaks"]
    expected = recorded["detections"][:count]
    assert len(found) == count
    unlike = np.abs(found.boxes[:, None] - expected[None, :, 2:]).max(axis=2)
    assert unlike.min(axis=1).max() < 0.1
    assert np.abs(found.scores - expected[:, 1]).max() < 2e-4
    first = unlike[:150].argmin(axis=1)
    known = first < 150
    assert np.abs(found.embeddings[:150][known] - recorded["embeddings"][first[known]]).max() < 1e-3


def check_yolo_heads(output, network, recorded, manifest):
    """Raw predictions, and the detections in them."""
    for level, raw in enumerate(output):
        limit = 20 * manifest["float32_vs_float64"]["head_max_abs_diff"][level]
        assert recorded.difference(f"head_raw.{level}", raw.numpy()) <= limit
    scores, boxes = (part[0].numpy() for part in decode_yolo(output))
    boxes = in_image(boxes, (320, 320), tuple(recorded["scale_factor"][0]))
    sure = recorded["decoded_score_class_max"][0] > 0
    assert np.abs(boxes - recorded["decoded_boxes"][0])[sure].max() < 0.1
    assert recorded.difference("decoded_score_class_max", scores.max(axis=1)[None]) < 2e-4
    found = matrix_nms(scores, boxes, network.config.nms)
    rows = np.column_stack([found.class_ids, found.scores, found.boxes])
    alike = np.abs(rows[:, None] - recorded["detections"][None]) < (0.5, 2e-4, 0.1, 0.1, 0.1, 0.1)
    assert alike.all(axis=2).any(axis=1).all()
    assert alike.all(axis=2).any(axis=0).all()


TOP_DOWN = [
    f for f in reference_models(recorded=True) if not f.startswith(("picodet", "higherhrnet", "ppyolov2", "fairmot"))
]


# What the recorded keypoints were decoded from, and how.
SOURCES = {
    "plain": ("heatmap", "plain"),
    "dark": ("heatmap", "dark"),
    "noboxes_dark": ("heatmap", "dark"),
    "flip_plain": ("heatmap_flip_shift", "plain"),
    "flip_dark": ("heatmap_flip_shift", "dark"),
}
WHOLE_MAPS = [
    (folder, kind)
    for folder in TOP_DOWN
    for kind, (maps, _) in SOURCES.items()
    if maps in Recording(f"models/{folder}/io.npz")
]


@pytest.mark.parametrize(("folder", "kind"), WHOLE_MAPS)
def test_keypoints_of_recorded_heatmaps(folder, kind):
    """From a box; and of an image without a box, which is then the whole of it."""
    recorded = Recording(f"models/{folder}/io.npz")
    maps, method = SOURCES[kind]
    heatmap = recorded[maps]
    center, scale = recorded["center"], recorded["scale"]
    if kind == "noboxes_dark":
        shape = recorded["im_shape"][:, ::-1]  # (h, w)
        center, scale = np.round(shape / 2), shape / 200
    size = heatmap.shape[2:]
    coordinates, scores = decode_heatmaps(heatmap, method)
    crops = evaluation_crops(center, scale, (1, 1), (size[0] * 4, size[1] * 4), size, udp=False)
    expected = recorded[f"kpts_{kind}"]
    assert np.abs(crops.to_image(coordinates) - expected[..., :2]).max() < (1e-3 if kind in ("plain", "dark") else 2e-3)
    assert np.abs(scores - expected[..., 2]).max() < 1e-6


def flip_tolerance(name: str) -> float:
    """Of heatmaps: the reference README's, section 4."""
    if name.startswith("lite_hrnet"):
        return 5e-3 if name.startswith("lite_hrnet_30") else 1e-3
    return 1e-4


@pytest.mark.parametrize("seeded", one_hrnet(TOP_DOWN), indirect=True)
def test_flip_test(seeded, filler):
    folder, network = seeded
    manifest = read_manifest(folder)
    recorded = Recording(f"models/{folder}/io.npz")
    x = torch.from_numpy(filler.manifest_input(manifest))
    with torch.inference_mode():
        plain, mirrored = network(x).numpy(), network(x.flip(3)).numpy()
    skeleton = network.config.skeleton
    shifted = average_with_flipped(plain, mirrored, skeleton)
    assert recorded.difference("heatmap_flip_shift", shifted) <= flip_tolerance(folder)
    channels = slice(None, None, len(skeleton) // manifest["outputs"]["heatmap_flip_noshift"]["shape"][1])
    unshifted = average_with_flipped(plain, mirrored, skeleton, shift=False)[:, channels]
    assert recorded.difference("heatmap_flip_noshift", unshifted) <= flip_tolerance(folder)


@pytest.mark.parametrize("folder", reference_models(recorded=False))
def test_parameter_counts(folder):
    """PicoDet's four scale_reg numbers and two projections of DLA-34 have no effect and no counterpart."""
    manifest = read_manifest(folder)
    parameters = sum(p.numel() for p in create_model(catalogue_name(folder)).parameters())
    unused = {"picodet": 4, "fairmot": 64 * 128 + 2 * 128 + 128 * 256 + 2 * 256}.get(folder.split("_")[0], 0)
    assert parameters == manifest["num_trainable_elements"] - unused


NOT_RECORDED = sorted(set(reference_models(recorded=False)) - set(reference_models(recorded=True)))


@pytest.mark.parametrize("folder", NOT_RECORDED)
def test_the_other_manifests_load_strictly(folder, filler, tmp_path):
    seeded_model(folder, filler, tmp_path)


@pytest.mark.parametrize("folder", reference_models(recorded=False))
def test_input_sizes(folder):
    facts = read_manifest(folder)["facts"]
    expected = facts.get("input_size_hw", [facts.get("input_size")] * 2)
    assert list(get_config(catalogue_name(folder)).input_size) == expected


@pytest.mark.parametrize("folder", reference_models(recorded=True))
def test_recorded_input_is_the_tools_input(folder, filler):
    spec = read_manifest(folder)["input"]
    assert np.array_equal(recorded_input(spec), filler.manifest_input({"input": spec}))
