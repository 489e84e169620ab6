"""Wrong arguments of every command end with one line, the documented status, and nothing written."""

import hashlib
import importlib
import json
import os
import shlex
import signal
import stat
import time

import pytest
from conftest import ROOT, gradient_image
from PIL import Image

pytest.importorskip("lightning")

PROGRAMS = {
    "tinypose": "tinypose_torch.cli",
    "convert": "convert.__main__",
    "train": "train.__main__",
    "train.synthetic": "train.synthetic.__main__",
    "train.merge": "train.merge",
    "train.demo": "train.demo",
}
WEIGHTS = f"{ROOT}/weights/tinypose_128x96_demo.safetensors"
MACROS = {
    "{WEIGHTS}": WEIGHTS,
    "{POSE}": f"--weights {WEIGHTS}",
    "{MODELS}": f"--pose-weights {WEIGHTS}",
    "{DETECTOR}": f"--pose-weights {WEIGHTS} --detector-weights {ROOT}/weights/picodet_s_192_demo.safetensors",
    "{DATA}": "data.train=ann.json data.images=photos accelerator=cpu data.workers=0",
    "{NANS}": "nan " * 17,
    "{INFINITIES}": "inf " * 17,
    "{NEGATIVES}": "-0.1 " * 17,
}
NAMES = {
    "long": "x" * 300,
    "huge": "9" * 5000,
    "esc": "\x1b]0;title\x07\x1b[31mred\r",
    "nl": "two\nlines",
    "bad": os.fsdecode(b"\xff\xfe"),
}
KEYPOINTS = [
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
]
# One line is one call: the arguments as a shell reads them. {long} is a name of 300 letters, {huge} a number of 5000
# digits, {esc} a control sequence of terminals, {nl} a line break, {bad} a byte that is not UTF-8.
USAGE = """
tinypose
tinypose nonsense
tinypose --unknown
tinypose {esc}
tinypose predict
tinypose predict --unknown photo.jpg
tinypose predict photo.jpg --{esc}
tinypose predict photo.jpg --json
tinypose predict photo.jpg --json ''
tinypose predict photo.jpg --json=
tinypose predict photo.jpg --output ''
tinypose predict photo.jpg --pose ''
tinypose predict photo.jpg --detector=
tinypose predict photo.jpg --pose-weights ''
tinypose predict photo.jpg --detector-weights ''
tinypose predict photo.jpg --device ''
tinypose predict photo.jpg --person-class ''
tinypose predict photo.jpg --threads many
tinypose predict photo.jpg --threads 1.5
tinypose predict photo.jpg --threads {huge}
tinypose predict photo.jpg --threads ''
tinypose predict photo.jpg --detection-threshold high
tinypose predict photo.jpg --detection-threshold {esc}
tinypose predict photo.jpg --keypoint-threshold 0,5
tinypose predict photo.jpg --crop odd
tinypose predict photo.jpg --smoothing much
tinypose predict photo.jpg --detect-every two
tinypose predict photo.jpg --view port
tinypose predict photo.jpg --de cpu
tinypose models a b
tinypose models --all
tinypose models ''
tinypose evaluate
tinypose evaluate --annotations
tinypose evaluate --annotations ''
tinypose evaluate --annotations ann.json --images ''
tinypose evaluate --annotations ann.json --json ''
tinypose evaluate --annotations ann.json --predictions ''
tinypose evaluate --annotations ann.json --weights ''
tinypose evaluate --annotations ann.json --pose a --detector b
tinypose evaluate --annotations ann.json --pose a --tracks b
tinypose evaluate --annotations ann.json --detections a --with-detector b
tinypose evaluate --annotations ann.json --max-people 2 --single-person
tinypose evaluate --annotations ann.json --limit 1.5
tinypose evaluate --annotations ann.json --limit {huge}
tinypose evaluate --annotations ann.json --sigmas
tinypose evaluate --annotations ann.json --sigmas a b
tinypose evaluate --annotations ann.json --decoding best
tinypose evaluate --annotations ann.json {esc}
tinypose export tinypose_128x96 another
tinypose export tinypose_128x96 --precision int4
tinypose export tinypose_128x96 --output ''
tinypose export ''
tinypose export tinypose_128x96 --input-size 64
tinypose export tinypose_128x96 --input-size 64 wide
tinypose export tinypose_128x96 --batch 2 --dynamic-batch
tinypose export tinypose_128x96 --batch two
tinypose export tinypose_128x96 --raw=yes
tinypose export tinypose_128x96 --error-budget small
tinypose export tinypose_128x96 --images ''
tinypose benchmark --threads
tinypose benchmark --threads two
tinypose benchmark --rounds few
tinypose benchmark --json ''
tinypose benchmark --plot ''
tinypose benchmark --weights ''
tinypose benchmark ''
tinypose benchmark --backend
convert
convert ''
convert --model tinypose_128x96
convert a.pdparams b.pdparams
convert --all a.pdparams
convert --all --model tinypose_128x96
convert --all --verify
convert a.pdparams --verify
convert a.pdparams --paddle-model folder
convert a.pdparams --reference folder
convert a.pdparams --output ''
convert a.pdparams --receipt ''
convert a.pdparams --model ''
convert a.pdparams --num-keypoints many
convert a.pdparams --{esc}
train
train ''
train --unknown demo_pose
train demo_pose ''
train.synthetic
train.synthetic --output new
train.synthetic --images 10
train.synthetic --output '' --images 10
train.synthetic --output new --images 1
train.synthetic --output new --images -5
train.synthetic --output new --images {huge}
train.synthetic --output new --images 9999999999
train.synthetic --output new --images 10 --seed -1
train.synthetic --output new --images 10 --seed 0.5
train.synthetic --output new --images 10 --size 64
train.synthetic --output new --images 10 --size 1 1
train.synthetic --output new --images 10 --size 99999 99999
train.synthetic --output new --images 10 --people 0
train.synthetic --output new --images 10 --people 1000
train.synthetic --output new --images 10 --heights nan 1
train.synthetic --output new --images 10 --heights 2 1
train.synthetic --output new --images 10 --heights 0.1 inf
train.synthetic --output new --images 10 --workers 0
train.synthetic --output new --images 10 --workers -3
train.synthetic --output new --images 10 --keypoints tail
train.synthetic --output new --images 10 --keypoints nose,nose
train.synthetic --output new --images 10 --keypoints {esc}
train.synthetic --output new --images 10 --keypoints ''
train.merge
train.merge --output new.json
train.merge --coco ann.json
train.merge --output new.json --ai-challenger ai.json
train.merge --output '' --coco ann.json
train.demo --seed -1
train.demo --seed many
train.demo --output ''
train.demo {esc}
"""

ERRORS = """
tinypose predict ''
tinypose predict photo.jpg ''
tinypose predict photo.jpg --pose tinypose_128
tinypose predict photo.jpg --pose {esc}
tinypose predict photo.jpg --pose {long}
tinypose predict photo.jpg --pose picodet_s_192_pedestrian
tinypose predict photo.jpg --detector tinypose_128x96
tinypose predict photo.jpg --detector nonsense {MODELS}
tinypose predict photo.jpg --detector {esc} {MODELS}
tinypose predict photo.jpg --pose-weights gone.pdparams
tinypose predict photo.jpg --pose-weights {esc}.pdparams
tinypose predict photo.jpg --pose-weights {nl}.pdparams
tinypose predict photo.jpg --pose-weights {long}
tinypose predict photo.jpg --pose-weights {long}.pdparams
tinypose predict photo.jpg --pose-weights {bad}.pdparams
tinypose predict photo.jpg --pose-weights notes.txt
tinypose predict photo.jpg --pose-weights photo.jpg
tinypose predict photo.jpg --pose-weights photos
tinypose predict photo.jpg --pose-weights empty
tinypose predict photo.jpg --pose-weights empty.safetensors
tinypose predict photo.jpg --pose-weights 1999
tinypose predict photo.jpg --pose-weights fifo
tinypose predict photo.jpg --pose-weights loop
tinypose predict photo.jpg --detector-weights gone.pt {MODELS}
tinypose predict photo.jpg --detector none --detector-weights gone.pt {MODELS}
tinypose predict photo.jpg --detector none --detection-threshold 0.5 {MODELS}
tinypose predict photo.jpg --detector none --person-class dog {MODELS}
tinypose predict photo.jpg --detector none --pose tinypose_256x192 {MODELS}
tinypose predict photo.jpg --detector none --backend onnx {MODELS}
tinypose predict photo.jpg --detector none --backend paddle {MODELS}
tinypose predict photo.jpg --detector none --backend {esc} {MODELS}
tinypose evaluate --annotations ann.json --images photos --backend {esc} {POSE}
tinypose evaluate --annotations ann.json --images photos --format {esc} {POSE}
tinypose export tinypose_128x96 --format coreml
tinypose predict photo.jpg --detector none --device gpu {MODELS}
tinypose predict photo.jpg --detector none --device cuda:99 {MODELS}
tinypose predict photo.jpg --detector none --device {esc} {MODELS}
tinypose predict photo.jpg --threads 0
tinypose predict photo.jpg --threads -1
tinypose predict photo.jpg --threads 100000
tinypose predict photo.jpg --detect-every 0 --track
tinypose predict photo.jpg --detect-every 5
tinypose predict photo.jpg --smoothing off
tinypose predict photo.jpg --track {MODELS}
tinypose predict photo.jpg --view {MODELS}
tinypose predict clip.mp4 --view 99999 --detector none {MODELS}
tinypose predict clip.mp4 --view -1 --detector none {MODELS}
tinypose predict photo.jpg --keypoint-threshold nan
tinypose predict photo.jpg --keypoint-threshold inf
tinypose predict photo.jpg --keypoint-threshold -0.1
tinypose predict photo.jpg --keypoint-threshold 1e300
tinypose predict photo.jpg --detection-threshold nan {DETECTOR}
tinypose predict photo.jpg --detection-threshold 1.1 {DETECTOR}
tinypose predict photo.jpg --json photo.jpg
tinypose predict photo.jpg --json photos
tinypose predict photo.jpg --json new/
tinypose predict photo.jpg --json notes.txt
tinypose predict photo.jpg --json notes.txt/below.json
tinypose predict photo.jpg --json fifo
tinypose predict photo.jpg --json loop
tinypose predict photo.jpg --json dangling
tinypose predict photo.jpg --json {long}
tinypose predict photo.jpg --json {esc}/{long}
tinypose predict photo.jpg --json ~nobody/poses.json
tinypose predict photo.jpg --output notes.txt
tinypose predict photo.jpg --output fifo
tinypose predict photo.jpg --output dangling
tinypose predict photo.jpg --output notes.txt/below
tinypose predict photo.jpg --output {long}
tinypose predict photo.jpg --output ~/overlays
tinypose predict photos --json photos/a.jpg --overwrite
tinypose predict photo.jpg --output new --json new/photo.png
tinypose predict photo.jpg --output new --json new/PHOTO.PNG
tinypose models zzz
tinypose models {esc}
tinypose evaluate --annotations ann.json
tinypose evaluate --annotations ann.json --images photos --weights gone.pt
tinypose evaluate --annotations ann.json --images photos --weights notes.txt
tinypose evaluate --annotations ann.json --images photos --pose nonsense
tinypose evaluate --annotations ann.json --images photos --detector tinypose_128x96
tinypose evaluate --annotations ann.json --images photos --pose picodet_s_192_pedestrian
tinypose evaluate --annotations ann.json --images photos --limit 0
tinypose evaluate --annotations ann.json --images photos --limit -1
tinypose evaluate --annotations ann.json --images photos --max-people 0
tinypose evaluate --annotations ann.json --images photos --detector-weights gone.pt
tinypose evaluate --annotations ann.json --images photos --person-class dog
tinypose evaluate --annotations ann.json --images photos --detection-threshold 0.5
tinypose evaluate --annotations ann.json --images photos --detection-threshold nan --with-detector auto {POSE}
tinypose evaluate --annotations ann.json --images photos --detection-threshold 2 --detections list.json {POSE}
tinypose evaluate --annotations ann.json --images photos --with-detector auto --flip
tinypose evaluate --annotations ann.json --images photos --truth notes.txt --limit 1 {POSE}
tinypose evaluate --annotations ann.json --images photos --threads 0 {POSE}
tinypose evaluate --annotations ann.json --images photos --device nowhere {POSE}
tinypose evaluate --annotations ann.json --images photos --json ann.json {POSE}
tinypose evaluate --annotations ann.json --images photos --json notes.txt {POSE}
tinypose evaluate --annotations ann.json --images photos --predictions notes.txt {POSE}
tinypose evaluate --annotations ann.json --images photos --predictions photos/a.jpg --overwrite {POSE}
tinypose evaluate --annotations ann.json --images photos --json new.json --predictions new.json {POSE}
tinypose evaluate --annotations ann.json --images photos --json photos {POSE}
tinypose evaluate --annotations gt.txt --tracks gone.jsonl
tinypose evaluate --annotations gt.txt --tracks notes.txt
tinypose evaluate --annotations gone.txt --tracks list.json
tinypose evaluate --annotations gt.txt --tracks list.json --images photos
tinypose evaluate --annotations gt.txt --tracks list.json --flip
tinypose export
tinypose export tinypose_128x96 --batch 9999999999 {POSE}
tinypose export nonsense
tinypose export {esc}
tinypose export tinypose_128x96 --weights gone.pt
tinypose export tinypose_128x96 --weights notes.txt
tinypose export picodet_s_192_pedestrian {POSE}
tinypose export tinypose_128x96 --precision int8 {POSE}
tinypose export tinypose_128x96 --detector auto {POSE}
tinypose export tinypose_128x96 --person-class dog {POSE}
tinypose export tinypose_128x96 --error-budget 0.1 {POSE}
tinypose export tinypose_128x96 --error-budget nan --precision int8 --images photos {POSE}
tinypose export tinypose_128x96 --error-budget -1 --precision int8 --images photos {POSE}
tinypose export tinypose_128x96 --input-size 33 33 {POSE}
tinypose export tinypose_128x96 --input-size 0 64 {POSE}
tinypose export tinypose_128x96 --input-size -32 64 {POSE}
tinypose export tinypose_128x96 --input-size 320000 320000 {POSE}
tinypose export tinypose_128x96 --batch 0 {POSE}
tinypose export tinypose_128x96 --batch -1 {POSE}
tinypose export tinypose_128x96 --dynamic-batch {POSE}
tinypose export tinypose_128x96 --images gone {POSE}
tinypose export tinypose_128x96 --images empty {POSE}
tinypose export tinypose_128x96 --output photos {POSE}
tinypose export tinypose_128x96 --output notes.txt {POSE}
tinypose export tinypose_128x96 --output new.pte/ {POSE}
tinypose export tinypose_128x96 --output notes.txt/new.pte {POSE}
tinypose export tinypose_128x96 --output {long}.pte {POSE}
tinypose export tinypose_128x96 --with nonsense {POSE}
tinypose export tinypose_128x96 --with-weights gone.pt {POSE}
tinypose benchmark nonsense
tinypose benchmark {esc}
tinypose benchmark --rounds 0
tinypose benchmark --rounds -3
tinypose benchmark --threads 0
tinypose benchmark --threads 1 100000
tinypose benchmark --backend nonsense
tinypose benchmark --backend {esc}
tinypose benchmark --plot new.doc
tinypose benchmark --plot {esc}
tinypose benchmark --weights gone
tinypose benchmark --weights notes.txt
tinypose benchmark --json notes.txt
tinypose benchmark --json photos
tinypose benchmark --plot own.svg
tinypose benchmark --json new.svg --plot new.svg
tinypose benchmark --end-to-end tinypose_128x96
tinypose benchmark --images gone tinypose_128x96
convert gone.pdparams
convert gone.pdparams --model tinypose_128x96
convert {esc}.pdparams
convert {nl}.pdparams --model tinypose_128x96
convert {long}.pdparams
convert notes.txt
convert notes.txt --model tinypose_128x96
convert photos
convert empty --model tinypose_128x96
convert fifo --model tinypose_128x96
convert 2021 --model tinypose_128x96
convert notes.txt --model nonsense
convert {WEIGHTS} --model picodet_s_192_pedestrian
convert {WEIGHTS} --num-keypoints 0
convert {WEIGHTS} --num-keypoints -4
convert {WEIGHTS} --num-keypoints 1000000000
convert {WEIGHTS} --num-classes 3
convert {WEIGHTS} --output notes.txt
convert {WEIGHTS} --output photos
convert {WEIGHTS} --output new/
convert {WEIGHTS} --output {WEIGHTS} --overwrite
convert {WEIGHTS} --verify --reference photos --receipt notes.txt
convert --all --output notes.txt
train nonsense
train {esc}
train gone.yaml
train photos.yaml
train notes.yaml
train broken.yaml
train control.yaml
train binary.yaml
train demo_pose
train demo_pose {DATA} nonsense
train demo_pose {DATA} =5
train demo_pose {DATA} nonsense=1
train demo_pose {DATA} {esc}=1
train demo_pose {DATA} batch_size=0
train demo_pose {DATA} batch_size=nan
train demo_pose {DATA} batch_size={huge}
train demo_pose {DATA} max_steps=-1
train demo_pose {DATA} epochs=[
train demo_pose {DATA} epochs={nl}
train demo_pose {DATA} seed=-1
train demo_pose {DATA} optimisation.learning_rate=nan
train demo_pose {DATA} optimisation.learning_rate=0
train demo_pose {DATA} augmentation.flip=2
train demo_pose {DATA} input_size=[33,64]
train demo_pose {DATA} model=nonsense
train demo_pose {DATA} weights=gone.pt
train demo_pose {DATA} weights=notes.txt
train demo_pose {DATA} output=
train demo_pose {DATA} output="''"
train demo_pose {DATA} output=notes.txt
train demo_pose {DATA} output=notes.txt/below
train demo_pose {DATA} output=taken
train demo_pose {DATA} output={long}
train demo_pose {DATA} output=~/run
train demo_pose {DATA} output=fifo
train demo_pose {DATA} resume=true
train demo_pose {DATA} resume=perhaps
train demo_pose {DATA} output=taken --check
train demo_pose data.train=gone.json data.images=photos
train demo_pose data.train=photos data.images=photos
train demo_pose data.train={esc} data.images=photos
train demo_pose data.train=notes.txt data.images=photos
train demo_pose data.train=ann.json data.images=gone
train demo_pose data.train=ann.json data.images=photo.jpg
train demo_pose data.train=ann.json data.images=empty
train.synthetic --output notes.txt --images 10
train.synthetic --output notes.txt/below --images 10
train.synthetic --output taken --images 10
train.synthetic --output fifo --images 10
train.synthetic --output ~/people --images 10
train.synthetic --output {long} --images 10
train.merge --output new.json --coco gone.json
train.merge --output new.json --coco photos
train.merge --output new.json --coco notes.txt
train.merge --output new.json --coco list.json
train.merge --output new.json --ai-challenger gone.json --ai-challenger-images photos
train.merge --output new.json --ai-challenger list.json --ai-challenger-images photos
train.merge --output ann.json --coco ann.json --overwrite
train.merge --output notes.txt --coco ann.json
train.merge --output photos --coco ann.json
train.demo --output notes.txt
train.demo --output taken
train.demo --output ~/demo
"""

# Found only after a network was built.
LATE_ERRORS = """
tinypose predict photo.jpg --person-class dog {DETECTOR}
tinypose evaluate --annotations gone.json --images photos {POSE}
tinypose evaluate --annotations {esc}.json --images photos {POSE}
tinypose evaluate --annotations photos --images photos {POSE}
tinypose evaluate --annotations notes.txt --images photos {POSE}
tinypose evaluate --annotations empty --images photos {POSE}
tinypose evaluate --annotations list.json --images photos {POSE}
tinypose evaluate --annotations ann.json --images gone {POSE}
tinypose evaluate --annotations ann.json --images photo.jpg {POSE}
tinypose evaluate --annotations ann.json --images empty {POSE}
tinypose evaluate --annotations ann.json --images photos --with-detector nonsense {POSE}
tinypose evaluate --annotations ann.json --images photos --sigmas 0.1 {POSE}
tinypose evaluate --annotations ann.json --images photos {POSE} --sigmas {NANS}
tinypose evaluate --annotations ann.json --images photos {POSE} --sigmas {INFINITIES}
tinypose evaluate --annotations ann.json --images photos {POSE} --sigmas {NEGATIVES}
tinypose evaluate --annotations ann.json --images photos --truth gone.mat {POSE}
tinypose evaluate --annotations ann.json --images photos --detections gone.json {POSE}
tinypose evaluate --annotations ann.json --images photos --detections notes.txt {POSE}
tinypose evaluate --annotations ann.json --images photos --detections ann.json {POSE}
tinypose export tinypose_128x96 {POSE} --with tinypose_128x96 --with-weights {WEIGHTS}
convert {WEIGHTS} --num-keypoints 5
convert {WEIGHTS} --verify --reference gone
convert {WEIGHTS} --verify --reference photos
convert {WEIGHTS} --verify --reference taken
convert {WEIGHTS} --verify --paddle-model gone
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of every kind."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("photos", "empty", "taken/logs", "photos.yaml"):
        (folder / name).mkdir(parents=True)
    for name in ("photo.jpg", "photos/a.jpg"):
        Image.fromarray(gradient_image()).save(folder / name)
    person = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [20, 20, 60, 80], "area": 4800.0}
    person |= {"keypoints": [50.0, 50.0, 2] * 17, "num_keypoints": 17}
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 160, "height": 120}],
        "annotations": [person],
        "categories": [{"id": 1, "name": "person", "keypoints": KEYPOINTS}],
    }
    texts = {
        "ann.json": json.dumps(content),
        "list.json": "[1, 2]",
        "notes.txt": "my notes",
        "notes.yaml": "my notes",
        "broken.yaml": "model: [1\nb: {",
        "control.yaml": '"\\e[31mred": 1',
        "clip.mp4": "no video",
        "gt.txt": "1,1,0,0,9,9,1,1,1\n",
        "own.svg": "<svg/>",
        "empty.safetensors": "",
        "ai.json": "[]",
        "taken/train.json": "{}",
        "taken/manifest.json": "{}",
        "taken/io.npz": "",
        "taken/config.json": "{}",
        "taken/demo.png": "mine",
        "taken/samples.png": "mine",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "binary.yaml").write_bytes(b"\xff\xfe\x00\x01")
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("gone")
    os.mkfifo(folder / "fifo")
    return folder


def snapshot(folder):
    """Name, kind, size and hash of everything in a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        facts = path.lstat()
        regular = stat.S_ISREG(facts.st_mode)
        found[str(path.relative_to(folder))] = (
            stat.S_IFMT(facts.st_mode),
            facts.st_size if regular else None,
            hashlib.sha256(path.read_bytes()).hexdigest() if regular else None,
        )
    return found


def too_late(signum, frame):
    raise AssertionError("hangs")


def call(line):
    """Run a command in this process; returns its status, and whether the parser ended it."""
    program, *words = shlex.split(line if "{" not in line else expand(line))
    words = [word.format_map(NAMES) if "{" in word else word for word in words]
    main = importlib.import_module(PROGRAMS[program]).main
    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(120)  # of the clock, on a busy machine; ten seconds of the processor are allowed
    started = time.process_time()
    try:
        status, by_parser = main(words), False
    except SystemExit as stopped:
        status, by_parser = stopped.code, True
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert time.process_time() - started < 10
    return status, by_parser


def expand(line):
    for name, text in MACROS.items():
        line = line.replace(name, text)
    return line


def check(line, folder, monkeypatch, capsys):
    """Run a command with wrong arguments; returns what it printed, and whether the parser ended it."""
    monkeypatch.chdir(folder)
    before = snapshot(folder)
    status, by_parser = call(line)
    printed = capsys.readouterr()
    assert status == 2, printed
    assert snapshot(folder) == before
    assert "Traceback" not in printed.err
    assert all(letter.isprintable() or letter == "\n" for letter in printed.err + printed.out), printed
    assert printed.err.endswith("\n")
    return printed.err.splitlines(), by_parser


def is_clear(line):
    """Whether an error says more than a name."""
    _, _, message = line.partition(": error: ")
    return len(line) < 3000 and len(message.split()) >= 3


@pytest.mark.parametrize("line", USAGE.strip().splitlines())
def test_usage(line, folder, monkeypatch, capsys):
    lines, by_parser = check(line, folder, monkeypatch, capsys)
    assert by_parser
    assert lines[0].startswith("usage: ")
    assert all(other.startswith(" ") for other in lines[1:-1]), lines
    assert is_clear(lines[-1]), lines


@pytest.mark.parametrize("line", ERRORS.strip().splitlines())
def test_error(line, folder, monkeypatch, capsys):
    lines, by_parser = check(line, folder, monkeypatch, capsys)
    assert not by_parser
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"{line.split()[0]}: error: ")
    assert is_clear(lines[0]), lines


@pytest.mark.slow
@pytest.mark.parametrize("line", LATE_ERRORS.strip().splitlines())
def test_late_error(line, folder, monkeypatch, capsys):
    lines, _ = check(line, folder, monkeypatch, capsys)
    assert lines[-1].startswith(f"{line.split()[0]}: error: ")
    assert is_clear(lines[-1]), lines


def test_how_many():
    """At least 200, each another one, of every command."""
    lines = [line for line in (USAGE + ERRORS + LATE_ERRORS).splitlines() if line]
    assert len(lines) == len(set(lines)) >= 200
    assert {line.split()[0] for line in lines} == set(PROGRAMS)
