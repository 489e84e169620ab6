"""Training of detectors: annotations, samples, loss, accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import albumentations as A
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tinypose_torch.data.detection.annotations import (
    DetectionAnnotation,
    DetectionAnnotations,
    load_detection_annotations,
)
from tinypose_torch.data.detection.sample import DetectionSample
from tinypose_torch.data.detection.transforms import (
    INTERPOLATIONS,
    DetectionRandomFlip,
    PhotometricDistort,
    RandomIoUCrop,
    resize_with_boxes,
)
from tinypose_torch.data.formats.registry import read_annotations
from tinypose_torch.data.images import check_images, read_or_fail, read_or_next
from tinypose_torch.data.pose.dataset import Sample
from tinypose_torch.data.sample_rng import SampleRNG
from tinypose_torch.estimators.detection import select_detections
from tinypose_torch.estimators.preprocessing import resize_for_detector
from tinypose_torch.evaluation.boxes import box_accuracy, box_results
from tinypose_torch.evaluation.truth import Truth, read_truth
from tinypose_torch.geometry.normalize import normalize
from tinypose_torch.losses.assigners import Targets
from tinypose_torch.models.base import Detector, Network, implements_loss
from tinypose_torch.models.config import DetectorConfig, config_of, of_task
from tinypose_torch.models.registry import get_config
from train.augmentation import Transform, build_transforms, check_transforms, image_only
from train.config import Config, ConfigError, Detection
from train.init_model import model_config, start_network
from train.lightning_module import Job, Training

Array = np.ndarray
_DIVISOR = 32


class DetectionDataset(Dataset[Sample]):
    """Dataset of augmented images with their boxes.

    An item is a dict of ``image`` ``(H, W, 3)`` uint8 RGB, ``objects``, and what was drawn from: ``place`` (epoch, index).
    An image that cannot be decoded is replaced by the next one, and named in the log.
    """

    def __init__(
        self,
        images: Sequence[DetectionAnnotation],
        folder: Path,
        options: Detection,
        seed: int,
        transforms: Sequence[dict[str, Any]] = (),
    ) -> None:
        self.images, self.folder, self.seed = images, folder, seed
        self.before, self.after = map(_with_boxes, build_transforms(transforms, "RandomIoUCrop"))
        steps: list[Any] = [RandomIoUCrop()] if options.crop else []
        steps += [DetectionRandomFlip(p=options.flip)]
        steps += [PhotometricDistort()] if options.distort else []
        self.transform = A.Compose(steps)
        self.rng = SampleRNG(seed, self.before, self.transform, self.after)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: tuple[int, int]) -> Sample:
        epoch, index = place
        found, image = read_or_next(self.images, self.folder, index)
        self.rng.reseed(epoch, index)
        image, objects = _apply(self.before, image, self.images[found].objects)
        drawn = self.transform(image=image, objects=objects)
        image, objects = _apply(self.after, drawn["image"], drawn["objects"])
        return {"image": image, "objects": objects, "place": place}


def _with_boxes(transforms: Sequence[Transform]) -> A.Compose | None:
    """Composition of albumentations' transforms for images with boxes; ``None`` of none."""
    boxes = A.BboxParams("pascal_voc", label_fields=["labels"], clip=True, filter_invalid_bboxes=True)
    return A.Compose(transforms, None if image_only(transforms) else boxes) if transforms else None


def _apply(transform: A.Compose | None, image: Array, objects: DetectionSample) -> tuple[Array, DetectionSample]:
    if transform is None:
        return image, objects
    moved = transform(image=image, bboxes=objects.boxes, labels=objects.labels)
    boxes, labels = (np.asarray(moved[name]) for name in ("bboxes", "labels"))
    return moved["image"], DetectionSample(boxes.reshape(-1, 4).astype(np.float32), labels.astype(np.int64))


class BatchCollate:
    """Collates augmented images to a batch of a sampled size.

    Args:
        sizes: Sizes to sample from.
    """

    def __init__(self, sizes: Sequence[int], entry: DetectorConfig, seed: int) -> None:
        self.sizes, self.seed = tuple(sizes), seed
        self.mean, self.std = (np.array(values, np.float32) for values in (entry.mean, entry.std))

    def __call__(self, samples: Sequence[Sample]) -> Sample:
        """``image`` ``(N, 3, S, S)``, ``boxes`` ``(N, G, 4)``, ``labels`` and ``valid`` ``(N, G)``."""
        generator = np.random.default_rng((self.seed, *samples[0]["place"], len(self.sizes)))
        size = int(generator.choice(self.sizes))
        interpolation = int(generator.choice(INTERPOLATIONS))
        most = max(1, *(len(sample["objects"]) for sample in samples))
        images = torch.empty(len(samples), 3, size, size)
        boxes, labels = torch.zeros(len(samples), most, 4), torch.zeros(len(samples), most, dtype=torch.long)
        valid = torch.zeros(len(samples), most, dtype=torch.bool)
        for row, sample in enumerate(samples):
            objects = sample["objects"]
            resized, moved = resize_with_boxes(sample["image"], objects.boxes, size, interpolation)
            images[row] = torch.from_numpy(((resized / 255 - self.mean) / self.std).transpose(2, 0, 1))
            boxes[row, : len(objects)] = torch.from_numpy(moved)
            labels[row, : len(objects)] = torch.from_numpy(objects.labels)
            valid[row, : len(objects)] = torch.from_numpy((moved[:, 2:] > moved[:, :2]).all(axis=1))
        return {"image": images, "boxes": boxes, "labels": labels, "valid": valid}


class EvaluationImages(Dataset[Sample]):
    """Evaluation images: ``image`` and ``index``."""

    def __init__(self, images: Sequence[DetectionAnnotation], folder: Path, entry: DetectorConfig) -> None:
        self.images, self.folder, self.entry = images, folder, entry

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        image = read_or_fail(self.images[index], self.folder)
        resized = resize_for_detector(image, self.entry)
        return {"image": torch.from_numpy(normalize(resized, self.entry.mean, self.entry.std)[0]), "index": index}


class DetectorTraining(Training):
    """Lightning module of detectors."""

    def __init__(
        self,
        network: Network,
        config: Config,
        val: DetectionAnnotations | None,
        truth: Truth | None,
        steps_per_epoch: int,
        total_steps: int,
    ) -> None:
        super().__init__(network, config, steps_per_epoch, total_steps)
        self.val, self.truth = val, truth

    def losses(self, batch: Sample) -> dict[str, Tensor]:
        targets = Targets(batch["boxes"], batch["labels"], batch["valid"])
        height, width = batch["image"].shape[2:]
        options = self.config.detection
        use_atss = self.epoch < options.atss_epochs
        network = cast(Detector, self.network)
        return network.loss(
            self(batch["image"]), targets, (height, width), use_atss=use_atss, atss_topk=options.nearest
        )

    def find(self, batch: Sample) -> list[Any]:
        assert self.val is not None
        entry = of_task(config_of(self.network), DetectorConfig)
        decoded = self.network.decode(self(batch["image"]))
        scores, boxes = (output.float().cpu().numpy() for output in decoded[:2])
        records = []
        for row, index in enumerate(batch["index"].tolist()):
            item = self.val.items[index]
            found = select_detections(scores[row], boxes[row], entry, item.image_size)
            ids = self.val.category_ids
            records += box_results(item.image_id, found.boxes, found.scores, found.class_ids, ids)
        return records

    def accuracy_of(self, found: Sequence[Any]) -> dict[str, float]:
        assert self.val is not None
        assert self.truth is not None
        return box_accuracy(self.truth, list(found), self.val.category_ids)


def _check_sizes(config: Config) -> None:
    """Raise an error for training sizes that the network does not accept or that do not include its input size.

    Raises:
        ConfigError: It names the size; or see `model_config`.
        FileNotFoundError, CheckpointError: See `model_config`.
    """
    sizes = config.detection.sizes
    wrong = [size for size in sizes if size < _DIVISOR or size % _DIVISOR]
    if wrong:
        raise ConfigError(f"detection.sizes: {wrong[0]} is not a multiple of {_DIVISOR}")
    size = model_config(config).input_size[0]
    if sizes and not min(sizes) <= size <= max(sizes):
        raise ConfigError(
            f"input size {size} is not between detection.sizes {min(sizes)} and {max(sizes)}; "
            f"pass detection.sizes=[{size}], or several sizes around it"
        )


def detection_job(config: Config) -> Job:
    """Build the training job of a detector.

    Raises:
        ConfigError, DatasetError, CheckpointError: What cannot be used.
    """
    data = config.data
    if data.train is None or data.images is None:
        raise ConfigError(f"data.{'train' if data.train is None else 'images'} is missing")
    network_class = get_config(config.model).network
    if not implements_loss(network_class):
        raise ConfigError(
            f"model: {config.model} has no training here; {network_class.__name__} does not implement `loss`"
        )
    _check_sizes(config)
    content = read_annotations(data.train, data.images, data.format)
    images, class_names = load_detection_annotations(data.train, config.detection.classes, content=content)
    check_images(images.items, data.images)
    val, truth, val_folder = None, None, data.val_images or data.images
    if data.val is not None:
        content = read_annotations(data.val, val_folder, data.format)
        truth = read_truth(data.val, content=content)  # so that errors occur before the training
        val, _ = load_detection_annotations(data.val, class_names, keep_empty=True, content=content)
        check_images(val.items, val_folder)
    network, weights = start_network(config, class_names=class_names)
    entry = of_task(config_of(network), DetectorConfig)
    evaluation = EvaluationImages(val.items, Path(val_folder), entry) if val is not None else None
    rows = [
        ("model", f"{config.model}, {len(class_names)} classes ({', '.join(class_names[:5])})"),
        ("training", f"{len(images)} images of {data.train}"),
        *([("not used", f"{images.empty} images without objects")] if images.empty else []),
        *(("not used", f"{len(ids)} {reason}") for reason, ids in images.skipped.items()),
        ("evaluation", f"{len(val)} images of {data.val}" if val else "none"),
        ("weights", weights),
    ]

    def training(steps_per_epoch: int, total_steps: int) -> DetectorTraining:
        return DetectorTraining(network, config, val, truth, steps_per_epoch, total_steps)

    transforms, folder = config.augmentation.transforms, Path(data.images)
    check_transforms(transforms, "RandomIoUCrop", folder / images.items[0].file_name, boxes=True)
    samples = DetectionDataset(images.items, folder, config.detection, config.seed, transforms)
    collate = BatchCollate(config.detection.sizes or (entry.input_size[0],), entry, config.seed)
    return Job(network, training, samples, len(samples), collate, evaluation, rows)
