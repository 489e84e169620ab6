"""Models as folders and on a stand-in of the Hugging Face Hub."""

import json

import pytest
import torch
import yaml
from hub_server import COMMIT, running_hub

from tinypose_torch import CheckpointError, DownloadError, ModelCard, PoseEstimator, Skeleton, create_model
from tinypose_torch.checkpoints.identity import resolve_model
from tinypose_torch.cli import main

HAND = Skeleton("hand", ("wrist", "thumb", "index"), links=((0, 1), (0, 2)))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A server, which huggingface_hub takes for the Hub, with a separate cache."""
    constants = pytest.importorskip("huggingface_hub.constants")
    with running_hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield server


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return create_model("tinypose_128x96", skeleton=HAND, input_size=(128, 96))


def equal(one, other):
    first, second = one.state_dict(), other.state_dict()
    return list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)


def test_pushed_model_is_read_back(hub, network, tmp_path):
    url = network.push_to_hub("alice/hand-pose", ModelCard({"AP": 0.5}, "my hands"), token="hf_writer")
    assert url == f"{hub.address}/alice/hand-pose/commit/{COMMIT}"
    assert sorted(hub.repositories["alice/hand-pose"]) == ["README.md", "config.json", "model.safetensors"]
    assert "--pose hf-hub:alice/hand-pose" in hub.repositories["alice/hand-pose"]["README.md"].decode()
    for address in ("hf-hub:alice/hand-pose", "hf-hub:alice/hand-pose@main"):
        found = create_model(address)
        assert equal(found, network)
        assert found.config == network.config
    hub.repositories.clear()  # from now on from the cache
    estimator = PoseEstimator(None, "hf-hub:alice/hand-pose")
    assert estimator.pose_config.skeleton == HAND


def test_hub_refuses(hub, network, tmp_path):
    hub.repositories["alice/empty"] = {}
    for address, reason in (
        ("hf-hub:alice/nothing", "no such repository, or a private one"),
        ("hf-hub:alice/empty", "no model.safetensors; expected a repository that push_to_hub made"),
        ("hf-hub:alice/empty@v7", "no such revision"),
        ("hf-hub:a b/c", "Repo id must"),
    ):
        with pytest.raises(DownloadError, match=reason) as caught:
            create_model(address)
        assert str(caught.value).startswith(f"{address}: ")
        assert "\n" not in str(caught.value)
    with pytest.raises(OSError, match="alice/hand-pose was not published: "):
        network.push_to_hub("alice/hand-pose", token="hf_reader")
    assert "alice/hand-pose" not in hub.repositories


def test_no_network(hub, monkeypatch):
    monkeypatch.setattr(pytest.importorskip("huggingface_hub.constants"), "HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match="the Hub cannot be reached.*or copy the repository's files into a folder"):
        create_model("hf-hub:alice/hand-pose")


def test_folder(network, tmp_path):
    picture = tmp_path / "hands.PNG"
    picture.write_bytes(b"a picture")
    receipt = tmp_path / "receipt.json"
    receipt.write_text(json.dumps({"accuracy": {"AP": 0.25, "step": 7}}))
    folder = network.save_pretrained(tmp_path / "model", ModelCard(license="mit", picture=picture, receipt=receipt))
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "config.json", "model.safetensors", "picture.png", "receipt.json"
    ]  # fmt: skip
    _, front, page = (folder / "README.md").read_text().split("---\n", 2)
    facts = yaml.safe_load(front)
    assert (facts["license"], facts["pipeline_tag"]) == ("mit", "keypoint-detection")
    assert facts["model-index"][0]["results"][0]["metrics"] == [{"type": "AP", "name": "AP", "value": 0.25}]
    assert "![Predictions](picture.png)" in page
    assert "wrist, thumb, index" in page
    assert equal(create_model(f"local-dir:{folder}"), network)
    (folder / "README.md").write_text("mine")
    network.save_pretrained(folder)
    assert (folder / "README.md").read_text() == "mine"


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    """A TorchScript file that the command made of a saved folder, with its receipt."""
    folder = tmp_path_factory.mktemp("exported")
    output = folder / "hand.torchscript"
    address = f"local-dir:{network.save_pretrained(folder / 'model')}"
    assert main(["export", address, "--format", "torchscript", "--output", str(output)]) == 0
    return output


@pytest.mark.slow
def test_exported_files_go_along(network, exported, tmp_path):
    folder = network.save_pretrained(tmp_path / "model", ModelCard(exports=[exported]))
    assert (folder / "model.torchscript").read_bytes() == exported.read_bytes()
    assert json.loads((folder / "model.torchscript.receipt.json").read_text())["file"] == exported.name
    with pytest.raises(ValueError, match=r"would both be model\.torchscript"):
        network.save_pretrained(tmp_path / "two", ModelCard(exports=[exported, exported]))
    other = create_model("tinypose_256x192")
    with pytest.raises(CheckpointError, match="holds tinypose_128x96, not tinypose_256x192"):
        other.save_pretrained(tmp_path / "two", ModelCard(exports=[exported]))
    with pytest.raises(ValueError, match="is not an exported file"):
        network.save_pretrained(tmp_path / "two", ModelCard(exports=[folder / "config.json"]))
    assert not (tmp_path / "two").exists()


def test_configuration_says_what_weights_do_not(network, tmp_path):
    """Weights that another program wrote again, without their metadata."""
    from safetensors.torch import save_file

    folder = network.save_pretrained(tmp_path / "model")
    save_file(network.state_dict(), folder / "model.safetensors")
    found = create_model(f"local-dir:{folder}")
    assert equal(found, network)
    assert found.config == network.config


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "JSONDecodeError"),
        ("[]", "description"),
        ('{"library_name": "timm", "architecture": "resnet18"}', "library_name timm; expected tinypose-torch"),
        ('{"library_name": "tinypose-torch"}', "architecture"),
        ('{"library_name": "tinypose-torch", "architecture": ["a"]}', "architecture"),
        (
            '{"library_name": "tinypose-torch", "architecture": "tinypose_128x96", "input_size": [1e9, 32]}',
            "input size",
        ),
        (
            '{"library_name": "tinypose-torch", "architecture": "tinypose_128x96", "skeleton": {"name": "x"}}',
            "keypoint",
        ),
        ("[" * 100_000, "RecursionError"),
    ],
)
def test_hostile_configurations(network, tmp_path, text, reason):
    from safetensors.torch import save_file

    (tmp_path / "config.json").write_text(text)
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=reason) as caught:
        create_model(f"local-dir:{tmp_path}")
    assert str(tmp_path) in str(caught.value)


def test_unknown_architecture(network, tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "config.json").write_text('{"library_name": "tinypose-torch", "architecture": "tinypose_1x1"}')
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(KeyError, match="unknown model 'tinypose_1x1'; did you mean"):
        create_model(f"local-dir:{tmp_path}")


def test_folder_without_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        create_model(f"local-dir:{tmp_path}")


def test_two_sources_of_weights(network, tmp_path):
    folder = network.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="brings its own weights; leave weights"):
        create_model(f"local-dir:{folder}", weights=folder / "model.safetensors")
    with pytest.raises(ValueError, match="tinypose_128x96, not of picodet"):
        resolve_model("picodet_s_192_lcnet_pedestrian", f"local-dir:{folder}")


def test_commands_take_addresses(tmp_path, capsys):
    both = ["export", f"local-dir:{tmp_path}", "--weights", "x.pt", "--output", str(tmp_path / "hand.torchscript")]
    assert main(both) == 2
    assert "brings its own weights; leave --weights x.pt out" in capsys.readouterr().err
    assert main(["predict", "photo.png", "--pose", f"local-dir:{tmp_path}/nothing"]) == 2
    assert "nothing/model.safetensors" in capsys.readouterr().err
