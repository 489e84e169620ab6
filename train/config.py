"""What a recipe says, typed; unknown keys and wrong types are errors that name the key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from tinypose_torch.utils.messages import escaped
from train.config_text import describe_problem, read_yaml, shown, type_of

RECIPES = Path(__file__).parent / "recipes"
Side = Annotated[int, Field(ge=32, multiple_of=32)]


class ConfigError(ValueError):
    """A recipe or an override that cannot be used."""


class Section(BaseModel):
    """Keys that belong together; none but these, and none that changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, coerce_numbers_to_str=True)


class Data(Section):
    """Where the people are.

    Attributes:
        train, val: Annotation files: COCO keypoints of any skeleton, AI Challenger's or MPII's JSON, or a registered format.
        images, val_images: Folders of the images; the second is the first unless given.
        format: Name of the annotation files' format; recognised unless given.
        detections: COCO detection file: evaluate with these boxes instead of the annotated ones.
        truth: MPII's ``gt_valid.mat``, which has the head sizes that PCKh needs.
        sigmas: OKS constants of the skeleton; the file's, or COCO's for keypoints named as COCO's, unless given.
        flip_pairs: All pairs of keypoints, by name or index, that swap when an image is mirrored; ``[]`` if images are
            mirrored and none swaps. Found by the names of left and right keypoints unless given.
        workers: Processes that load samples.
    """

    train: str | None = None
    val: str | None = None
    images: str | None = None
    val_images: str | None = None
    detections: str | None = None
    truth: str | None = None
    format: str | None = None
    sigmas: tuple[float, ...] | None = None
    flip_pairs: tuple[tuple[str | int, str | int], ...] | None = None
    workers: int = Field(2, ge=0)


class Augmentation(Section):
    """Probabilities and ranges; see `tinypose_torch.data.pose.transforms`.

    Attributes:
        upper_body: Names of the upper body's keypoints; those of COCO that the skeleton has, unless given.
        half_body_min_keypoints: Labelled keypoints from which a half body is cut out; unless given, more than half of
            the skeleton's keypoints, and 9 for 16 keypoints and more.
        dropping: Which kind of information dropping (AID).
        shift: How often the box is moved, by up to 16 % of its sides (PaddleDetection: 0.3 for hands).
        bottom_up_scale, bottom_up_shift: Of bottom-up networks, which take only these, ``rotation``, ``flip`` and ``transforms``: least
            and greatest side of what is cut out, in shorter sides of the image, and how far it is moved, in its own sides.
        transforms: Further albumentations transforms, for example ``[{name: Rotate, limit: 20, p: 0.5}]``, or of a module of
            your own: ``{name: my_module.MyTransform}``. They follow the crop; those before ``{name: TopDownAffine}`` in the
            list (bottom-up: ``BottomUpAffine``, detectors: ``RandomIoUCrop``) get the whole image.
    """

    half_body: float = Field(0.3, ge=0, le=1)
    shift: float = Field(0.0, ge=0, le=1)
    upper_body: tuple[str, ...] | None = None
    half_body_min_keypoints: int | None = Field(None, ge=2)
    scale: float = Field(0.25, ge=0, lt=1)
    rotation: float = Field(30.0, ge=0, le=180)
    rotation_probability: float = Field(0.6, ge=0, le=1)
    flip: float = Field(0.5, ge=0, le=1)
    dropping: Literal["cutout", "hide_and_seek", "grid_mask", "none"] = "cutout"
    dropping_probability: float = Field(0.5, ge=0, le=1)
    transforms: tuple[dict[str, Any], ...] = ()
    bottom_up_scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.75, 1.5)
    bottom_up_shift: float = Field(0.2, ge=0, lt=1)


class Optimisation(Section):
    """Adam or momentum, with linear warm-up and steps down, or down along a cosine.

    Attributes:
        optimizer: ``"adam"`` (poses), or ``"momentum"`` (detectors) with ``momentum``.
        learning_rate: For ``reference_batch`` samples per step; scaled in proportion to the actual number.
        reference_batch: Samples per step of all processes together, for which the rate was chosen (PaddleDetection: its
            batch size times its GPUs). ``None``: the rate is not scaled.
        warmup_steps, warmup_factor: The rate climbs from factor * rate in so many steps.
        milestones: Epochs after which the rate is multiplied by ``decay``.
        schedule: ``"steps"`` or ``"cosine"``, which needs no milestones.
        cosine_epochs: Epoch at which the cosine reaches 0; the end of the run unless given.
        weight_decay: Added to the gradient (L2); the detectors' exceptions are PaddleDetection's.
        clip: Greatest norm of all gradients together.
    """

    optimizer: Literal["adam", "momentum"] = "adam"
    momentum: float = Field(0.9, ge=0, lt=1)
    learning_rate: float = Field(0.008, gt=0)
    reference_batch: int | None = Field(None, ge=1)
    warmup_steps: int = Field(500, ge=0)
    warmup_factor: float = Field(0.001, ge=0, le=1)
    schedule: Literal["steps", "cosine"] = "steps"
    cosine_epochs: float | None = Field(None, gt=0)
    milestones: tuple[float, ...] = (380, 410)
    decay: float = Field(0.1, gt=0, le=1)
    weight_decay: float = Field(0.0, ge=0)
    clip: float | None = Field(None, gt=0)


class Detection(Section):
    """What only detectors have.

    Attributes:
        classes: Names of the file's categories to learn, in this order; all of them unless given.
        sizes: Squares that images are resized to, one of them drawn per batch; the model's own unless given.
        atss_epochs: Epochs of ATSS before assignment follows the predictions (2022 generation).
        nearest: ATSS's candidates per level: PaddleDetection takes 9 at 320 and 4 at 192.
        crop, distort: Whether parts are cut out and colours distorted; ``flip``: how often images are mirrored.
    """

    classes: tuple[str, ...] | None = None
    sizes: tuple[int, ...] = ()
    atss_epochs: int = Field(100, ge=0)
    nearest: int = Field(9, ge=1)
    crop: bool = True
    distort: bool = True
    flip: float = Field(0.5, ge=0, le=1)


class Distillation(Section):
    """A larger pose network that shows its heatmaps to the one that learns.

    Attributes:
        teacher: Catalogue name; no teacher unless given.
        weights: Weight file or release of the teacher, or ``"official"``.
        share: Of the loss against the teacher's heatmaps; the labels have the rest.
    """

    teacher: str | None = None
    weights: str | None = None
    share: float = Field(0.5, gt=0, le=1)


class Config(Section):
    """A training run.

    Attributes:
        model: Catalogue name.
        weights: Weight file or release to start from, ``"official"``, ``"imagenet"`` (backbone from timm, rest random), or
            ``None`` for random weights. Of another skeleton, heatmaps of keypoints with the same names are taken over.
        input_size: Height and width of the network's input, multiples of 32; unless given, those of the weight file that
            training starts from, or the model's own.
        output: Folder of checkpoints, logs and weights; ``resume``: continue the run in it.
        epochs, max_steps: Whichever ends first; ``max_steps`` counts optimizer steps.
        batch_size: Samples per process and pass; ``accumulate`` passes make a step.
        precision: ``"32"``, ``"bf16"`` or ``"16"`` (mixed), ``"64"``.
        ema: Decay of an average of the weights, which is then what is evaluated and saved.
        ema_zero_start: Start that average from zero with PaddleDetection's correction; see `EMA`.
        freeze: Beginnings of the names of modules that do not learn, for example ``["backbone.stem"]``.
        batch_norm: Running variances biased as Paddle's, or unbiased as PyTorch's.
        sync_batch_norm: Share batch statistics between processes, so that their number changes nothing.
        encoding: Of the target heatmaps.
        loss_scale, ohkm_topk: See `HeatmapLoss`.
        evaluate_every: Epochs between evaluations; ``checkpoint_every``: steps between checkpoints.
        flip_test: Average with the mirrored image when evaluating.
        accelerator, devices, nodes: Where processes run, processes on every machine, and machines.
    """

    model: str
    weights: str | None = None
    input_size: tuple[Side, Side] | None = None
    output: str = Field("output/train", min_length=1)
    resume: bool = False
    seed: int = Field(0, ge=0)
    epochs: int = Field(420, ge=1)
    max_steps: int | None = Field(None, ge=1)
    batch_size: int = Field(64, ge=1)
    accumulate: int = Field(1, ge=1)
    precision: Annotated[Literal["32", "bf16", "16", "64"], BeforeValidator(str)] = "32"
    ema: float | None = Field(None, gt=0, lt=1)
    ema_zero_start: bool = False
    freeze: tuple[str, ...] = ()
    batch_norm: Literal["paddle", "torch"] = "paddle"
    sync_batch_norm: bool = True
    encoding: Literal["dark", "standard", "udp"] = "dark"
    loss_scale: float = Field(1.0, gt=0)
    ohkm_topk: int | None = Field(None, ge=1)
    evaluate_every: float = Field(10, gt=0)
    checkpoint_every: int = Field(500, ge=1)
    flip_test: bool = False
    compile: bool = False
    channels_last: bool = False
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    devices: int = Field(1, ge=1)
    nodes: int = Field(1, ge=1)
    data: Data = Data()
    augmentation: Augmentation = Augmentation()
    detection: Detection = Detection()
    distillation: Distillation = Distillation()
    optimisation: Optimisation = Optimisation()


def load_config(recipe: str, overrides: list[str]) -> Config:
    """A recipe with changes.

    Args:
        recipe: Name of one of the project's recipes, or path of a YAML file.
        overrides: ``key=value`` with dots for sections, values as in YAML: ``data.workers=4``.

    Raises:
        ConfigError: No such recipe, not YAML, an unknown key, or a value that does not fit.
    """
    path = _find_recipe(recipe)
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: not YAML: {escaped(str(error))}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds no keys")
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator or not key:
            raise ConfigError(f"{shown(override)}: expected key=value, for example max_steps=100")
        _set(content, key, _parse(key, value))
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(describe_problem(Config, problem) for problem in error.errors())
        raise ConfigError(f"{path}: {escaped(problems)}") from None


def flat_items(section: Section, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All keys, dotted, with their values."""
    for key in type(section).model_fields:
        value = getattr(section, key)
        if isinstance(value, Section):
            yield from flat_items(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def recipe_names() -> list[str]:
    """The project's recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def _find_recipe(recipe: str) -> Path:
    path = Path(recipe)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ConfigError(f"no recipe file {recipe!r}")
        return path
    if recipe not in recipe_names():
        near = difflib.get_close_matches(recipe, recipe_names(), n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else "pass a .yaml file or one of these."
        raise ConfigError(f"unknown recipe {recipe!r}; {hint} Recipes: {', '.join(recipe_names())}")
    return RECIPES / f"{recipe}.yaml"


def _parse(key: str, value: str) -> Any:
    try:
        parsed = read_yaml(value) if value else None
    except ValueError as error:
        raise ConfigError(f"{shown(f'{key}={value}')}: not YAML: {escaped(str(error))}") from None
    kind = type_of(Config, key.split("."))
    if kind in (str, str | None):  # needs no quotes: a release 2021, a folder 007
        return parsed if parsed is None or isinstance(parsed, str) else value
    if isinstance(parsed, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", parsed):
        return float(parsed)  # YAML takes 1e-3 for text
    return parsed


def _set(content: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise ConfigError(f"unknown key {shown(key)}: {shown(section)} is no section")
    content[last] = value
