"""Recipes train as PaddleDetection's configurations do, at rates that follow the samples per step."""

import re
from typing import NamedTuple

import pytest
import torch

from tinypose_torch.models.registry import get_config
from train.config import RECIPES, load_config, recipe_names
from train.init_model import build_network
from train.lightning_module import base_rate, describe_rate
from train.schedule import rate_factor

OWN = ("demo_pose", "demo_detector", "demo_bottom_up", "finetune", "finetune_detector")


class Source(NamedTuple):
    """What PaddleDetection trains with.

    Attributes:
        batch: Samples on each GPU.
        gpus: What the rate is for: the README beside the configuration says so, or trains with so many (configs/keypoint).
        decay: Epochs of the steps down, or the epoch at which the cosine ends.
        size: Height and width of the network's input; for detectors the sizes of training images.
        imagenet: Whether it starts from ImageNet weights.
    """

    rate: float
    batch: int
    gpus: int
    epochs: int
    warmup: int
    decay: tuple[int, ...] | int
    size: tuple[int, ...]
    imagenet: bool


SIZES_192, SIZES_320, SIZES_416 = (tuple(range(size - 64, size + 65, 32)) for size in (192, 320, 416))
SIZES_640 = tuple(range(320, 769, 32))
# One row per recipe, below the name of PaddleDetection's configuration.
SOURCES = {
    # configs/keypoint/tiny_pose/tinypose_128x96.yml
    "tinypose_128x96": Source(0.008, 512, 4, 420, 500, (380, 410), (128, 96), False),
    # configs/keypoint/tiny_pose/tinypose_256x192.yml
    "tinypose_256x192": Source(0.002, 128, 4, 420, 500, (380, 410), (256, 192), False),
    # configs/keypoint/lite_hrnet/lite_hrnet_18_256x192_coco.yml
    "lite_hrnet_18_256x192": Source(0.002, 64, 4, 210, 500, (170, 200), (256, 192), False),
    # configs/keypoint/lite_hrnet/lite_hrnet_18_384x288_coco.yml
    "lite_hrnet_18_384x288": Source(0.002, 32, 4, 210, 500, (170, 200), (384, 288), False),
    # configs/keypoint/lite_hrnet/lite_hrnet_30_256x192_coco.yml
    "lite_hrnet_30_256x192": Source(0.002, 64, 4, 210, 500, (170, 200), (256, 192), False),
    # configs/keypoint/lite_hrnet/lite_hrnet_30_384x288_coco.yml
    "lite_hrnet_30_384x288": Source(0.002, 32, 4, 210, 500, (170, 200), (384, 288), False),
    # configs/keypoint/lite_hrnet/wider_naive_hrnet_18_256x192_coco.yml
    "wider_naive_hrnet_18_256x192": Source(0.002, 64, 4, 210, 500, (170, 200), (256, 192), False),
    # configs/keypoint/hrnet/hrnet_w32_256x192.yml
    "hrnet_w32_256x192": Source(0.0005, 64, 4, 210, 1000, (170, 200), (256, 192), True),
    # configs/keypoint/hrnet/hrnet_w32_384x288.yml
    "hrnet_w32_384x288": Source(0.0005, 64, 4, 210, 1000, (170, 200), (384, 288), True),
    # configs/keypoint/hrnet/dark_hrnet_w32_256x192.yml
    "dark_hrnet_w32_256x192": Source(0.0005, 64, 4, 210, 1000, (170, 200), (256, 192), True),
    # configs/keypoint/hrnet/dark_hrnet_w32_384x288.yml
    "dark_hrnet_w32_384x288": Source(0.0005, 32, 4, 210, 1000, (170, 200), (384, 288), True),
    # configs/keypoint/hrnet/hrnet_w32_256x256_mpii.yml
    "hrnet_w32_256x256_mpii": Source(0.0005, 64, 4, 210, 1000, (170, 200), (256, 256), True),
    # configs/keypoint/higherhrnet/higherhrnet_hrnet_w32_512.yml
    "higherhrnet_w32_512": Source(0.001, 20, 4, 300, 1000, (200, 260), (512, 512), True),
    # configs/keypoint/higherhrnet/higherhrnet_hrnet_w32_640.yml
    "higherhrnet_w32_640": Source(0.001, 20, 4, 300, 1000, (200, 260), (640, 640), True),
    # configs/keypoint/higherhrnet/higherhrnet_hrnet_w32_512_swahr.yml
    "higherhrnet_w32_512_swahr": Source(0.001, 16, 4, 300, 1000, (200, 260), (512, 512), True),
    # configs/picodet/application/pedestrian_detection/picodet_s_192_lcnet_pedestrian.yml
    "picodet_s_192_lcnet_pedestrian": Source(0.32, 64, 4, 300, 300, 300, SIZES_192, True),
    # configs/picodet/application/pedestrian_detection/picodet_s_320_lcnet_pedestrian.yml
    "picodet_s_320_lcnet_pedestrian": Source(0.32, 64, 4, 300, 300, 300, SIZES_320, True),
    # configs/picodet/legacy_model/application/pedestrian_detection/picodet_s_192_pedestrian.yml
    "picodet_s_192_pedestrian": Source(0.4, 128, 4, 300, 300, 300, SIZES_192, True),
    # configs/picodet/legacy_model/application/pedestrian_detection/picodet_s_320_pedestrian.yml
    "picodet_s_320_pedestrian": Source(0.4, 128, 4, 300, 300, 300, SIZES_320, True),
    # configs/picodet/picodet_xs_416_coco_lcnet.yml
    "picodet_xs_416_coco_lcnet": Source(0.28, 56, 4, 300, 300, 300, SIZES_416, True),
    # configs/picodet/picodet_s_416_coco_lcnet.yml
    "picodet_s_416_coco_lcnet": Source(0.24, 48, 4, 300, 300, 300, SIZES_416, True),
    # configs/picodet/picodet_m_416_coco_lcnet.yml
    "picodet_m_416_coco_lcnet": Source(0.24, 48, 4, 250, 300, 300, SIZES_416, True),
    # configs/picodet/picodet_l_416_coco_lcnet.yml
    "picodet_l_416_coco_lcnet": Source(0.12, 24, 4, 250, 300, 300, SIZES_416, True),
    # configs/ppyolo/ppyolov2_r50vd_dcn_365e_coco.yml
    "ppyolov2_r50vd_dcn": Source(0.005, 12, 8, 365, 4000, (243,), SIZES_640, True),
}
NOT_IN_TIMM = ("picodet_xs", "picodet_m", "picodet_l", "picodet_s_192_pedestrian", "picodet_s_320_pedestrian")


def test_every_recipe_is_compared():
    assert sorted((*SOURCES, *OWN)) == recipe_names()


@pytest.mark.parametrize("recipe", SOURCES)
def test_recipe_trains_as_paddledetection(recipe):
    source, config = SOURCES[recipe], load_config(recipe, [])
    options, entry = config.optimisation, get_config(config.model)
    assert entry.name == recipe
    assert options.learning_rate == source.rate
    assert config.batch_size * config.accumulate == source.batch
    assert options.reference_batch == source.batch * source.gpus
    assert config.epochs == source.epochs
    assert options.warmup_steps == source.warmup
    if isinstance(source.decay, tuple):
        assert (options.schedule, options.milestones) == ("steps", source.decay)
    else:
        assert (options.schedule, options.cosine_epochs or config.epochs) == ("cosine", source.decay)
    assert source.size == (config.detection.sizes if entry.task == "detection" else entry.input_size)
    starts = source.imagenet and not recipe.startswith(NOT_IN_TIMM)
    assert config.weights == ("imagenet" if starts else None)


@pytest.mark.parametrize("recipe", recipe_names())
def test_recipe_names_the_batch_of_its_rate(recipe):
    config, text = load_config(recipe, []), (RECIPES / f"{recipe}.yaml").read_text()
    reference = config.optimisation.reference_batch
    several = re.search(
        r"# The rate is for (\d+) (?:samples|images) (?:on each|in each) of (\d) (?:GPUs|processes)\.", text
    )
    one = re.search(r"# The rate is for (\d+) (?:samples|images) per step; one process takes (\d+)\.", text)
    if several:
        assert (config.batch_size, reference) == (int(several[1]), int(several[1]) * int(several[2]))
    else:
        assert (reference, config.batch_size) == (int(one[1]), int(one[2]))


@pytest.mark.parametrize(
    ("recipe", "overrides", "processes", "rate", "described"),
    [
        ("tinypose_256x192", [], 1, 0.0005, "0.0005 (0.002 at 512 samples per step, scaled to 128)"),
        ("tinypose_256x192", [], 4, 0.002, "0.002"),
        ("tinypose_128x96", ["batch_size=64", "accumulate=2"], 2, 0.001, "0.001 (0.008 at 2048 samples per step, scaled to 256)"),
        ("ppyolov2_r50vd_dcn", [], 8, 0.005, "0.005"),
        ("finetune", ["batch_size=512"], 1, 0.008, "0.008 (0.002 at 128 samples per step, scaled to 512)"),
        ("finetune", ["optimisation.reference_batch=null", "batch_size=512"], 1, 0.002, "0.002"),
    ],
)  # fmt: skip
def test_rate_follows_the_samples_per_step(recipe, overrides, processes, rate, described):
    config = load_config(recipe, overrides)
    assert base_rate(config, processes) == pytest.approx(rate)
    assert describe_rate(config, processes) == described


def test_cosine_that_ends_after_the_run():
    config = load_config("picodet_m_416_coco_lcnet", [])
    whole = config.optimisation.model_copy(update={"cosine_epochs": None})
    assert rate_factor(config.optimisation, 24_999, 100, 25_000) == rate_factor(whole, 24_999, 100, 30_000) > 0.06


def test_starts_from_timms_backbone(monkeypatch):
    timm = pytest.importorskip("timm")
    made = []
    untrained = timm.create_model

    def create(name, pretrained):
        assert pretrained
        made.append(untrained(name, pretrained=False))
        return made[-1]

    monkeypatch.setattr(timm, "create_model", create)
    network = build_network(load_config("picodet_s_192_lcnet_pedestrian", []), class_names=("person",))
    assert torch.equal(network.backbone.conv1.conv.weight, made[0].conv_stem.weight)
    assert network.training
