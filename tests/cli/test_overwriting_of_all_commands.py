"""Every command decides by one function which files it replaces: its own earlier results, never an input."""

import importlib
import json
import os
import runpy
import shlex
import sys

import pytest
from conftest import ROOT, gradient_image
from PIL import Image

pytest.importorskip("lightning")

from tinypose_torch.checkpoints.errors import CheckpointError
from tinypose_torch.cli import benchmark, main
from tinypose_torch.utils.outputs import check_outputs, overlay_paths
from tinypose_torch.utils.provenance import is_own_output
from train.config import load_config
from train.preflight import RUN_FILES, check_output, write_configuration

PROGRAMS = {
    "tinypose": "tinypose_torch.cli",
    "convert": "convert.__main__",
    "train": "train.__main__",
    "train.synthetic": "train.synthetic.__main__",
    "train.merge": "train.merge",
    "train.demo": "train.demo",
}
SLOW = pytest.mark.slow
WEIGHTS = str(ROOT / "weights/tinypose_128x96_demo.safetensors")
ANNOTATED = "--annotations ann.json --images photos --weights gone.pt"
DATA = "demo_pose data.train=ann.json data.images=photos"

# The files of a user, what is called, and what the error says. `a -> b` is a symbolic link, `a = b` a hard link.
REFUSED = [
    ("notes.json", f"tinypose evaluate {ANNOTATED} --json notes.json", "--json notes.json exists and is no earlier"),
    ("notes.json", f"tinypose evaluate {ANNOTATED} --predictions notes.json", "--predictions notes.json exists"),
    ("x.html", f"tinypose evaluate {ANNOTATED} --report x.html", "--report x.html exists and is no earlier result"),
    ("x.json -> ann.json", f"tinypose evaluate {ANNOTATED} --json x.json", "x.json would replace an input, ann.json"),
    ("x.json = ann.json", f"tinypose evaluate {ANNOTATED} --json x.json", "x.json would replace an input, ann.json"),
    ("", f"tinypose evaluate {ANNOTATED} --json ./ann.json --overwrite", "would replace an input, ann.json"),
    ("", f"tinypose evaluate {ANNOTATED} --json photos/../ann.json --overwrite", "would replace an input, ann.json"),
    ("", f"tinypose evaluate {ANNOTATED} --json $PWD/ann.json --overwrite", "would replace an input, ann.json"),
    ("det.json", f"tinypose evaluate {ANNOTATED} --detections det.json --predictions det.json", "input, det.json"),
    ("", f"tinypose evaluate {ANNOTATED} --json new.json --predictions NEW.json", "name the same file, NEW.json"),
    ("", f"tinypose evaluate {ANNOTATED} --json \u00e9.json --predictions e\u0301.json", "name the same file"),
    ("here -> .", f"tinypose evaluate {ANNOTATED} --json a.json --predictions here/a.json", "name the same file"),
    ("", f"tinypose evaluate {ANNOTATED} --json photos/", "--json photos/ is a folder"),
    ("x -> nowhere", f"tinypose evaluate {ANNOTATED} --json x", "--json x exists and is no earlier result"),
    ("t.jsonl", "tinypose evaluate --annotations gt.txt --tracks t.jsonl --json t.jsonl", "replace an input, t.jsonl"),
    ("x.json", "tinypose benchmark --json x.json", "--json x.json exists and is no earlier result"),
    ("x.svg", "tinypose benchmark --plot x.svg", "--plot x.svg exists and is no earlier result"),
    ("x.png", "tinypose benchmark --plot x.png", "--plot x.png exists and is no earlier result"),
    ("x.pdf", "tinypose benchmark --plot x.pdf", "--plot x.pdf exists and is no earlier result"),
    ("", "tinypose benchmark --images photos --plot photos/b.png --overwrite", "would replace an input, photos/b.png"),
    ("w.pt", "tinypose benchmark --weights w.pt --json w.pt --overwrite", "would replace an input, w.pt"),
    ("x.pdf", "tinypose benchmark --plot X.svg --json x.SVG", "name the same file"),
    ("x.pte.receipt.json", "tinypose export tinypose_128x96 --output x.pte", "the receipt x.pte.receipt.json exists"),
    ("w.pt", "tinypose export tinypose_128x96 --weights w.pt --output w.pt --overwrite", "replace an input, w.pt"),
    ("", "tinypose export tinypose_128x96 --output /dev/null --overwrite", "/dev/null is not a regular file"),
    ("w -> photos", "tinypose export tinypose_128x96 --output w", "--output w is a folder"),
    ("c.safetensors -> w.pt", "convert w.pt --model tinypose_128x96 --output c.safetensors", "replace an input, w.pt"),
    ("weights/tinypose_128x96.safetensors", "convert w.pt --model tinypose_128x96", "exists and is no earlier result"),
    (
        "tinypose_128x96.receipt.txt",
        f"convert {WEIGHTS} --output c --verify --paddle-model w --receipt .",
        "receipt .txt",
    ),
    ("all/picodet_s_192_pedestrian.safetensors", "convert --all --output all", "the weights of picodet_s_192_pedest"),
    ("run/config.json", f"train {DATA} output=run", "the configuration of the run, run/config.json exists"),
    ("run/weights.safetensors", f"train {DATA} output=run", "the weights of the run, run/weights.safetensors exists"),
    ("run/receipt.json", f"train {DATA} output=run", "the receipt of the run, run/receipt.json exists"),
    ("run/logs/metrics.csv", f"train {DATA} output=run", "the log of the run, run/logs/metrics.csv exists"),
    ("run/curves.png", f"train {DATA} output=run", "the curves of the run, run/curves.png exists"),
    ("run/predictions.png", f"train {DATA} output=run", "choose another folder with output=..., or move it away"),
    ("run/samples.png", f"train {DATA} output=run --check", "the samples of the run, run/samples.png exists"),
    ("run/last.ckpt/x", f"train {DATA} output=run", "run/last.ckpt is a folder; name a file"),
    ("run/weights.safetensors", f"train {DATA} output=run weights=run/weights.safetensors", "would replace an input"),
    ("run/config.json = ann.json", f"train {DATA} output=run", "run/config.json would replace an input, ann.json"),
    ("run -> photos/a.jpg", f"train {DATA} output=run", "output run is a file; name a folder"),
    ("set/train.json", "train.synthetic --output set --images 2", "the file train.json, set/train.json exists"),
    ("set/val.json", "train.synthetic --output set --images 2", "the file val.json, set/val.json exists"),
    ("set/images/000001.jpg", "train.synthetic --output set --images 2", "set/images/000001.jpg exists"),
    ("set/images", "train.synthetic --output set --images 2", "set/images is no folder that can be written to"),
    ("x.json", "train.merge --coco ann.json --output x.json", "--output x.json exists and is no earlier result"),
    (
        "x.json = ann.json",
        "train.merge --coco ann.json --output x.json --overwrite",
        "would replace an input, ann.json",
    ),
    ("out/demo.pte", "train.demo --output out", "the exported file out/demo.pte exists"),
    ("out/demo.pte.receipt.json", "train.demo --output out", "its receipt out/demo.pte.receipt.json exists"),
    ("out -> photos", "tinypose predict photos/b.png --output out", "out/b.png would replace an input, photos/b.png"),
    (
        "out/b.png = photos/b.png",
        "tinypose predict photos --output out --overwrite",
        "would replace an input, photos/b",
    ),
    ("out/b.png -> ../photos/b.png", "tinypose predict photos --output out", "would replace an input, photos/b.png"),
    ("out/a.png -> gone", "tinypose predict photos --output out", "out/a.png exists and is no earlier result"),
    ("out/a.png/x", "tinypose predict photos --output out --overwrite", "out/a.png is a folder; name a file"),
    ("x.jsonl", "tinypose predict photos --json x.jsonl", "--json x.jsonl exists and is no earlier result"),
]


def make(folder, description):
    """A file, or a link."""
    for sign, link in ((" -> ", os.symlink), (" = ", os.link)):
        name, separator, target = description.partition(sign)
        if separator:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            return link(target if link is os.symlink else folder / target, folder / name)
    if description:
        (folder / description).parent.mkdir(parents=True, exist_ok=True)
        (folder / description).write_text("mine")
    return None


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name in ("photos/a.jpg", "photos/b.png"):
        Image.fromarray(gradient_image(60, 80)).save(name)
    for name in ("ann.json", "w.pt"):
        (tmp_path / name).write_text("mine")
    return tmp_path


def contents(folder):
    return {
        path: (path.is_symlink(), path.read_bytes() if path.is_file() else None) for path in sorted(folder.rglob("*"))
    }


def run(line):
    program, *words = shlex.split(line)
    return importlib.import_module(PROGRAMS[program]).main([word.replace("$PWD", os.getcwd()) for word in words])


@pytest.mark.parametrize(("file", "line", "message"), REFUSED, ids=[f"{file}: {line}" for file, line, _ in REFUSED])
def test_refused_before_any_work(file, line, message, folder, capsys):
    make(folder, file)
    before = contents(folder)
    assert run(line) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert len(printed.splitlines()) == 1
    assert contents(folder) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("line", [f"tinypose evaluate {ANNOTATED} --json closed/x.json", "train.demo --output closed"])
def test_folder_that_cannot_be_written_to(line, folder, capsys):
    (folder / "closed").mkdir(mode=0o500)
    assert run(line) == 2
    assert "closed is no folder that can be written to" in capsys.readouterr().err


ROWS = [
    {
        "model": "tinypose_128x96",
        "backend": "eager",
        "threads": 1,
        "median_ms": 2.0,
        "p90_ms": 2.5,
        "ratio": None,
        "bytes": 5,
        "peak_memory": None,
        "version": "1",
    }
]


@pytest.mark.parametrize("plot", ["times.svg", *(pytest.param(f"times.{end}", marks=SLOW) for end in ("png", "pdf"))])
def test_benchmark_replaces_its_own_results(plot, folder, monkeypatch):
    monkeypatch.setattr(benchmark, "_measure_networks", lambda *_: [dict(row) for row in ROWS])
    line = f"tinypose benchmark tinypose_128x96 --backend eager --json times.json --plot {plot}"
    assert [run(line), run(line)] == [0, 0]
    assert json.loads((folder / "times.json").read_text()) == ROWS
    (folder / plot).write_text("mine")
    assert run(line) == 2
    assert run(f"{line} --overwrite") == 0
    assert is_own_output(plot)


def test_evaluation_replaces_its_own_figures(folder):
    track = {"image": "v.mp4", "frame": 0, "time": 0.0, "poses": [{"id": 1, "box": [0, 0, 9, 9]}]}
    (folder / "t.jsonl").write_text(json.dumps(track) + "\n")
    (folder / "gt.txt").write_text("1,1,0,0,9,9,1,1,1\n")
    pytest.importorskip("motmetrics")
    line = "tinypose evaluate --annotations gt.txt --tracks t.jsonl --json figures.json"
    assert [run(line), run(line)] == [0, 0]
    (folder / "figures.json").write_text('{"MOTA": 1.0}')
    assert run(line) == 2
    assert run(f"{line} --overwrite") == 0


def test_results_of_other_programs(folder):
    """COCO results on one line, as other programs write them, may be the only copy of an expensive run."""
    record = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.5}
    texts = {
        "boxes.json": json.dumps([record]),
        "pretty.json": json.dumps([record], indent=4),
        "figures.json": '{"AP": 0.5, "images": 7}',
        "config.json": '{"model": "x", "weights": 3}',
        "package.json": '{"name": "x", "version": "1.0.0"}',
        "receipt.json": '{"weights": 5}',
        "coco.json": '{"info": {"description": "COCO 2017 Dataset"}, "images": []}',
        "plot.svg": '<?xml version="1.0"?><svg><dc:title>Matplotlib v3</dc:title></svg>',
        "paper.pdf": "%PDF-1.4 /Creator (LaTeX)",
        "list.json": "[1, 2]",
        "times.json": '[{"model": "x", "median_ms": 3}]',
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
        assert not is_own_output(name), name
    assert not is_own_output("photos/a.jpg")


def test_rendering_twice(folder):
    line = "train.synthetic --output set --images 2 --workers 1 --size 64 64"
    assert run(line) == 0
    first = contents(folder)
    assert run(line) == 0
    assert contents(folder) == first
    assert all(is_own_output(path) for path in (folder / "set").rglob("*.*"))
    (folder / "set/images/000000.jpg").write_bytes((folder / "photos/a.jpg").read_bytes())
    assert run(line) == 2
    assert run(f"{line} --overwrite") == 0
    assert contents(folder) == first


def test_merging_twice(folder):
    assert run("train.synthetic --output set --images 2 --workers 1 --size 96 96 --seed 3") == 0
    line = "train.merge --coco set/train.json --output merged.json"
    assert [run(line), run(line)] == [0, 0]


def test_runs_without_weights_are_replaced(folder):
    """As a run leaves them that was killed before its first checkpoint."""
    config = load_config("demo_pose", ["output=run", "data.train=ann.json", "data.images=photos"])
    write_configuration(config)
    (folder / "run/logs").mkdir()
    (folder / "run/logs/metrics.csv").write_text("loss,lr-Adam,step\n1.0,0.1,0\n")
    check_output(config, RUN_FILES)
    (folder / "run/weights.safetensors").write_bytes((ROOT / "weights/tinypose_128x96_demo.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"run/weights.safetensors exists and is no earlier result; choose another"):
        check_output(config, RUN_FILES)
    check_output(config.model_copy(update={"resume": True}), RUN_FILES)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("x" * 256, "more than 255 bytes"),
        ("é" * 128, "more than 255 bytes"),
        ("new/" + "x" * 256 + "/a.json", "more than 255 bytes"),
        ("/".join(["x" * 200] * 30), "cannot be written: .*File name too long"),
        ("a\0b", "cannot be written: .*null"),
        ("~/a.json", "the shell did not replace ~; write that folder out"),
        ("~somebody/a.json", "the shell did not replace ~somebody"),
        ("", "is a folder"),
        (".", "is a folder"),
        ("new/", "new/ is a folder"),
        ("loop/a.json", "loop/a.json cannot be written: Too many levels"),
    ],
)
def test_names_that_cannot_be_written(output, message, folder):
    (folder / "loop").symlink_to("loop")
    with pytest.raises(ValueError, match=message):
        check_outputs({"--json": output})
    assert sorted(path.name for path in folder.iterdir()) == ["ann.json", "loop", "photos", "w.pt"]


def test_names_that_can_be_written(folder):
    for name in ("~", "~notes.json", "x" * 255, os.fsdecode(b"\xff.json"), "a\nb", "new/deep/x.json", "a b", "-"):
        check_outputs({"--json": name})


def test_overlays_of_names_that_are_alike(folder):
    """Also where the file system ignores the case or how accents are written."""
    sources = ["a/x.jpg", "b/x.JPG", "X.png", "e\u0301.jpg", "\u00e9.png", os.fsdecode(b"\xff.jpg"), "\\udcff.jpg"]
    paths = overlay_paths(folder, sources)
    assert len({path.name.casefold() for path in paths.values()}) == len(sources)
    check_outputs(paths)


@SLOW
def test_photos_of_a_folder_that_are_plots(folder, monkeypatch):
    """A plot in the folder of the photos is no photo when the command is repeated."""
    monkeypatch.setattr(benchmark, "_measure_networks", lambda *_: [dict(row) for row in ROWS])
    line = "tinypose benchmark tinypose_128x96 --backend eager --images photos --plot photos/times.png"
    assert [run(line), run(line)] == [0, 0]


def test_errors_of_files_keep_their_class(folder):
    from tinypose_torch.checkpoints.files import hash_weights, is_deployed

    os.mkfifo("pipe")
    for read in (hash_weights, is_deployed):
        with pytest.raises(CheckpointError, match="^pipe: is not a regular file$"):
            read(folder.joinpath("pipe").relative_to(folder))


def test_help_names_the_option(capsys):
    for command in ("predict", "evaluate", "export", "benchmark"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert "--overwrite" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("bottom_up", ["--weights", "w.pt"], "the page out/bottom_up.md exists and is no earlier result"),
        ("pose_models", ["w.pt"], "the page out/pose_models.md exists and is no earlier result"),
        ("tracking", [], "the page out/tracking.md exists and is no earlier result"),
    ],
)
@SLOW
def test_benchmarks_of_the_repository(name, words, message, folder, monkeypatch):
    pytest.importorskip("matplotlib")
    make(folder, f"out/{name}.md")
    monkeypatch.setattr(sys, "argv", [name, *words, "--output", "out"])
    with pytest.raises(ValueError, match=message):
        runpy.run_path(str(ROOT / f"benchmarks/{name}.py"), run_name="__main__")
    assert (folder / f"out/{name}.md").read_text() == "mine"
