"""float16 and int8 files: how far they are from float32, and what is said about them."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import REAL
from torch import nn

from tinypose_torch import PoseEstimator, create_model
from tinypose_torch.cli import main
from tinypose_torch.cli.photos import photos_for_network
from tinypose_torch.codecs.heatmap import decode_heatmaps
from tinypose_torch.estimators.top_down import people_for_network
from tinypose_torch.export import ExportOptions, export_model
from tinypose_torch.export.graphs import build_graph
from tinypose_torch.export.progress import export_stages
from tinypose_torch.export.quantise import choose_layers, exported_program, measure_layers
from tinypose_torch.export.rewrites import rewrite
from tinypose_torch.runtime import EagerRunner, load_runner

from .conftest import DETECTOR, POSE, StageRecorder, build


@pytest.fixture(scope="module")
def people():
    """The people in the reference's photos, as the pose network sees them."""
    weights = [REAL / f"weights/{name}.pdparams" for name in (DETECTOR, POSE)]
    estimator = PoseEstimator(DETECTOR, POSE, *weights)
    return people_for_network(REAL / "images", estimator.detector, estimator.pose_config)


def keypoint_distances(path, images):
    """Pixels of the network's input between the file's keypoints and the eager network's, where these score above 0.2."""
    (found,) = load_runner(POSE, path)(images)
    (heatmaps,) = EagerRunner(build(POSE))(images)
    coordinates, scores = decode_heatmaps(heatmaps)
    distances = np.linalg.norm(found[..., :2] - coordinates * 4, axis=-1)
    return distances[scores > 0.2]


def parameter_bytes(name):
    """Of a network in float32."""
    return sum(4 * parameter.numel() for parameter in create_model(name).parameters())


@pytest.mark.slow
@pytest.mark.needs_reference
def test_half_precision(exported, people):
    path = exported(POSE, "executorch", precision="fp16")
    assert path.stat().st_size < 0.6 * parameter_bytes(POSE)
    assert keypoint_distances(path, people).mean() < 0.1
    assert load_runner(POSE, path).metadata.precision == "fp16"


@pytest.mark.slow
@pytest.mark.needs_reference
def test_int8(people, tmp_path):
    pytest.importorskip("executorch")
    some = people[::16]  # a few: each makes finding out which layers bear it take longer
    stages = StageRecorder()
    made = export_model(build(POSE), tmp_path / "x.pte", ExportOptions(precision="int8"), some, stages)
    assert list(stages.shares) == list(export_stages([POSE], "executorch", "int8"))
    assert len(stages.shares[f"{POSE}: calibrate"]) == -(-len(some) // 16)
    assert len(stages.shares[f"{POSE}: measure layers"]) > 100
    assert made.facts["int8 convolutions"] > 100
    assert (tmp_path / "x.pte").stat().st_size < 4e6
    assert keypoint_distances(tmp_path / "x.pte", people).mean() < 0.8


def detector_differences(path):
    """Mean differences of scores and boxes (pixels of the input) where the eager detector scores above 0.5."""
    network = build(DETECTOR)
    images = photos_for_network(REAL / "images", network.config)
    scores, boxes = load_runner(DETECTOR, path)(images)
    expected_scores, expected_boxes = EagerRunner(network)(images)
    found = expected_scores.max(axis=-1) > 0.5
    return np.abs(scores - expected_scores)[found].mean(), np.abs(boxes - expected_boxes)[found].mean()


@pytest.mark.slow
@pytest.mark.needs_reference
def test_half_precision_of_a_detector(exported):
    score, box = detector_differences(exported(DETECTOR, "executorch", precision="fp16"))
    assert score < 0.02
    assert box < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("format_name", ["torchscript", pytest.param("onnx", marks=pytest.mark.slow)])
def test_half_precision_in_other_formats(format_name, exported):
    path = exported(POSE, format_name, precision="fp16", images=False, decode=False)
    x = torch.randn(1, 3, 128, 96).numpy()
    (found,), (expected,) = load_runner(POSE, path).run(x), EagerRunner(build(POSE)).run(x)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 0.02
    assert path.stat().st_size < 0.6 * parameter_bytes(POSE)


@pytest.mark.slow
def test_the_budget_decides_how_much_becomes_int8():
    pytest.importorskip("torchao")
    torch.manual_seed(0)
    network = create_model("picodet_xs_320_coco_lcnet", input_size=(64, 64))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.bias.data.normal_(0, 0.1)
    graph = build_graph(rewrite(network, "executorch"), network.config, images=True, decode=False)
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    weights = {key: value.clone() for key, value in graph.state_dict().items()}
    program = exported_program(graph, torch.from_numpy(images[:1]))
    layers = measure_layers(graph, program, images)
    total = sum(layer.error**2 for layer in layers) ** 0.5
    plans = [choose_layers(layers, budget, len(images)) for budget in (1e-9, total / 2, 1e9)]
    counts = [len(plan.quantised) for plan in plans]
    assert counts[0] < counts[1] < counts[2]
    assert plans[2].left == []
    assert plans[0].images == 3
    listed = plans[1].to_json()["relative output error of the worst layers alone"]
    errors = [facts["error"] for facts in listed.values()]
    assert len(errors) == 10
    assert errors == sorted(errors, reverse=True)
    assert all(torch.equal(value, weights[key]) for key, value in graph.state_dict().items())


@pytest.mark.parametrize(
    ("options", "images", "message"),
    [
        ({"precision": "int4"}, None, "unknown precision 'int4'"),
        ({"precision": "int8", "format": "onnx"}, None, "int8 is made for executorch"),
        ({"precision": "int8"}, None, "needs images to calibrate on"),
        ({"precision": "int8"}, np.zeros((0, 128, 96, 3), np.uint8), "needs images to calibrate on"),
        ({"precision": "int8"}, np.zeros((2, 64, 64, 3), np.uint8), "takes uint8"),
        ({"precision": "int8"}, np.zeros((2, 128, 96, 3), np.float32), "takes uint8"),
        ({"precision": "int8", "error_budget": 0.0}, None, "expected a finite number above 0"),
        ({"error_budget": float("nan")}, None, "expected a finite number above 0"),
    ],
)
def test_wrong_precisions(options, images, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_model(create_model(POSE), tmp_path / "x.pte", ExportOptions(**options), images)
    assert list(tmp_path.iterdir()) == []


def test_command_asks_for_images(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.save(create_model(POSE).state_dict(), "w.pt")
    assert main(["export", POSE, "--weights", "w.pt", "--precision", "int8"]) == 2
    assert "--precision int8 needs --images" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.needs_reference
def test_command_makes_int8_of_a_detector(tmp_path, monkeypatch, capsys):
    pytest.importorskip("executorch")
    monkeypatch.chdir(tmp_path)
    photos = sorted((REAL / "images").glob("*.jpg"))[:4]
    (tmp_path / "photos").mkdir()
    for photo in photos:
        shutil.copy(photo, "photos")
    arguments = ["--weights", str(REAL / f"weights/{DETECTOR}.pdparams"), "--images", "photos"]
    assert main(["export", DETECTOR, "--precision", "int8", *arguments]) == 0
    assert "int8 convolutions" in capsys.readouterr().out
    receipt = json.loads((tmp_path / f"{DETECTOR}.pte.receipt.json").read_text())
    made = receipt["networks"][0]["made"]
    assert made["calibration images"] == len(photos)
    assert made["delegated share"] > 0.9
    assert receipt["networks"][0]["description"]["precision"] == "int8"
    score, box = detector_differences(tmp_path / f"{DETECTOR}.pte")
    assert score < 0.05
    assert box < 1
