"""Running statistics by both conventions, of one process and of two."""

import multiprocessing

import numpy as np
import pytest
import torch
from recordings import Recording
from torch import nn

from train.batch_norm import use_training_batch_norm


def test_biased_and_unbiased():
    torch.manual_seed(0)
    x = torch.randn(3, 4, 5, 6, dtype=torch.float64) * 3 + 1
    count = x.numel() / x.shape[1]
    variance = x.var(dim=(0, 2, 3), correction=0)
    for biased, expected in ((True, variance), (False, variance * count / (count - 1))):
        norm = nn.BatchNorm2d(4).double()
        plain = nn.BatchNorm2d(4).double()
        use_training_batch_norm(norm, biased=biased, shared=False)
        assert torch.equal(norm(x), plain(x)), "what goes on is the same"
        torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * expected)
        torch.testing.assert_close(norm.running_mean, plain.running_mean)
        assert norm.num_batches_tracked == 1


def test_gradients_are_usual():
    torch.manual_seed(0)
    x = torch.randn(3, 4, 5, 6, dtype=torch.float64)
    grads = []
    for train in (True, False):
        norm = nn.BatchNorm2d(4).double()
        if train:
            use_training_batch_norm(norm, biased=True, shared=False)
        own = x.clone().requires_grad_()
        norm(own).pow(3).sum().backward()
        grads.append((own.grad, norm.weight.grad, norm.bias.grad))
    for one, two in zip(*grads, strict=True):
        torch.testing.assert_close(one, two)


def _batch():
    """Of a large mean, beside which the variance is little."""
    return torch.randn(4, 3, 5, 6, generator=torch.Generator().manual_seed(0)) + 3000


def _take_part(rank, folder):
    """One of two processes: normalize half the batch by both conventions, and go back through it."""
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    results = {}
    for biased in (True, False):
        norm = nn.BatchNorm2d(3)
        use_training_batch_norm(norm, biased=biased, shared=True)
        x = _batch()[3 * rank : 3 + rank].requires_grad_()  # three of them and one
        y = norm(x)
        y.pow(3).sum().backward()
        results[biased] = [y.detach(), x.grad, norm.running_mean, norm.running_var]
    torch.save(results, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_shared_between_processes(tmp_path):
    """Two processes with unequal shares of a batch normalize it as one process would in float64."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_take_part, args=(rank, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for biased in (True, False):
        norm = nn.BatchNorm2d(3).double()
        use_training_batch_norm(norm, biased=biased, shared=False)
        x = _batch().double().requires_grad_()
        y = norm(x)
        y.pow(3).sum().backward()
        expected = [y.detach(), x.grad, norm.running_mean, norm.running_var]
        for index, whole in enumerate(expected):
            halves = [part[biased][index].double() for part in parts]
            found = [torch.cat(halves)] if index < 2 else halves
            for each in found:
                torch.testing.assert_close(each, whole, rtol=2e-3, atol=2e-3)


def test_recorded():
    arrays = Recording("training/micro.npz")
    norm = nn.BatchNorm2d(4)
    use_training_batch_norm(norm, biased=True, shared=False)
    with torch.no_grad():
        for own, name in (
            (norm.weight, "weight"),
            (norm.bias, "bias"),
            (norm.running_mean, "_mean"),
            (norm.running_var, "_variance"),
        ):
            own.copy_(torch.from_numpy(arrays[f"bn_init_{name}"]))
    y = norm(torch.from_numpy(arrays["bn_x"]))
    np.testing.assert_allclose(y.detach(), arrays["bn_y"], atol=1e-5)
    np.testing.assert_allclose(norm.running_mean, arrays["bn_after__mean"], atol=1e-6)
    np.testing.assert_allclose(norm.running_var, arrays["bn_after__variance"], atol=1e-6)
