"""Loss, gradients, batch statistics and five Adam steps of TinyPose in float64 against PaddleDetection's.

The tolerances are what the reference's README says that a plain float64 PyTorch reaches: PaddleDetection rounds the positions
of its bilinear resize to float32 even in float64. Beyond the first step of the warm run that difference has grown too
large to compare.
"""

import numpy as np
import pytest
import torch
from recordings import Recording, read_json

from tinypose_torch import create_model
from tinypose_torch.checkpoints.load import load_strictly
from tinypose_torch.checkpoints.renaming import rename_state
from tinypose_torch.codecs.heatmap import encode_dark
from tinypose_torch.losses.heatmaps import HeatmapLoss
from train.batch_norm import use_training_batch_norm
from train.config import Optimisation, load_config
from train.schedule import rate_factor

MODELS = ("tinypose_128x96", "tinypose_256x192")
WARM_STEP = 500


class Reference:
    def __init__(self, name, filler):
        self.name = name
        self.facts = read_json(f"training/{name}.json")
        self.arrays = Recording(f"training/{name}.npz")
        self.manifest = read_json(f"training/{name}_manifest.json")
        self.weights = filler.build(self.manifest)
        self.images = filler.make_input(tuple(self.facts["input"]["shape"]), self.facts["input"]["seed"])
        self.null = set(self.facts["null_gradient_params"])
        rename = rename_state("LiteHRNet", self.weights)
        self.to_original = rename.sources

    def targets(self, size):
        arrays = self.arrays
        heatmap_size = (size[0] // 4, size[1] // 4)
        joints = arrays["joints_xyv"]
        pairs = [encode_dark(j[:, :2], j[:, 2], size, heatmap_size, self.facts["sigma"]) for j in joints]
        return np.stack([maps for maps, _ in pairs]), np.stack([weights for _, weights in pairs])

    def network(self, biased=True):
        network = create_model(self.name)
        load_strictly(network, rename_state("LiteHRNet", self.weights).state, [])
        network = network.double().train()
        use_training_batch_norm(network, biased=biased, shared=False)
        return network


@pytest.fixture(scope="module", params=[MODELS[0], pytest.param(MODELS[1], marks=pytest.mark.slow)])
def reference(request, filler):
    return Reference(request.param, filler)


def batch_of(reference, network):
    maps, weights = reference.targets(network.config.input_size)
    images = torch.from_numpy(np.asarray(reference.images)).double()
    return images, torch.from_numpy(maps).double(), torch.from_numpy(weights).double()


def relative(one, two):
    return float(np.linalg.norm(one - two) / max(np.linalg.norm(two), 1e-300))


def test_targets(reference):
    maps, weights = reference.targets(create_model(reference.name).config.input_size)
    np.testing.assert_array_equal(weights, reference.arrays["target_weight"][..., 0])
    if "target" in reference.arrays:
        np.testing.assert_array_equal(maps, reference.arrays["target"])
    # the recorded sum was taken in float64
    assert abs(maps).sum(dtype=np.float64) == pytest.approx(reference.facts["target_abs_sum"], rel=1e-7)


def test_loss_gradients_and_statistics(reference):
    network = reference.network()
    images, targets, weights = batch_of(reference, network)
    heatmaps = network(images)
    loss = HeatmapLoss()(heatmaps, targets, weights)
    run = reference.facts["runs"]["cold64"][0]
    assert loss.item() == pytest.approx(run["loss"], rel=1e-8)
    assert relative(*reference.arrays.sampled("cold64.heatmap_step0", heatmaps.detach().numpy())) < 1e-6
    loss.backward()
    gradients = {reference.to_original[name]: p.grad.numpy() for name, p in network.named_parameters()}
    norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
    assert norm == pytest.approx(run["grad_global_norm"], rel=1e-6)
    stats = dict(zip(reference.facts["trainable_names"], reference.arrays["cold64.grad_stats"], strict=True))
    for name in stats.keys() - reference.null:
        _, absolute_sum, norm = stats[name]
        assert np.abs(gradients[name]).sum() == pytest.approx(absolute_sum, rel=2e-6), name
        assert np.linalg.norm(gradients[name]) == pytest.approx(norm, rel=2e-6), name
    assert len(stats.keys() - reference.null) > 700
    compared = 0
    for key in reference.arrays:
        if key.startswith("grad64."):
            name = key.removeprefix("grad64.").partition("@sub")[0]
            if name not in reference.null:
                assert relative(*reference.arrays.sampled(f"grad64.{name}", gradients[name])) < 2e-6, name
                compared += 1
    assert compared > 5
    state = {reference.to_original.get(name): tensor.numpy() for name, tensor in network.state_dict().items()}
    compared = 0
    for key in reference.arrays:
        if key.startswith("bn1_64."):
            name = key.removeprefix("bn1_64.").partition("@sub")[0]
            assert relative(*reference.arrays.sampled(f"bn1_64.{name}", state[name])) < 1e-6, name
            compared += 1
    assert compared > 5


def test_variance_convention(reference):
    """PyTorch's own convention misses the recorded variances by far more than rounding."""
    network = reference.network(biased=False)
    images, _, _ = batch_of(reference, network)
    network(images)
    state = {reference.to_original.get(name): tensor.numpy() for name, tensor in network.state_dict().items()}
    keys = [key for key in reference.arrays if key.startswith("bn1_64.") and "_variance" in key and "@" not in key]
    assert keys
    assert max(relative(state[key.removeprefix("bn1_64.")], reference.arrays[key]) for key in keys) > 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("run", "first", "compared"), [("cold64", 0, (1, 2, 5)), ("warm64", WARM_STEP, (1,))])
def test_steps(reference, run, first, compared):
    network = reference.network()
    start = {name: p.detach().clone() for name, p in network.named_parameters()}
    options = load_config(reference.name, []).optimisation
    optimizer = torch.optim.Adam(network.parameters(), lr=options.learning_rate)
    images, targets, weights = batch_of(reference, network)
    per_epoch = reference.facts["steps_per_epoch_used"]
    recorded_deltas = 0
    for step, recorded in enumerate(reference.facts["runs"][run][: max(compared)]):
        rate = options.learning_rate * rate_factor(options, first + step, per_epoch, 420 * per_epoch)
        assert rate == pytest.approx(recorded["lr"], rel=1e-9)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss = HeatmapLoss()(network(images), targets, weights)
        assert loss.item() == pytest.approx(recorded["loss"], rel=1e-7 if step == 0 else 1e-5)
        loss.backward()
        optimizer.step()
        if step + 1 not in compared:
            continue
        for name, parameter in network.named_parameters():
            original = reference.to_original[name]
            key = f"{run}.delta_step{step + 1}.{original}"
            if reference.arrays.has(key) and original not in reference.null:
                delta = (parameter.detach() - start[name]).numpy()
                assert relative(*reference.arrays.sampled(key, delta)) < 1e-5, (name, step)
                recorded_deltas += 1
    assert recorded_deltas >= 5 * len(compared)


RECIPES_WITH_RATES = [
    "tinypose_128x96",
    "tinypose_256x192",
    "lite_hrnet_18_256x192",
    "wider_naive_hrnet_18_256x192",
    "hrnet_w32_256x192",
    "hrnet_w32_384x288",
    "dark_hrnet_w32_256x192",
    "hrnet_w32_256x256_mpii",
    "higherhrnet_w32_512",
    "higherhrnet_w32_512_swahr",
]


@pytest.mark.parametrize("per_epoch", [100, 7])
@pytest.mark.parametrize("recipe", RECIPES_WITH_RATES)
def test_rates(recipe, per_epoch):
    tables = read_json("training/lr_schedules.json")
    (table,) = [
        table
        for table in tables
        if table["config"].split("/")[-1].removesuffix(".yml").removesuffix("_coco").replace("net_hrnet", "net")
        == recipe
        and table["steps_per_epoch"] == per_epoch
    ]
    config = load_config(recipe, [])
    assert config.batch_size == table["batch_size"]
    assert config.epochs == table["epochs"]
    for step, rate in table["table"]:
        own = config.optimisation.learning_rate * rate_factor(
            config.optimisation, step, per_epoch, config.epochs * per_epoch
        )
        assert own == pytest.approx(rate, rel=1e-9), step


def test_cosine_ends_at_zero():
    options = Optimisation(schedule="cosine", warmup_steps=10, warmup_factor=0.1)
    assert rate_factor(options, 0, 100, 1000) == pytest.approx(0.1)
    assert rate_factor(options, 10, 100, 1000) == 1
    assert rate_factor(options, 505, 100, 1000) == pytest.approx(0.5)
    assert rate_factor(options, 1000, 100, 1000) == pytest.approx(0)
