"""The porting workbench, as a command."""

import functools
import http.server
import json
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REAL
from recordings import read_manifest, unpack_network

from convert.__main__ import main
from convert.run_paddledetection import PaddleError, run_paddledetection
from tinypose_torch import create_model
from tinypose_torch.checkpoints import download
from tinypose_torch.checkpoints.files import save_safetensors
from tinypose_torch.checkpoints.paddle_params import read_paddle_params

NAME = "tinypose_128x96"


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_receipt(name):
    return json.loads(Path(f"weights/{name}.receipt.json").read_text())


@pytest.mark.needs_reference
def test_converts_a_checkpoint(in_a_folder):
    source = REAL / f"weights/{NAME}.pdparams"
    assert main([str(source), "--model", NAME, "--output", "out/x.safetensors"]) == 0
    one, two = create_model(NAME, weights="out/x.safetensors"), create_model(NAME, weights=source)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert not (in_a_folder / "weights").exists(), "no receipt unless asked"


def test_receipt_against_the_recording(filler, capsys, tmp_path):
    filler.save_pdparams(filler.build(read_manifest(NAME)), "seeded.pdparams")
    folder_of_recording = unpack_network(NAME, tmp_path / "recorded")
    assert main(["seeded.pdparams", "--model", NAME, "--verify", "--reference", str(folder_of_recording)]) == 0
    receipt = read_receipt(NAME)
    assert receipt["tensors_mapped"] == len(receipt["names"]) == 1342
    (verification,) = receipt["verifications"]
    assert verification["equal"]
    assert verification["first_difference"] is None
    assert max(layer["relative"] for layer in verification["layers"]) < 1e-5
    assert verification["answers"]["heatmap"] < 1e-4
    assert "equal" in Path(f"weights/{NAME}.receipt.txt").read_text()
    assert f"wrote weights/{NAME}.receipt.json" in capsys.readouterr().out


def test_says_where_a_difference_starts(filler, capsys, tmp_path):
    weights = filler.build(read_manifest(NAME))
    weights["backbone.stage1.0.layers.0.0.branch2.1.conv.weight"] *= 1.1
    filler.save_pdparams(weights, "altered.pdparams")
    folder_of_recording = unpack_network(NAME, tmp_path / "recorded")
    assert main(["altered.pdparams", "--model", NAME, "--verify", "--reference", str(folder_of_recording)]) == 1
    assert read_receipt(NAME)["verifications"][0]["first_difference"] == "backbone.stage1.0.0"
    assert "DIFFERENT, from layer backbone.stage1.0.0 on" in capsys.readouterr().out


@pytest.mark.needs_reference
def test_beside_the_running_original():
    """The published 2021 detector and today's export, on PaddlePaddle; layer by layer."""
    pytest.importorskip("paddle")
    exported = REAL / "exported/picodet_s_192_pedestrian_2021"
    model = "picodet_s_192_pedestrian"
    source = str(REAL / f"weights/{model}.pdparams")
    assert main([source, "--model", model, "--verify", "--paddle-model", str(exported)]) == 0
    (verification,) = read_receipt(model)["verifications"]
    assert len(verification["layers"]) == 133
    assert verification["answers"]["box, pixels"] < 0.01
    assert verification["answers"]["score"] < 1e-5
    assert verification["versions"]["paddlepaddle"]


@pytest.mark.slow
@pytest.mark.needs_reference
def test_first_layer_that_differs_from_the_running_original(filler):
    pytest.importorskip("paddle")
    tensors = {
        name: array.copy()
        for name, array in read_paddle_params((REAL / f"weights/{NAME}.pdparams").read_bytes()).items()
    }
    tensors["backbone.stage2.1.layers.0.0.branch2.0.norm.bias"] += 1
    filler.save_pdparams(tensors, "altered.pdparams")
    arguments = ["altered.pdparams", "--model", NAME, "--verify", "--paddle-model", str(REAL / f"exported/{NAME}")]
    assert main([*arguments, "--images", str(REAL / "images/hrnet_demo.jpg")]) == 1
    (verification,) = read_receipt(NAME)["verifications"]
    assert verification["first_difference"] == "backbone.stage2.1.layers.0.0.branch2.0.norm"


def test_original_that_cannot_run(in_a_folder):
    pytest.importorskip("paddle")
    (in_a_folder / "model.json").write_text("{}")
    (in_a_folder / "model.pdiparams").touch()
    with pytest.raises(PaddleError, match="PaddlePaddle did not run"):
        run_paddledetection(in_a_folder / "model.json", np.zeros((1, 3, 32, 32), np.float32), [])


def test_every_entry_in_one_go(private_cache, capsys, monkeypatch):
    monkeypatch.setattr(download.time, "sleep", lambda _: None)
    name = "picodet_s_192_pedestrian"
    save_safetensors(create_model(name), private_cache / f"{name}-official.safetensors", {"model": name})
    assert main(["--all", "--output", "converted"]) == 1
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "converted/picodet_s_192_pedestrian.safetensors" in lines[name]
    assert "FAILED" in lines["tinypose_128x96"]
    assert lines["higherhrnet_w16_192"].split()[1:] == ["-", "skipped", "no", "published", "weights"]
    create_model(name, weights=f"converted/{name}.safetensors")


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(tmp_path_factory, monkeypatch):
    """A folder that is served as the mirror."""
    folder = tmp_path_factory.mktemp("mirror")
    handler = functools.partial(Silent, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("TINYPOSE_MIRROR", f"http://127.0.0.1:{server.server_port}")
        yield folder
        server.shutdown()


def publish(path, seed):
    """A Lite-HRNet checkpoint under PaddleDetection's names, which differ from this project's in the statistics alone."""
    torch.manual_seed(seed)
    state = create_model(NAME).state_dict()
    renamed = {"running_mean": "_mean", "running_var": "_variance"}
    tensors = {}
    for name, tensor in state.items():
        module, _, last = name.rpartition(".")
        if last != "num_batches_tracked":
            tensors[f"{module}.{renamed.get(last, last)}"] = tensor.numpy()
    path.write_bytes(pickle.dumps(tensors, protocol=4))
    return state


def test_both_releases_of_every_model(mirror, monkeypatch, capsys):
    monkeypatch.setattr("convert.conversion.list_models", lambda: [NAME, "higherhrnet_w16_192"])
    states = {
        NAME: publish(mirror / f"{NAME}.pdparams", 1),
        f"{NAME}_2021": publish(mirror / f"{NAME}_2021.pdparams", 2),
    }
    assert main(["--all", "--output", "converted"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [NAME, "2022", "converted", f"converted/{NAME}.safetensors"] in rows
    assert [NAME, "2021", "converted", f"converted/{NAME}_2021.safetensors"] in rows
    assert ["higherhrnet_w16_192", "-", "skipped", "no", "published", "weights"] in rows
    for file, state in states.items():
        loaded = create_model(None, weights=f"converted/{file}.safetensors")
        assert loaded.config.name == NAME
        assert torch.equal(loaded.final_conv.weight, state["final_conv.weight"])


def test_one_release_that_is_missing(mirror, monkeypatch, capsys):
    monkeypatch.setattr("convert.conversion.list_models", lambda: [NAME])
    publish(mirror / f"{NAME}_2021.pdparams", 2)
    assert main(["--all", "--output", "converted"]) == 1
    rows = {line.split()[1]: line for line in capsys.readouterr().out.splitlines()}
    assert "FAILED" in rows["2022"]
    assert "HTTP 404" in rows["2022"]
    assert "converted/tinypose_128x96_2021.safetensors" in rows["2021"]


def test_the_file_names_its_model(in_a_folder):
    save_safetensors(create_model(NAME), in_a_folder / "x.safetensors", {"model": NAME})
    assert main(["x.safetensors"]) == 0
    assert create_model(None, weights=f"weights/{NAME}.safetensors").config.name == NAME


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--model", NAME],
        ["x.pdparams", "--model", NAME, "--verify"],
        ["x.pdparams", "--model", NAME, "--paddle-model", "somewhere"],
        ["--all", "--model", NAME],
    ],
)
def test_usage_errors(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.pdparams", "--model", NAME], "no weight file 'none.pdparams'"),
        (["none.pdparams", "--model", "tinypose"], "unknown model 'tinypose'"),
        (["none.pdparams"], "no weight file 'none.pdparams'"),
        (["2021", "--model", NAME], "no weight file '2021'"),
    ],
)
def test_errors(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_other_number_of_keypoints(in_a_folder):
    save_safetensors(create_model(NAME, num_keypoints=5), in_a_folder / "hand.safetensors", {"model": NAME})
    assert main(["hand.safetensors", "--model", NAME, "--num-keypoints", "5", "--output", "x.safetensors"]) == 0
    assert create_model(NAME, num_keypoints=5, weights="x.safetensors").final_conv.out_channels == 5
    assert create_model(None, weights="x.safetensors").final_conv.out_channels == 5
