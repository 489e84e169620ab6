"""Apps with the interface of react-native-executorch: signature, answers, and the package's own task in Node."""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DEMO_WEIGHTS

from tinypose_torch import COCO17, CheckpointError
from tinypose_torch.cli import main
from tinypose_torch.estimators.app import letterbox
from tinypose_torch.export import export_app
from tinypose_torch.export.app.detection import ToFrame
from tinypose_torch.runtime.app import open_app, planes_of_frame
from tinypose_torch.runtime.app_metadata import AppMetadata
from tinypose_torch.utils.defaults import REACT_NATIVE
from train.synthetic.scenes import render_scene

from .app_helpers import DETECTOR, POSE, check_people, describe, estimator, networks

SIZE, PEOPLE = (240, 320), 2
PACKAGE = "react-native-executorch@0.10.2"
OPTIONS = {  # as in docs/guides/app.md
    "boxFormat": "xyxy",
    "resizeMode": "letterbox",
    "interpolation": "linear",
    "normalizeOpts": {"alpha": 1 / 255, "beta": 0},
    "defaultIouThreshold": 1,
    "defaultConfidenceThreshold": 0.5,
}


def describe_react_native(pose, detector):
    frame = describe(pose, detector, SIZE, PEOPLE)
    return AppMetadata(frame.detector, frame.pose, SIZE, PEOPLE, frame.threshold, interface=REACT_NATIVE)


def picture(number=1):
    return letterbox(render_scene(np.random.default_rng([77, number]))[0], SIZE).frame


def test_planes_give_the_frame_back():
    """All grey levels, as the package normalises them, are the same whole numbers again."""
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    levels[..., 1:] = np.random.default_rng(0).integers(0, 256, (16, 16, 2))
    planes = planes_of_frame(levels)
    assert planes.shape == (1, 3, 16, 16)
    assert planes.dtype == np.float32
    assert planes.max() == 1
    assert np.array_equal(ToFrame()(torch.from_numpy(planes)).numpy(), levels)
    assert np.array_equal(ToFrame()(torch.tensor([-1.0, 0.501, 2.0]).reshape(1, 3, 1, 1)).numpy()[0, 0], [0, 128, 255])


def test_description(tmp_path):
    pose, detector = networks(DEMO_WEIGHTS.get)
    with pytest.raises(ValueError, match="interface='flutter'; choose one of frame, react-native"):
        export_app(pose, detector, tmp_path / "app.pte", interface="flutter")
    metadata = describe_react_native(pose, detector)
    text = metadata.to_json()
    assert AppMetadata.from_json(text) == metadata
    app = json.loads(text)["app"]
    assert (app["interface"], app["frame"]["kind"]) == ("react-native", "float32 NCHW RGB from 0 to 1")
    with pytest.raises(CheckpointError, match="interface 'flutter'; expected frame or react-native"):
        AppMetadata.from_json(text.replace('"react-native"', '"flutter"'))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--interface", REACT_NATIVE], "--interface react-native needs --frame"),
        (
            ["--interface", REACT_NATIVE, "--frame", "240", "320", "--with", DETECTOR, "--format", "onnx"],
            "interface='react-native' is not for format='onnx'",
        ),
    ],
)
def test_options_that_do_not_go_together(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", POSE, "--weights", str(DEMO_WEIGHTS[POSE]), *words]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def react_native_file(tmp_path_factory):
    pytest.importorskip("executorch")
    path = tmp_path_factory.mktemp("react_native") / "app.pte"
    pose, detector = networks(DEMO_WEIGHTS.get)
    export_app(pose, detector, path, SIZE, PEOPLE, interface=REACT_NATIVE)
    return path


def tensor_specs(metas):
    """Tensors of a method as the package reads them from the file: all dimensions are constant."""
    kinds = {6: "float32", 0: "uint8"}  # of torch.ScalarType
    return [
        {
            "kind": "Tensor",
            "dtype": kinds[meta.dtype()],
            "shape": [{"kind": "constant", "value": size} for size in meta.sizes()],
        }
        for meta in metas
    ]


def schema_of(path: Path):
    """The package's description of all methods of a file."""
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(str(path))
    schema = {}
    for name in program.method_names:
        meta = program.metadata(name)
        inputs = tensor_specs([meta.input_tensor_meta(index) for index in range(meta.num_inputs())])
        outputs = tensor_specs([meta.output_tensor_meta(index) for index in range(meta.num_outputs())])
        schema[name] = {"inputs": inputs, "outputs": outputs, "runtimeConstraints": []}
    return schema


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The published package, beside a stand-in for react-native-worklets that runs everything at once."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("npm")
    pack = [npm, "pack", "--fetch-retries=0", "--fetch-timeout=60000", PACKAGE]
    if subprocess.run(pack, cwd=folder, capture_output=True, check=False).returncode:
        pytest.skip(f"npm cannot fetch {PACKAGE}")
    shutil.unpack_archive(next(folder.glob("*.tgz")), folder)
    worklets = folder / "package/node_modules/react-native-worklets"
    worklets.mkdir(parents=True)
    (worklets / "package.json").write_text('{"name": "react-native-worklets", "type": "module", "main": "index.js"}')
    (worklets / "index.js").write_text(
        "export const createWorkletRuntime = () => ({});\n"
        "export const runOnRuntimeAsync = async (runtime, work, ...given) => work(...given);\n"
    )
    return folder / "package"


@pytest.mark.slow
def test_file(react_native_file):
    """The estimator's people; one method, beside the description."""
    schema, app = schema_of(react_native_file), open_app(react_native_file)
    assert set(schema) == {"forward", "tinypose_metadata"}
    shapes = {
        kind: [(each["dtype"], *(size["value"] for size in each["shape"])) for each in schema["forward"][kind]]
        for kind in ("inputs", "outputs")
    }
    assert shapes["inputs"] == [("float32", 1, 3, *SIZE)]
    assert shapes["outputs"] == [("float32", PEOPLE, 4), ("float32", PEOPLE), ("float32", PEOPLE, 17, 3)]
    python = estimator(DEMO_WEIGHTS.get)
    frames = [*map(picture, range(1, 4)), np.zeros((*SIZE, 3), np.uint8)]
    assert sum(check_people(app(frame), python(frame), PEOPLE) for frame in frames) >= 3
    with pytest.raises(ValueError, match="no method detect; it has forward"):
        app.detect(frames[0])


@pytest.mark.slow
def test_the_packages_own_task(react_native_file, package):
    """Its checks of the file's signature, what it feeds, and what it makes of the outputs."""
    frame = picture()
    app, expected = open_app(react_native_file), estimator(DEMO_WEIGHTS.get)(frame)
    given = {
        "schema": schema_of(react_native_file),
        "outputs": [output.reshape(-1).tolist() for output in app(frame)],
        "options": OPTIONS,
        "image": {"data": base64.b64encode(frame.tobytes()).decode(), "width": SIZE[1], "height": SIZE[0]},
    }
    program = ["node", str(Path(__file__).with_name("react_native.mjs")), str(package)]
    done = subprocess.run(program, input=json.dumps(given).encode(), capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    answer = json.loads(done.stdout)
    fed = np.frombuffer(base64.b64decode(answer["input"]), np.float32).reshape(answer["shape"])
    assert np.array_equal(fed, planes_of_frame(frame))
    people = answer["people"]
    assert len(people) == min(PEOPLE, len(expected)) >= 1
    for person, box, score, points, scores in zip(
        people, expected.boxes, expected.scores, expected.keypoints, expected.keypoint_scores, strict=False
    ):
        names = [name.replace("_", "").lower() for name in COCO17.keypoint_names]
        assert [name.lower() for name in person["landmarks"]] == names
        found = np.array([[each["x"], each["y"], each["confidence"]] for each in person["landmarks"].values()])
        assert np.abs([person["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")] - box).max() < 0.01
        assert abs(person["confidence"] - score) < 1e-4
        assert np.abs(found[:, :2] - points)[scores > 0.2].max() < 0.01
        assert np.abs(found[:, 2] - scores).max() < 1e-4
