"""Training of top-down pose networks: annotations, samples, loss, accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import albumentations as A
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from tinypose_torch.codecs.heatmap import decode_heatmaps
from tinypose_torch.data.errors import DatasetError
from tinypose_torch.data.formats.coco import read_coco
from tinypose_torch.data.formats.registry import find_annotation_format, read_annotations
from tinypose_torch.data.images import check_images
from tinypose_torch.data.pose import transforms as T
from tinypose_torch.data.pose.annotations import PoseAnnotation, PoseAnnotations, load_detections, load_pose_annotations
from tinypose_torch.data.pose.compose import PersonCompose
from tinypose_torch.data.pose.dataset import PoseCollate, PoseDataset, Sample
from tinypose_torch.data.pose.information_dropping import Cutout, GridMask, HideAndSeek
from tinypose_torch.evaluation.coco import KeypointPrediction, keypoint_accuracy, keypoint_results
from tinypose_torch.evaluation.mpii import pckh_of_predictions, read_mpii_truth
from tinypose_torch.evaluation.top_down import average_with_flipped, cut_out, to_predictions
from tinypose_torch.evaluation.truth import read_truth
from tinypose_torch.geometry.normalize import normalize
from tinypose_torch.geometry.skeletons import COCO17, Skeleton
from tinypose_torch.losses.heatmaps import HeatmapLoss
from tinypose_torch.models.base import Network
from tinypose_torch.models.config import TopDownConfig, config_of, of_task
from train.augmentation import build_transforms, check_transforms, keep_keypoints
from train.config import Augmentation, Config, ConfigError, Data
from train.distillation import Teacher, find_teacher
from train.init_model import model_config, start_network
from train.keypoint_config import (
    check_flip_pairs,
    check_same_keypoints,
    configured_augmentation,
    configured_skeleton,
    may_mirror,
)
from train.lightning_module import Job, Training

UPPER_BODY = COCO17.keypoint_names[:11]
HALF_BODY_MIN_KEYPOINTS = 9


@dataclass(frozen=True)
class People:
    """Training and validation annotations.

    Attributes:
        skeleton: Skeleton of the training annotations.
        score: Gives the accuracy of predictions for ``val`` by name; ``None`` without ``val``.
        metric: The name of the accuracy that decides which weights are best.
    """

    train: PoseAnnotations
    train_images: Path
    val: PoseAnnotations | None
    val_images: Path | None
    skeleton: Skeleton
    score: Callable[[Sequence[KeypointPrediction]], dict[str, float]] | None = None
    metric: str = "AP"


def load_annotations(config: Config, entry: TopDownConfig) -> People:
    """Load and check the annotations.

    Raises:
        ConfigError: A file is not named, or an option does not fit the skeleton.
        DatasetError: See `read_annotations`, `read_coco`, `load_pose_annotations`, `check_images`; or ``val`` has another
            skeleton.
    """
    data = config.data
    for key in ("train", "images"):
        if getattr(data, key) is None:
            raise ConfigError(f"data.{key} is missing: pass data.{key}=...")
    assert data.train is not None
    metrics = [find_annotation_format(path, data.format).metric for path in (data.train, data.val) if path is not None]
    if metrics[0] != metrics[-1]:
        raise ConfigError(f"data.train is of a format for {metrics[0]}, data.val of one for {metrics[-1]}")
    people = _LOADERS[metrics[0]](data, entry)
    check_images(people.train.items, people.train_images)
    if people.val is not None and people.val_images is not None:
        check_images(people.val.items, people.val_images)
    return people


def _load_coco(data: Data, entry: TopDownConfig) -> People:
    """People of any format that is read as COCO's."""
    assert data.train is not None
    assert data.images is not None
    folder, val_folder = Path(data.images), Path(data.val_images or data.images)
    train_file = read_coco(data.train, entry.skeleton, read_annotations(data.train, folder, data.format))
    skeleton = configured_skeleton(train_file.skeleton, data)
    train = load_pose_annotations(train_file, entry.input_size)
    if data.val is None:
        return People(train, folder, None, None, skeleton)
    content = read_annotations(data.val, val_folder, data.format)
    val_file = read_coco(data.val, train_file.skeleton, content)
    truth = read_truth(data.val, keypoint_category=val_file.category_id, content=content)
    check_same_keypoints(val_file, train_file)
    val = (
        load_detections(val_file, data.detections, entry.input_size)
        if data.detections
        else load_pose_annotations(val_file, entry.input_size)
    )

    def score(found: Sequence[KeypointPrediction]) -> dict[str, float]:
        records = keypoint_results(found, skeleton.sigmas, category_id=val_file.category_id)
        return keypoint_accuracy(truth, records, skeleton.sigmas)

    return People(train, folder, val, val_folder, skeleton, score)


def _load_mpii(data: Data, entry: TopDownConfig) -> People:
    """People with their own centres and scales."""
    assert data.train is not None
    assert data.images is not None
    folder, val_folder = Path(data.images), Path(data.val_images or data.images)
    train = find_annotation_format(data.train, data.format).read_people(Path(data.train))
    skeleton = configured_skeleton(train.skeleton, data)
    if data.val is None:
        return People(train, folder, None, None, skeleton, metric="PCKh")
    if data.truth is None:
        raise ConfigError("data.truth is missing: MPII's gt_valid.mat, which has the head sizes")
    val = find_annotation_format(data.val, data.format).read_people(Path(data.val))
    truth = read_mpii_truth(data.truth)
    if len(val) != len(truth.head_sizes):
        raise DatasetError(f"{data.truth} is of {len(truth.head_sizes)} people, {data.val} of {len(val)}")
    return People(train, folder, val, val_folder, skeleton, partial(pckh_of_predictions, truth=truth), "PCKh")


_LOADERS: dict[str, Callable[[Data, TopDownConfig], People]] = {"AP": _load_coco, "PCKh": _load_mpii}


def build_transform(options: Augmentation, entry: TopDownConfig) -> A.Compose:
    """Build the geometric augmentation.

    Raises:
        ConfigError: Upper-body keypoints that the skeleton does not have.
    """
    names = entry.skeleton.keypoint_names
    upper = options.upper_body if options.upper_body is not None else tuple(n for n in UPPER_BODY if n in names)
    unknown = [name for name in upper if name not in names]
    if unknown:
        raise ConfigError(f"augmentation.upper_body: no keypoint {unknown[0]!r} among {', '.join(names)}")
    half_body = options.half_body if 0 < len(upper) < len(names) else 0.0
    min_keypoints = options.half_body_min_keypoints or min(HALF_BODY_MIN_KEYPOINTS, len(names) // 2 + 1)
    p = options.dropping_probability
    dropping: dict[str, list[T.PersonTransform]] = {
        "cutout": [Cutout(entry.input_size[1], p=p, in_place=True)],
        "hide_and_seek": [HideAndSeek(p=p)],
        "grid_mask": [GridMask(p=p)],
        "none": [],
    }
    flip = T.RandomFlip(entry.skeleton.flip_pairs, p=options.flip)
    affine = T.TopDownAffine(
        entry.input_size,
        entry.udp,
        scale_factor=options.scale,
        rotate_factor=options.rotation,
        rotate_prob=options.rotation_probability,
        shift_prob=options.shift,
    )
    before, after = build_transforms(options.transforms, "TopDownAffine")
    return PersonCompose(
        [
            *keep_keypoints(before, entry.skeleton),
            T.RandomHalfBody([names.index(name) for name in upper], min_keypoints, p=half_body),
            *([] if entry.udp else [flip]),
            *dropping[options.dropping],
            affine,
            *([flip] if entry.udp else []),  # the same crop, and fewer pixels to mirror
            *keep_keypoints(after, entry.skeleton),
        ]
    )


def build_dataset(config: Config, people: People, entry: TopDownConfig) -> PoseDataset:
    """Build the training dataset.

    Raises:
        ConfigError: See `configured_augmentation`, `build_transform`, `check_transforms`.
    """
    options = configured_augmentation(config, entry.skeleton)
    transform = build_transform(options, entry)
    check_transforms(
        options.transforms,
        "TopDownAffine",
        people.train_images / people.train.items[0].file_name,
        entry.input_size,
        may_mirror=may_mirror(config, entry.skeleton),
        boxes=True,
    )
    return PoseDataset(people.train.items, people.train_images, entry, transform, config.seed)


class EvaluationCrops(Dataset[Sample]):
    """Evaluation crops of people: ``image`` and ``index``."""

    def __init__(self, records: list[PoseAnnotation], folder: Path, entry: TopDownConfig) -> None:
        self.records, self.folder, self.entry = records, folder, entry

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        crop = cut_out(self.records[index], self.folder, self.entry)
        image = normalize(crop[None], self.entry.mean, self.entry.std)[0]
        return {"image": torch.from_numpy(image), "index": index}


class PoseTraining(Training):
    """Lightning module of top-down pose networks."""

    def __init__(
        self,
        network: Network,
        config: Config,
        people: People,
        teacher: Teacher | None,
        steps_per_epoch: int,
        total_steps: int,
    ) -> None:
        super().__init__(network, config, steps_per_epoch, total_steps)
        self.people, self.teacher = people, teacher
        self.metric = people.metric
        self.loss = HeatmapLoss(config.loss_scale, config.ohkm_topk)

    def losses(self, batch: Sample) -> dict[str, Tensor]:
        heatmaps = self(batch["image"])
        loss = self.loss(heatmaps, batch["heatmaps"], batch["weights"])
        if self.teacher is None:
            return {"loss": loss}
        shown = self.config.loss_scale * F.mse_loss(heatmaps, self.teacher(batch["image"]))
        share = self.config.distillation.share
        return {"loss": (1 - share) * loss + share * shown, "labels": loss, "teacher": shown}

    def find(self, batch: Sample) -> list[KeypointPrediction]:
        entry = of_task(config_of(self.network), TopDownConfig)
        heatmaps = self(batch["image"]).float().cpu().numpy()
        if self.config.flip_test:
            mirrored = self(batch["image"].flip(3)).float().cpu().numpy()
            heatmaps = average_with_flipped(heatmaps, mirrored, entry.skeleton)
        coordinates, scores = decode_heatmaps(heatmaps, entry.decoding)
        assert self.people.val is not None
        records = [self.people.val.items[index] for index in batch["index"].tolist()]
        return to_predictions(coordinates, scores, records, entry)

    def accuracy_of(self, found: Sequence[KeypointPrediction]) -> dict[str, float]:
        assert self.people.score is not None
        return self.people.score(found)


def pose_job(config: Config) -> Job:
    """Build the training job of a top-down pose network.

    Raises:
        ConfigError, DatasetError, CheckpointError: What cannot be used.
    """
    entry = of_task(model_config(config), TopDownConfig)
    people = load_annotations(config, entry)
    check_flip_pairs(config, people.skeleton)
    network, weights = start_network(config, skeleton=people.skeleton)
    entry = of_task(config_of(network), TopDownConfig)
    teacher = find_teacher(config.distillation, entry)
    evaluation = None
    if people.val is not None and people.val_images is not None:
        evaluation = EvaluationCrops(people.val.items, people.val_images, entry)
    rows = [
        ("model", f"{config.model}, {len(people.skeleton)} keypoints ({people.skeleton.name})"),
        *([("teacher", config.distillation.teacher)] if config.distillation.teacher else []),
        ("training", f"{len(people.train)} people of {config.data.train}"),
        *(("not used", f"{len(ids)} {reason}") for reason, ids in people.train.skipped.items()),
        ("evaluation", f"{len(people.val)} people of {config.data.val}" if people.val else "none"),
        ("weights", weights),
    ]

    def training(steps_per_epoch: int, total_steps: int) -> PoseTraining:
        return PoseTraining(network, config, people, teacher, steps_per_epoch, total_steps)

    samples = build_dataset(config, people, entry)
    collate = PoseCollate(entry, config.encoding)
    return Job(network, training, samples, len(samples), collate, evaluation, rows)
