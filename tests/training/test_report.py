"""What a finished run shows: pictures, curves, and commands that use its weights."""

import json
import shlex
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image

from tinypose_torch.cli import build_parser
from tinypose_torch.cli import main as tinypose
from tinypose_torch.estimators.detection import find_person_class
from tinypose_torch.estimators.drawing import LEFT, draw_poses
from tinypose_torch.evaluation.report import images
from tinypose_torch.geometry.boxes import pairwise_iou
from train import curves, logs
from train.config import load_config
from train.live_report import LiveReport
from train.predictions import PREDICTIONS, draw_predictions
from train.preflight import find_checkpoint
from train.report import next_commands, print_report
from train.trainer import JOBS, prepare, write_weights

POSE_WEIGHTS = ROOT / "weights/tinypose_128x96_demo.safetensors"
DETECTOR_WEIGHTS = ROOT / "weights/picodet_s_192_demo.safetensors"


def pixels_of(colour, image):
    return int((image == np.array(colour)).all(axis=2).sum())


def sides(path, pairs):
    """The annotated and the predicted halves of a picture of so many pairs, side by side."""
    sheet = np.asarray(Image.open(path))
    width = sheet.shape[1] // min(3, pairs)
    tiles = [sheet[:, left : left + width - 8] for left in range(0, sheet.shape[1], width)]
    return [np.concatenate(half, axis=1) for half in zip(*(np.split(tile, 2, axis=1) for tile in tiles), strict=True)]


@pytest.mark.slow
def test_report_of_a_run(people, tmp_path, capsys):
    """From trained weights: people's keypoints are in the picture, and the printed commands use the weights."""
    shutil.copytree(people / "images", tmp_path / "images")
    options = [f"data.train={people / 'train.json'}", f"data.val={people / 'val.json'}", "flip_test=true"]
    options += [f"data.images={tmp_path / 'images'}", f"output={tmp_path / 'my run'}", f"weights={POSE_WEIGHTS}"]
    options += ["data.workers=0", "accelerator=cpu", "batch_size=4", "max_steps=2", "evaluate_every=0.02"]
    config = load_config("demo_pose", options)
    run = prepare(config, find_checkpoint(config))
    receipt = run.train()
    check_live_report(tmp_path / "my run")
    assert receipt["accuracy"]["AP"] > 0.5
    capsys.readouterr()
    print_report(run, receipt)
    printed = capsys.readouterr().out
    assert f"after step {receipt['accuracy']['step']}: AP {receipt['accuracy']['AP']:.3f}" in printed
    for name in ("weights.safetensors", "curves.png", "predictions.png", "report.html"):
        assert f"wrote {tmp_path / 'my run' / name}" in printed
    count = len({item.file_name for item in run.job.evaluation.records})
    annotated, predicted = sides(tmp_path / "my run" / PREDICTIONS, count)
    assert pixels_of(LEFT, predicted) > 0.5 * pixels_of(LEFT, annotated) > 100
    evaluate, export, predict = [
        shlex.split(line.partition("tinypose ")[2]) for line in printed.splitlines() if " tinypose " in line
    ]
    assert tinypose([*evaluate, "--json", str(tmp_path / "accuracy.json")]) == 0
    measured = json.loads((tmp_path / "accuracy.json").read_text())
    assert measured["AP"] == pytest.approx(receipt["accuracy"]["AP"], abs=1e-6)
    page = (tmp_path / "my run/report.html").read_text()
    assert 'http-equiv="refresh"' not in page
    assert page.count("<svg") == 6, "three curves, keypoints, PCK, OKS"
    assert f"<td>AP</td><td>{measured['AP']:.3f}</td>" in page
    assert "Worst images" in page
    for words in (export, predict):
        build_parser().parse_args(words)
    assert (predict[0], predict[-2:]) == ("predict", ["--pose-weights", str(tmp_path / "my run/weights.safetensors")])
    shutil.rmtree(tmp_path / "images")
    print_report(run, receipt)
    printed = capsys.readouterr().out
    assert "no picture of the predictions: " in printed
    assert "no report: " in printed


def check_live_report(folder):
    """The page after the first of two evaluations: images of the best weights, and the curves so far."""
    page = (folder / "report.html").read_text()
    assert 'http-equiv="refresh"' in page
    assert "<td>step</td><td>1 of 2</td>" in page
    assert "AP on the validation data" in page
    assert page.count("<img") == 2 * page.count("<figure>") > 0
    (events,) = (folder / "tensorboard").glob("events*")
    assert b"validation" in events.read_bytes()
    assert events.stat().st_size > 50_000, "an image"


def test_an_error_of_the_live_report_is_printed_once(tmp_path, capsys, monkeypatch):
    """The run goes on."""
    config = load_config("demo_pose", [f"output={tmp_path}"])
    live = LiveReport(config, None, SimpleNamespace(best={"step": 1}))
    trainer = SimpleNamespace(global_step=1, sanity_checking=False, is_global_zero=True, loggers=[])
    for _ in range(2):
        live.on_validation_end(trainer, SimpleNamespace(total_steps=9))
    assert capsys.readouterr().err.count("no report.html while the run goes on") == 1


def test_without_tensorboard(tmp_path, monkeypatch):
    """The numbers are in the CSV file only."""
    assert len(logs.event_logs(tmp_path)) == 1
    monkeypatch.setattr(logs.importlib.util, "find_spec", lambda name: None)
    assert logs.event_logs(tmp_path) == []


def job_of(recipe, people, folder, *options):
    options = [f"data.train={people / 'train.json'}", f"data.images={people / 'images'}", f"output={folder}", *options]
    config = load_config(recipe, options)
    return config, JOBS["detection" if "detector" in recipe else "bottom-up pose"](config)


def test_boxes_are_drawn(people, tmp_path, monkeypatch):
    """Of a trained detector: most annotated boxes have a predicted one in the other half of the pair."""
    options = (f"data.val={people / 'val.json'}", f"weights={DETECTOR_WEIGHTS}")
    config, job = job_of("demo_detector", people, tmp_path, *options)
    drawn = []

    def recorded(image, boxes, *others):
        drawn.append(torch.from_numpy(boxes.astype(np.float32)))
        return draw_poses(image, boxes, *others)

    monkeypatch.setattr(images, "draw_poses", recorded)
    assert draw_predictions(config, job, DETECTOR_WEIGHTS, "cpu").is_file()
    pairs = list(zip(drawn[::2], drawn[1::2], strict=True))
    assert len(pairs) == len(job.evaluation)
    found = [pairwise_iou(annotated, predicted).amax(dim=1) > 0.5 for annotated, predicted in pairs]
    assert torch.cat(found).float().mean() > 0.6
    evaluate, export, predict = [words[1:] for words in next_commands(config, job, DETECTOR_WEIGHTS)]
    assert build_parser().parse_args(evaluate).detector == build_parser().parse_args(export).model == config.model
    assert build_parser().parse_args(predict).detector_weights == str(DETECTOR_WEIGHTS)


@pytest.mark.parametrize(
    ("names", "options"),
    [
        (("dog", "black cat"), ["--person-class", "dog"]),
        (("black cat", "dog"), ["--person-class", "black cat"]),
        (("dog", "person"), []),
        (("dog",), []),
    ],
)
def test_class_of_a_detector_without_people(names, options, people, tmp_path):
    content = json.loads((people / "train.json").read_text())
    content["categories"] = [{"id": index, "name": name} for index, name in enumerate(names, start=1)]
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    config, job = job_of(
        "demo_detector", people, tmp_path, f"data.train={tmp_path / 'boxes.json'}", "detection.classes=null"
    )
    predict = next_commands(config, job, DETECTOR_WEIGHTS)[-1]
    assert predict[predict.index("--detector-weights") + 2 :] == options
    assert build_parser().parse_args(predict[1:]).person_class == (options[1] if options else None)
    find_person_class(job.network.config, *options[1:])


@pytest.mark.slow
def test_training_images_are_drawn_without_others(people, tmp_path):
    """Of a bottom-up network, up to 12."""
    pytest.importorskip("timm")
    config, job = job_of("demo_bottom_up", people, tmp_path)
    write_weights(job.network, job.network.config, tmp_path / "random.safetensors")
    path = draw_predictions(config, job, tmp_path / "random.safetensors", "cpu")
    annotated, predicted = sides(path, 12)
    assert pixels_of(LEFT, annotated) > 100
    assert annotated.shape == predicted.shape


def test_curves(tmp_path, monkeypatch):
    """Loss, the weights' rate, and the metric, against the number of steps that were done."""
    (tmp_path / "logs").mkdir()
    lines = ["AP,epoch,loss,lr-SGD/pg1,lr-SGD/pg2,step", ",,,0.1,0.1,9", ",0,4.0,,,9", "0.25,0,,,,9", ",0,2.0,,,19", ""]
    (tmp_path / "logs/metrics.csv").write_text("\n".join(lines))
    drawn = {}
    usual = curves._draw_panel
    monkeypatch.setattr(
        curves, "_draw_panel", lambda axes, points, title: (drawn.update({title: points}), usual(axes, points, title))
    )
    assert Image.open(curves.draw_curves(tmp_path, "AP")).size == (960, 792)
    assert drawn == {
        "loss": [(10, 4.0), (20, 2.0)],
        "learning rate": [(10, 0.1)],
        "AP on the validation data": [(10, 0.25)],
    }
