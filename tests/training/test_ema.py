"""Averaged weights, update by update, against PaddleDetection's; and from the first weights."""

import numpy as np
import pytest
import torch
from recordings import Recording

from train.ema import average_step


def run(weights, decay, *, zero_start):
    """The average after every update; the first one copies, as the callback does."""
    averaged = weights[0].clone()
    history = [averaged.clone()]
    for updates, current in enumerate(weights[1:], start=1):
        average_step([averaged], [current], updates, decay, zero_start=zero_start)
        history.append(averaged.clone())
    return torch.stack(history)


def test_recorded_updates():
    recorded = Recording("training/micro.npz")
    states = recorded["ema_threshold_state"].astype(np.float64)
    decays = recorded["ema_threshold_decay"].astype(np.float64)[:, None]
    before = np.concatenate([np.zeros((1, 3)), states[:-1]])
    weights = torch.from_numpy((states - decays * before) / (1 - decays))
    averages = run(weights, 0.9998, zero_start=True).numpy()
    assert np.abs(averages - recorded["ema_threshold_applied"]).max() < 1e-6


def test_a_constant_and_the_originals_inexactness():
    ones = torch.ones(12, 1, dtype=torch.float64)
    assert torch.allclose(run(ones, 0.9998, zero_start=False), ones)
    inexact = run(ones, 0.9998, zero_start=True)[:, 0]
    assert inexact[1].item() == pytest.approx(1.0154, abs=5e-5)
    assert inexact[11].item() == pytest.approx(1.0012, abs=5e-5)


def test_counters_are_copied():
    averaged, current = [torch.tensor(3)], [torch.tensor(7)]
    average_step(averaged, current, 5, 0.9, zero_start=True)
    assert averaged[0].item() == 7
