"""Losses, gradients and steps of both PicoDets in float64 against PaddleDetection's.

PaddleDetection's hard sigmoid has the slope 0.16666670143604279 even in float64; the networks are given it here.
"""

import functools

import numpy as np
import pytest
import torch
from recordings import Recording, read_json
from torch import nn

from tinypose_torch import create_model
from tinypose_torch.checkpoints.load import load_strictly
from tinypose_torch.checkpoints.renaming import rename_state
from tinypose_torch.losses.assigners import Targets
from tinypose_torch.losses.detection import legacy_loss, task_aligned_loss
from train.batch_norm import use_training_batch_norm
from train.ema import average_step

SLOPE = 0.16666670143604279
MODELS = {"lcnet": "picodet_s_320_lcnet_pedestrian", "esnet": "picodet_s_320_pedestrian"}
RUNS = [
    ("lcnet", "ep0_f64"),
    pytest.param("lcnet", "ep100_f64", marks=pytest.mark.slow),
    pytest.param("esnet", "ep0_f64", marks=pytest.mark.slow),
]


class SlopedHardsigmoid(nn.Module):
    def forward(self, x):
        return (x * SLOPE + 0.5).clamp(0, 1)


class Reference:
    def __init__(self, generation, filler):
        name = f"training/picodet_s_320_{generation}_pedestrian"
        self.generation, self.name = generation, MODELS[generation]
        self.facts = read_json(f"{name}.json")
        self.arrays = Recording(f"{name}.npz")
        self.manifest = read_json(f"{name}_manifest.json")
        self.weights = filler.build(self.manifest)
        self.images = filler.make_input(tuple(self.facts["input"]["shape"]), self.facts["input"]["seed"])
        self.renamed = rename_state("PicoDet", self.weights)

    def network(self):
        network = create_model(self.name)
        load_strictly(network, self.renamed.state, [])
        for name, module in list(network.named_modules()):
            if isinstance(module, nn.Hardsigmoid):
                network.set_submodule(name, SlopedHardsigmoid())
        network = network.double().train()
        use_training_batch_norm(network, biased=True, shared=False)
        return network

    def targets(self):
        boxes = torch.zeros(2, 3, 4, dtype=torch.float64)
        valid = torch.zeros(2, 3, dtype=torch.bool)
        for image in range(2):
            found = torch.from_numpy(self.arrays[f"gt_bbox_img{image}"]).double()
            boxes[image, : len(found)], valid[image, : len(found)] = found, True
        return Targets(boxes, torch.zeros(2, 3, dtype=torch.long), valid)

    def loss(self, network, run):
        levels = network(torch.from_numpy(np.asarray(self.images)).double())
        if self.generation == "esnet":
            return legacy_loss(levels, self.targets())
        return task_aligned_loss(levels, self.targets(), use_atss=run.startswith("ep0"))

    def original_name(self, name):
        return self.renamed.sources[name]


@pytest.fixture(scope="module")
def references(filler):
    return functools.cache(lambda generation: Reference(generation, filler))


def relative(one, two):
    return float(np.linalg.norm(one - two) / max(np.linalg.norm(two), 1e-300))


def build_optimizer(reference, parameters):
    attributes = reference.facts["param_attrs"]
    groups = {True: [], False: []}
    for name, parameter in parameters.items():
        groups[attributes[reference.original_name(name)]["l2"] is None].append(parameter)
    decays, others = ({"params": groups[key], "weight_decay": decay} for key, decay in ((True, 4e-5), (False, 0.0)))
    return torch.optim.SGD([decays, others], lr=1.0, momentum=0.9)


@pytest.mark.slow
@pytest.mark.parametrize("generation", ["lcnet", "esnet"])
def test_averaged_weights_after_five_steps(generation, references):
    """By the fifth step rounding has grown to parts of the steps; the correction itself is 0.5 % here."""
    reference = references(generation)
    network = reference.network()
    optimizer = build_optimizer(reference, dict(network.named_parameters()))
    state = {name: value for name, value in network.state_dict().items() if value.is_floating_point()}
    averaged: dict[str, torch.Tensor] = {}
    for step, recorded in enumerate(reference.facts["runs"]["ep0_f64"][:5]):
        for group in optimizer.param_groups:
            group["lr"] = recorded["lr"]
        optimizer.zero_grad()
        reference.loss(network, "ep0_f64").total.backward()
        optimizer.step()
        if step == 0:
            averaged = {name: value.detach().clone() for name, value in state.items()}
        else:
            average_step(list(averaged.values()), list(state.values()), step, 0.9998, zero_start=True)
    differences = []
    for name, average in averaged.items():
        key = f"ep0_f64.ema_applied.{reference.renamed.sources.get(name)}"
        if reference.arrays.has(key):
            differences.append(relative(*reference.arrays.sampled(key, average.numpy())))
    assert len(differences) > 10
    assert np.median(differences) < 2e-3
    assert max(differences) < 2e-2


@pytest.mark.parametrize(("generation", "run"), RUNS)
def test_losses_gradients_and_two_steps(generation, run, references):
    reference = references(generation)
    network = reference.network()
    parameters = dict(network.named_parameters())
    optimizer = build_optimizer(reference, parameters)
    start = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    null = set(reference.facts["null_gradient_params"].get(run, []))
    for step, recorded in enumerate(reference.facts["runs"][run][:2]):
        for group in optimizer.param_groups:
            group["lr"] = recorded["lr"]
        optimizer.zero_grad()
        loss = reference.loss(network, run)
        for part in ("vfl", "bbox", "dfl"):
            expected = recorded[f"loss_{part}"]
            assert getattr(loss, part).item() == pytest.approx(expected, rel=1e-8 if step == 0 else 1e-6), part
        loss.total.backward()
        if step == 0:
            norm = torch.sqrt(sum(p.grad.square().sum() for p in parameters.values() if p.grad is not None))
            assert norm.item() == pytest.approx(recorded["grad_global_norm"], rel=1e-7)
            stats = dict(zip(reference.facts["trainable_names"], reference.arrays[f"{run}.grad_stats"], strict=True))
            gradients = {reference.original_name(name): p.grad for name, p in parameters.items()}
            for name in gradients.keys() - null:
                assert gradients[name].norm().item() == pytest.approx(stats[name][2], rel=1e-6), name
            assert len(gradients.keys() - null) > 200
            compared = 0
            for name, parameter in parameters.items():
                original = reference.original_name(name)
                key = f"{run}.grad.{original}"
                if reference.arrays.has(key) and original not in null:
                    assert relative(*reference.arrays.sampled(key, parameter.grad.numpy())) < 1e-6, original
                    compared += 1
            assert compared > 3
        optimizer.step()
        compared = 0
        for name, parameter in parameters.items():
            original = reference.original_name(name)
            key = f"{run}.delta_step{step + 1}.{original}"
            if reference.arrays.has(key) and original not in null:
                delta = (parameter.detach() - start[name]).numpy()
                assert relative(*reference.arrays.sampled(key, delta)) < 1e-5, (original, step)
                compared += 1
        assert compared > 3
