"""Weights say which model they are: one rule for every command and for Python."""

import hashlib
import itertools
import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from conftest import REAL, ROOT, gradient_image

from convert.__main__ import main as convert
from tinypose_torch import (
    BottomUpEstimator,
    CheckpointError,
    PoseEstimator,
    Skeleton,
    UnknownModelError,
    create_model,
    defaults,
)
from tinypose_torch.checkpoints.files import describe_changes, hash_weights, save_safetensors
from tinypose_torch.checkpoints.identity import WrongModelError, resolve_model
from tinypose_torch.cli import main
from tinypose_torch.export.once import exported_once
from tinypose_torch.images import save_png
from tinypose_torch.runtime import load_runner

POSE, DETECTOR = "tinypose_128x96", "picodet_s_192_lcnet_pedestrian"
SHARES_SHAPES = "tinypose_128x96, tinypose_256x192, wider_naive_hrnet_18_256x192"
DEMO_POSE, DEMO_DETECTOR = (ROOT / f"weights/{name}_demo.safetensors" for name in (POSE, "picodet_s_192"))
HAND = Skeleton.unnamed(5)

needs_reference = pytest.mark.needs_reference


def save(network, path):
    save_safetensors(network, path, describe_changes(network.entry))
    return path


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """Files of fine-tuned networks: five keypoints at an input size of their own, two classes, and a narrow bottom-up one."""
    folder = tmp_path_factory.mktemp("tuned")
    torch.manual_seed(0)
    return {
        "pose": save(create_model(POSE, skeleton=HAND, input_size=(64, 64)), folder / "hand.safetensors"),
        "detector": save(create_model(DETECTOR, class_names=("dog", "person")), folder / "pets.safetensors"),
        "bottom-up": save(create_model("higherhrnet_w16_192"), folder / "narrow.safetensors"),
    }


def bare(network, path):
    """A file that does not say which model it is."""
    torch.save(network.state_dict(), path)
    return path


# --- which model ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [None, "auto"])
def test_defaults_without_weights(name):
    assert resolve_model(name, tasks=("pose",)).name == defaults.POSE
    assert resolve_model(name, tasks=("detection",)).name == defaults.DETECTOR
    assert resolve_model(name, tasks=("bottom-up pose",)).name == defaults.BOTTOM_UP
    with pytest.raises(ValueError, match="which model"):
        resolve_model(name)
    with pytest.raises(ValueError, match="which model"):
        create_model(name)


def test_a_file_that_knows_its_model():
    source = resolve_model(None, DEMO_POSE, ("pose",))
    assert source.name == POSE
    assert source.checkpoint is None, "its tensors need not be read"
    assert resolve_model("auto", DEMO_DETECTOR).name == DETECTOR
    assert create_model(None, weights=DEMO_POSE).entry.name == POSE


def test_a_name_that_contradicts_the_file():
    message = "demo.safetensors holds weights of tinypose_128x96, not of tinypose_256x192; pass --pose tinypose_128x96"
    with pytest.raises(WrongModelError, match=message):
        resolve_model("tinypose_256x192", DEMO_POSE, ("pose",), "--pose NAME")
    with pytest.raises(WrongModelError, match="not of tinypose_256x192; pass tinypose_128x96, or no name"):
        create_model("tinypose_256x192", weights=DEMO_POSE)
    with pytest.raises(WrongModelError, match="pass pose=tinypose_128x96"):
        PoseEstimator(None, "tinypose_256x192", pose_weights=DEMO_POSE)
    with pytest.raises(WrongModelError, match="pass detector=picodet_s_192_lcnet_pedestrian"):
        PoseEstimator("picodet_s_320_lcnet_pedestrian", POSE, DEMO_DETECTOR, DEMO_POSE)


def test_a_file_of_another_task():
    with pytest.raises(ValueError, match=f"{DETECTOR} is not a pose network, but a detector"):
        PoseEstimator(None, pose_weights=DEMO_DETECTOR)
    with pytest.raises(ValueError, match=f"{POSE} is not a bottom-up network, but a pose network"):
        BottomUpEstimator(weights=DEMO_POSE)


def test_a_file_of_a_model_that_is_not_in_the_catalogue(tmp_path):
    save_safetensors(create_model(POSE), tmp_path / "x.safetensors", {"model": "tinypose_512"})
    with pytest.raises(UnknownModelError, match="x.safetensors: unknown model 'tinypose_512'"):
        create_model(None, weights=tmp_path / "x.safetensors")


def test_a_bare_file_whose_tensors_fit_several_models(tmp_path):
    path = bare(create_model(POSE), tmp_path / "x.pt")
    message = rf"x\.pt does not say which model it holds; pass --pose NAME \(its tensors fit {SHARES_SHAPES}\)"
    with pytest.raises(WrongModelError, match=message):
        resolve_model(None, path, ("pose",), "--pose NAME")
    assert create_model("tinypose_256x192", weights=path).entry.input_size == (256, 192)


@pytest.mark.parametrize(
    ("name", "tasks"),
    [("higherhrnet_w16_192", ()), ("picodet_legacy_l_640_coco", None), ("fairmot_dla34", ("detection",))],
)
def test_a_bare_file_whose_tensors_fit_one_model(name, tasks, tmp_path):
    path = bare(create_model(name), tmp_path / "x.pt")
    if tasks is None:  # its sizes differ in the input alone
        with pytest.raises(
            WrongModelError, match="its tensors fit picodet_legacy_l_320_coco, picodet_legacy_l_416_coco"
        ):
            resolve_model(None, path)
        return
    source = resolve_model(None, path, tasks)
    assert source.name == name
    assert source.checkpoint is not None, "it was read, and is not read again"


def test_a_bare_file_that_fits_nothing(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "x.pt")
    with pytest.raises(WrongModelError, match="does not say which model it holds; pass name .its tensors fit no model"):
        create_model(None, weights=tmp_path / "x.pt")


def test_other_keypoints_in_a_bare_file(tmp_path):
    """The body of the network still tells; the head needs a number, which the error names."""
    path = bare(create_model("higherhrnet_w16_192", num_keypoints=5), tmp_path / "x.pt")
    assert resolve_model(None, path).name == "higherhrnet_w16_192"
    assert create_model(None, weights=path, num_keypoints=5).entry.name == "higherhrnet_w16_192"
    with pytest.raises(CheckpointError, match="num_keypoints="):
        create_model(None, weights=path)


# --- receipts -------------------------------------------------------------------------------------------------------


def receipts(path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "receipt.json": {"sha256": digest, "configuration": {"model": POSE}},
        "x.receipt.json": {"model": POSE, "source": {"sha256": digest}, "converted": {"sha256": "0"}},
        f"{POSE}.receipt.json": {"model": POSE, "source": {"sha256": "0"}, "converted": {"sha256": digest}},
    }


@pytest.mark.parametrize("name", ["receipt.json", "x.receipt.json", f"{POSE}.receipt.json"])
def test_a_receipt_beside_the_file(name, tmp_path):
    path = bare(create_model(POSE), tmp_path / "x.pdparams")
    (tmp_path / name).write_text(json.dumps(receipts(path)[name]))
    assert resolve_model(None, path, ("pose",)).name == POSE
    with pytest.raises(WrongModelError, match="not of tinypose_256x192"):
        resolve_model("tinypose_256x192", path)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "[" * 100_000, '{"configuration": 3}', '{"model": 3, "source": 1}']
)
def test_receipts_that_say_nothing(content, tmp_path):
    path = bare(create_model("higherhrnet_w16_192"), tmp_path / "x.pt")
    (tmp_path / "receipt.json").write_text(content)
    (tmp_path / "y.receipt.json").write_text(json.dumps({"sha256": "0", "configuration": {"model": POSE}}))
    assert resolve_model(None, path).name == "higherhrnet_w16_192"


# --- releases -------------------------------------------------------------------------------------------------------


def test_a_release_by_its_tag(private_cache):
    torch.manual_seed(3)
    network = create_model(POSE)
    save(network, private_cache / f"{POSE}-2021.safetensors")
    assert resolve_model(POSE, "2021").release == "2021"
    assert resolve_model(None, "2021", ("pose",)).name == defaults.POSE
    for loaded in (
        create_model(POSE, weights="2021"),
        create_model(POSE, pretrained="2021"),
        load_runner(POSE, "2021").network,
        PoseEstimator(None, POSE, pose_weights="2021").pose_runner.network,
    ):
        assert torch.equal(loaded.final_conv.weight, network.final_conv.weight)


def test_a_tag_that_there_is_not():
    with pytest.raises(
        FileNotFoundError, match="'2023', and no such release of tinypose_128x96; its releases: 2022, 2021"
    ):
        PoseEstimator(None, POSE, pose_weights="2023")
    with pytest.raises(FileNotFoundError, match="no such release of higherhrnet_w16_192, which has none"):
        create_model("higherhrnet_w16_192", weights="2022")
    with pytest.raises(FileNotFoundError, match=r"no weight file 'x/2021.pdparams'$"):
        create_model(POSE, weights="x/2021.pdparams")


def test_a_file_comes_before_a_tag(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(DEMO_POSE, "2021")
    assert resolve_model(POSE, "2021").release is None
    assert create_model(POSE, weights="2021").entry.name == POSE


# --- deployed models ------------------------------------------------------------------------------------------------


NEWER, OLDER = REAL / "exported/tinypose_128x96", REAL / "exported/picodet_s_192_pedestrian_2021"


def copy_deployed(source, target, config=None):
    shutil.copytree(source, target)
    if config is not None:
        (target / "infer_cfg.yml").unlink()
        (target / "infer_cfg.yml").write_text(config)
    return target


def config_of(width, height, arch="HRNet"):
    return f"arch: {arch}\nPreprocess:\n- trainsize:\n  - {width}\n  - {height}\n  type: TopDownEvalAffine\n"


@needs_reference
@pytest.mark.parametrize(
    ("source", "name"), [(NEWER, POSE), (NEWER / "model.json", POSE), (OLDER, "picodet_s_192_pedestrian")]
)
def test_deployed_models_are_known_by_their_configuration(source, name):
    assert resolve_model(None, source).name == name
    assert resolve_model(name, source).name == name
    with pytest.raises(WrongModelError, match=f"holds weights of {name}, not of tinypose_256x192"):
        resolve_model("tinypose_256x192", source)


@needs_reference
def test_the_accuracy_of_a_deployed_model_without_a_name(tmp_path):
    """What a folder of the small network gives is not what the large one's input size would give."""
    estimator = PoseEstimator(None, pose_weights=NEWER)
    assert estimator.pose_entry.input_size == (128, 96)


@needs_reference
def test_models_of_one_size_and_architecture_are_told_by_the_folders_name(tmp_path):
    folder = copy_deployed(NEWER, tmp_path / "tinypose_256x192", config_of(192, 256))
    assert resolve_model(None, folder).name == "tinypose_256x192"
    folder = folder.rename(tmp_path / "wider_naive_hrnet_18_256x192_coco")
    assert resolve_model(None, folder).name == "wider_naive_hrnet_18_256x192"
    folder = folder.rename(tmp_path / "mine")
    with pytest.raises(WrongModelError, match="tensors fit tinypose_256x192, wider_naive_hrnet_18_256x192"):
        resolve_model(None, folder)
    with pytest.raises(WrongModelError, match="holds weights of tinypose_256x192 or wider_naive.*not of tinypose_128"):
        resolve_model(POSE, folder)


@needs_reference
def test_an_input_size_of_ones_own(tmp_path):
    folder = copy_deployed(NEWER, tmp_path / "mine", config_of(160, 160))
    assert create_model(POSE, weights=folder).entry.input_size == (160, 160)
    with pytest.raises(WrongModelError, match=f"tensors fit {SHARES_SHAPES}"):
        create_model(None, weights=folder)


@needs_reference
@pytest.mark.parametrize("file", ["picodet_s_192_lcnet_pedestrian", "picodet_s_320_lcnet_pedestrian"])
def test_genuine_configurations_of_detectors(file, tmp_path):
    config = (REAL / f"infer_cfg/{file}.yml").read_text()
    folder = copy_deployed(NEWER, tmp_path / "model", config)
    with pytest.raises(WrongModelError, match=f"holds weights of .*{file}.*, not of {POSE}"):
        resolve_model(POSE, folder)


@needs_reference
def test_without_a_configuration(tmp_path):
    folder = copy_deployed(NEWER, tmp_path / "model", "")
    (folder / "infer_cfg.yml").unlink()
    assert create_model(POSE, weights=folder).entry.name == POSE
    with pytest.raises(WrongModelError, match="does not say which model it holds"):
        create_model(None, weights=folder)
    digest = hash_weights(folder)
    (folder / "x.receipt.json").write_text(
        json.dumps({"model": POSE, "source": {"sha256": digest}, "converted": {"sha256": "0"}})
    )
    assert resolve_model(None, folder).name == POSE


# Each key is 20 times as large as the one before it.
MERGES = "".join(f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 20)}]}}\n" for a, b in itertools.pairwise("abcdefgh"))


@pytest.mark.parametrize(
    "config",
    [
        "",
        "[]",
        "arch: 3\n",
        "arch: HRNet\nPreprocess: 3\n",
        config_of("a", "b"),
        config_of("1" * 5000, 2),
        "arch: !!python/object/apply:os.system [true]\n",
        "[" * 5000,
        "\0",
        "arch: HRNet\n" + "#" * 70_000,
        "a: &a [*a]\n",
        "a: &a {x: 1}\n" + MERGES + config_of(96, 128),
    ],
)
def test_damaged_and_hostile_configurations(config):
    from tinypose_torch.checkpoints.infer_config import read_infer_config

    with pytest.raises(CheckpointError, match=r"infer_cfg\.yml"):
        read_infer_config(config.encode())


# --- every command --------------------------------------------------------------------------------------------------


@pytest.fixture
def photo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_png(gradient_image(), tmp_path / "photo.png")
    return "photo.png"


def test_predict(tuned, photo, tmp_path):
    files = ["--detector-weights", str(tuned["detector"]), "--pose-weights", str(tuned["pose"])]
    assert main(["predict", photo, *files, "--detection-threshold", "0", "--json", "x.json"]) == 0
    (record,) = json.loads((tmp_path / "x.json").read_text())
    assert np.array(record["poses"][0]["keypoints"]).shape == (5, 3)


def test_predict_bottom_up(tuned, photo, capsys):
    assert main(["predict", photo, "--pose-weights", str(tuned["bottom-up"]), "--json", "x.json"]) == 0
    assert "photo.png: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pose", "tinypose_256x192", "--pose-weights", str(DEMO_POSE)], "pass --pose tinypose_128x96, or no name"),
        (["--detector", "fairmot_dla34", "--detector-weights", str(DEMO_DETECTOR)], f"pass --detector {DETECTOR}"),
        (["--pose-weights", str(DEMO_DETECTOR)], "is not a pose network, but a detector"),
        (["--pose-weights", "2020"], "no such release of tinypose_256x192; its releases: 2022, 2021"),
    ],
)
def test_predict_says_what_is_wrong(arguments, message, photo, capsys):
    assert main(["predict", photo, *arguments]) == 2
    assert message in capsys.readouterr().err


def annotations(path, names, categories=None):
    """A COCO file with one person, or with one box per category, in photo.png."""
    keypoints = [value for index in range(len(names)) for value in (20 + 10 * index, 30, 2)]
    box = {"image_id": 1, "bbox": [10, 10, 100, 90], "area": 9000, "iscrowd": 0}
    person = {"keypoints": keypoints, "num_keypoints": len(names)}
    category = {"id": 1, "name": "person", "keypoints": list(names), "skeleton": []}
    facts = {
        "images": [{"id": 1, "file_name": "photo.png", "width": 160, "height": 120}],
        "annotations": [{"id": 1, "category_id": 1, **box, **person}],
        "categories": categories or [category],
    }
    path.write_text(json.dumps(facts))
    return str(path)


def test_evaluate(tuned, photo, tmp_path, capsys):
    pytest.importorskip("pycocotools")
    truth = annotations(tmp_path / "truth.json", HAND.keypoint_names)
    arguments = ["--annotations", truth, "--images", ".", "--json", "x.json"]
    assert main(["evaluate", "--weights", str(tuned["pose"]), "--sigmas", *["0.1"] * 5, *arguments]) == 0
    assert json.loads((tmp_path / "x.json").read_text())["model"] == POSE
    boxes = annotations(tmp_path / "boxes.json", ["a"], [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}])
    assert main(["evaluate", "--weights", str(tuned["detector"]), "--annotations", boxes, *arguments[2:]]) == 0
    assert json.loads((tmp_path / "x.json").read_text())["model"] == DETECTOR
    assert main(["evaluate", "--pose", "tinypose_256x192", "--weights", str(tuned["pose"]), *arguments]) == 2
    assert "pass --pose tinypose_128x96" in capsys.readouterr().err


def test_convert_export_and_what_reads_it(tuned, photo, tmp_path, capsys):
    bare(create_model(POSE, num_keypoints=5), tmp_path / "hand.pt")
    assert convert(["hand.pt", "--model", POSE, "--num-keypoints", "5", "--output", "x.safetensors"]) == 0
    assert main(["export", "--weights", "x.safetensors", "--format", "torchscript", "--output", "x.torchscript"]) == 0
    runner = load_runner(weights="x.torchscript")
    assert (runner.metadata.entry.name, len(runner.metadata.entry.skeleton)) == (POSE, 5)
    assert resolve_model(None, "x.torchscript").name == POSE
    assert resolve_model(None, "x.torchscript").backend == "torchscript"
    assert exported_once("auto", "x.torchscript").name == "x.torchscript"
    with pytest.raises(WrongModelError, match="not of tinypose_256x192; pass model=tinypose_128x96"):
        load_runner("tinypose_256x192", "x.torchscript")
    with pytest.raises(CheckpointError, match="is an exported file"):
        create_model(None, weights="x.torchscript")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "which model? pass NAME, or weights that say which model they hold"),
        (
            ["tinypose_256x192", "--weights", str(DEMO_POSE)],
            "not of tinypose_256x192; pass tinypose_128x96, or no name",
        ),
        ([POSE, "--with-weights", str(DEMO_DETECTOR), "--with", POSE], f"pass --with {DETECTOR}, or no name"),
        (["tinypose_256x192", "--weights", "2020"], "no such release of tinypose_256x192"),
    ],
)
def test_export_says_what_is_wrong(arguments, message, capsys):
    assert main(["export", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_benchmark(tuned, capsys):
    common = ["--backend", "eager", "--threads", "1", "--rounds", "1"]
    assert main(["benchmark", "--weights", str(tuned["pose"]), *common]) == 0
    assert f"{POSE}, float32 in and out" in capsys.readouterr().out
    assert main(["benchmark", "tinypose_256x192", "--weights", str(tuned["pose"]), *common]) == 2


# --- errors name the likely model -----------------------------------------------------------------------------------


def test_the_likely_model_and_few_tensors(tmp_path):
    path = bare(create_model("lite_hrnet_18_256x192"), tmp_path / "x.pt")
    with pytest.raises(CheckpointError) as caught:
        create_model(POSE, weights=path)
    message = str(caught.value)
    assert message.endswith("its tensors are most like those of lite_hrnet_18_256x192, lite_hrnet_18_384x288")
    assert " and " in message
    assert message.count("backbone.") < 12
    assert len(caught.value.missing) > 100


def test_no_likely_model(tmp_path):
    (tmp_path / "x.pdparams").write_bytes(pickle.dumps({"weight": np.zeros(3, np.float32)}, protocol=4))
    with pytest.raises(CheckpointError) as caught:
        create_model(POSE, weights=tmp_path / "x.pdparams")
    assert "most like" not in str(caught.value)
