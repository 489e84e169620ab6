"""Accelerators that the machine lacks: an error before the data are read."""

import pytest
import torch

from train.__main__ import main
from train.config import ConfigError, load_config
from train.devices import check_devices

GPU_COUNTS = [
    (["accelerator=gpu"], 0, "accelerator=gpu devices=1: PyTorch finds no CUDA GPU"),
    (
        ["accelerator=cuda", "devices=2"],
        1,
        "PyTorch finds 1 CUDA GPU (CUDA_VISIBLE_DEVICES='0'); pass devices=1, or train",
    ),
    (["devices=4"], 3, "accelerator=auto devices=4: PyTorch finds 3 CUDA GPU"),
    (["accelerator=mps"], 1, "PyTorch finds no Apple GPU (MPS)"),
]


@pytest.fixture
def machine(monkeypatch):
    """Sets the number of CUDA GPUs."""

    def set_count(count):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count))))

    return set_count


@pytest.mark.parametrize(("options", "count", "message"), GPU_COUNTS)
def test_missing_accelerators(options, count, message, machine):
    machine(count)
    with pytest.raises(ConfigError) as caught:
        check_devices(load_config("demo_pose", options))
    assert message in str(caught.value)
    assert "accelerator=cpu" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ([], 0),
        (["accelerator=cpu", "devices=2"], 1),
        (["devices=2"], 0),
        (["accelerator=gpu", "devices=2"], 2),
        (["accelerator=cuda"], 1),
    ],
)
def test_present_accelerators(options, count, machine):
    machine(count)
    check_devices(load_config("demo_pose", options))


@pytest.mark.parametrize("check", [[], ["--check"]])
def test_before_the_data_are_read(check, machine, tmp_path, capsys):
    machine(0)
    (tmp_path / "train.json").write_text("not JSON")
    data = [f"data.train={tmp_path / 'train.json'}", f"data.images={tmp_path}", f"output={tmp_path / 'run'}"]
    assert main(["demo_pose", *data, "accelerator=gpu", *check]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("train: error: accelerator=gpu devices=1: PyTorch finds no CUDA GPU")
    assert not (tmp_path / "run").exists()


def test_unknown_accelerator(capsys):
    assert main(["demo_pose", "accelerator=gpuu"]) == 2
    assert "accelerator: input should be 'auto', 'cpu', 'gpu', 'cuda' or 'mps', got 'gpuu'" in capsys.readouterr().err
