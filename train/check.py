"""`python -m train RECIPE ... --check`: what would be used, what not and why, and how samples look."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from tqdm import tqdm

from tinypose_torch.data.images import FromFile, read_image
from tinypose_torch.data.pose.annotations import PoseAnnotations
from tinypose_torch.data.pose.dataset import PoseCollate, PoseDataset
from tinypose_torch.estimators.drawing import draw_poses
from tinypose_torch.geometry.boxes import boxes_of_points
from tinypose_torch.geometry.flip_pairs import LEFT, side_of
from tinypose_torch.geometry.skeletons import Skeleton
from tinypose_torch.models.config import TopDownConfig, config_of, of_task
from tinypose_torch.models.registry import get_config
from tinypose_torch.utils.images import save_png
from tinypose_torch.utils.messages import escaped
from tinypose_torch.utils.table import format_table
from train.bottom_up import BottomUpDataset, WholeImages, bottom_up_job, read_people
from train.config import Config
from train.detection import DetectionDataset, EvaluationImages, detection_job
from train.init_model import model_config, source_of_weights
from train.pose import build_dataset, load_annotations
from train.preflight import SAMPLES

NO_OPPOSITE = "no opposite"
_TILES = (4, 6)
_TILE_HEIGHT = 256


def check_data(config: Config) -> int:
    """Read and decode everything, print tables, and draw samples; returns 1 if images cannot be decoded."""
    checks = {"pose": _check_people, "bottom-up pose": _check_bottom_up, "detection": _check_boxes}
    if source_of_weights(config).path is None:
        config = config.model_copy(update={"weights": None})  # nothing is downloaded for a check
    sheet, broken = checks[get_config(config.model).task](config)
    path = Path(config.output) / SAMPLES
    save_png(sheet, path)
    print(f"wrote {path}: augmented samples with their targets")
    for image in broken:
        print(escaped(f"cannot be decoded: {image}"))
    return 1 if broken else 0


def _check_people(config: Config) -> tuple[np.ndarray, list[Path]]:
    entry = of_task(model_config(config), TopDownConfig)
    people = load_annotations(config, entry)
    entry = dataclasses.replace(entry, skeleton=people.skeleton)
    _print_people("training", people.train)
    _print_keypoints(config, people.skeleton, np.stack([record.person.visible for record in people.train.items]))
    dataset = build_dataset(config, people, entry)
    broken = _undecodable(people.train.items, people.train_images)
    if people.val is not None and people.val_images is not None:
        _print_people("evaluation", people.val)
        broken += _undecodable(people.val.items, people.val_images)
    return draw_sheet(dataset, PoseCollate(entry, config.encoding)), broken


def _check_boxes(config: Config) -> tuple[np.ndarray, list[Path]]:
    job = detection_job(config)
    for name, value in job.rows:
        print(f"{name:>11}  {value}")
    samples, evaluation = cast(DetectionDataset, job.samples), cast(EvaluationImages | None, job.evaluation)
    broken = _undecodable(samples.images, samples.folder)
    if evaluation is not None:
        broken += _undecodable(evaluation.images, evaluation.folder)
    class_names = config_of(job.network).head_names
    labels = Counter(int(label) for image in samples.images for label in image.objects.labels)
    table = [(name, str(labels[index])) for index, name in enumerate(class_names)]
    print(format_table(("class", "boxes"), table, right=(1,)))
    return _draw_boxes(samples, class_names), broken


def _check_bottom_up(config: Config) -> tuple[np.ndarray, list[Path]]:
    train_file = read_people(config)
    visible = [annotation["keypoints"][2::3] for annotation in train_file.annotations]
    _print_keypoints(config, train_file.skeleton, np.array(visible).reshape(-1, len(train_file.skeleton)))
    job = bottom_up_job(config, train_file)
    for name, value in job.rows:
        print(f"{name:>11}  {value}")
    samples, evaluation = cast(BottomUpDataset, job.samples), cast(WholeImages | None, job.evaluation)
    broken = _undecodable(samples.images, samples.folder)
    if evaluation is not None:
        broken += _undecodable(evaluation.images, evaluation.folder)
    sizes = Counter(len(item.people) for item in samples.images)
    print(
        format_table(("people in an image", "images"), [(str(n), str(sizes[n])) for n in sorted(sizes)], right=(0, 1))
    )
    return _draw_bottom_up(samples), broken


def _draw_bottom_up(dataset: BottomUpDataset) -> np.ndarray:
    """Augmented RGB images with the keypoints of all people, darker where heatmaps are masked."""
    rows, columns = _TILES
    generator = np.random.default_rng(dataset.seed)
    chosen = generator.choice(len(dataset), rows * columns, replace=len(dataset) < rows * columns)
    tiles: list[np.ndarray] = []
    for epoch, index in enumerate(chosen.tolist()):
        item = dataset.images[index]
        image = read_image(dataset.folder / item.file_name, item.image_size)
        if image is None:
            tiles.append(np.zeros((_TILE_HEIGHT, _TILE_HEIGHT, 3), np.uint8))
            continue
        square, people = dataset.augment(image, item.people, epoch, index)
        tile = cv2.resize(square, (_TILE_HEIGHT, _TILE_HEIGHT), interpolation=cv2.INTER_AREA)
        learned = cv2.resize(people.masks[-1].astype(np.uint8), tile.shape[:2], interpolation=cv2.INTER_NEAREST)
        tile[learned == 0] //= 2
        joints, visible = people.joints * (_TILE_HEIGHT / len(square)), people.visible > 0
        seen = visible.any(axis=1)
        joints, visible = joints[seen], visible[seen]
        boxes = boxes_of_points(joints, visible)
        tile = draw_poses(tile, boxes, [""] * len(boxes), joints, visible, dataset.entry.skeleton)
        tiles.append(tile)
    return np.concatenate([np.concatenate(tiles[row * columns : (row + 1) * columns], axis=1) for row in range(rows)])


def _draw_boxes(dataset: DetectionDataset, class_names: tuple[str, ...]) -> np.ndarray:
    """Augmented images with their boxes, RGB."""
    rows, columns = _TILES
    generator = np.random.default_rng(dataset.seed)
    chosen = generator.choice(len(dataset), rows * columns, replace=len(dataset) < rows * columns)
    tiles = []
    for epoch, index in enumerate(chosen.tolist()):
        sample = dataset[(epoch, index)]
        scale = np.array([_TILE_HEIGHT / sample["image"].shape[1], _TILE_HEIGHT / sample["image"].shape[0]] * 2)
        tile = cv2.resize(sample["image"], (_TILE_HEIGHT, _TILE_HEIGHT), interpolation=cv2.INTER_AREA)
        for box, label in zip(sample["objects"].boxes * scale, sample["objects"].labels, strict=True):
            x1, y1, x2, y2 = (round(value) for value in box.tolist())
            cv2.rectangle(tile, (x1, y1), (x2, y2), (80, 220, 80), 2)
            cv2.putText(tile, class_names[label], (x1, y1 + 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1)
        tiles.append(tile)
    return np.concatenate([np.concatenate(tiles[row * columns : (row + 1) * columns], axis=1) for row in range(rows)])


def draw_sheet(dataset: PoseDataset, collate: PoseCollate) -> np.ndarray:
    """Augmented people beside their heatmaps, RGB."""
    rows, columns = _TILES
    generator = np.random.default_rng(dataset.seed)
    chosen = generator.choice(len(dataset), rows * columns, replace=len(dataset) < rows * columns)
    tiles = [_draw_tile(dataset, collate, int(index), epoch) for epoch, index in enumerate(chosen)]
    return np.concatenate([np.concatenate(tiles[row * columns : (row + 1) * columns], axis=1) for row in range(rows)])


def _draw_tile(dataset: PoseDataset, collate: PoseCollate, index: int, epoch: int) -> np.ndarray:
    entry = dataset.config
    record = dataset.records[index]
    image = read_image(dataset.folder / record.file_name, record.image_size)
    height, width = entry.input_size
    scale = _TILE_HEIGHT / height
    size = (round(width * scale), _TILE_HEIGHT)
    if image is None:
        return np.zeros((size[1], 2 * size[0], 3), np.uint8)
    crop, person = dataset.augment(image, record.person, epoch, index)
    batch = collate([{"image": crop, "person": person, "index": index}])
    crop = cv2.resize(crop, size, interpolation=cv2.INTER_LINEAR)
    highest = batch["heatmaps"][0].numpy().max(axis=0)
    heat = cv2.resize((255 * highest).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    heat = cv2.cvtColor(cv2.applyColorMap(heat, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)
    places = (person.joints + 0.5) * scale - 0.5
    for left, right in entry.skeleton.links:
        if person.visible[left] and person.visible[right]:
            cv2.line(crop, _point(places[left]), _point(places[right]), (255, 255, 255), 1, cv2.LINE_AA)
    for name, place, visible in zip(entry.skeleton.keypoint_names, places, person.visible, strict=True):
        if visible:
            colour = (80, 220, 80) if side_of(name) == LEFT else (255, 150, 40)
            cv2.circle(crop, _point(place), 3, colour, -1, cv2.LINE_AA)
    return np.concatenate([crop, heat], axis=1)


def _point(place: np.ndarray) -> tuple[int, int]:
    return round(float(place[0])), round(float(place[1]))


def _print_people(what: str, people: PoseAnnotations) -> None:
    images = {record.file_name for record in people.items}
    print(f"{what}: {len(people)} people in {len(images)} images")
    for reason, ids in people.skipped.items():
        shown = ", ".join(str(identity) for identity in ids[:5]) + (", ..." if len(ids) > 5 else "")
        print(f"  not used: {len(ids)} {reason} (annotation {shown})")


def _print_keypoints(config: Config, skeleton: Skeleton, visible: np.ndarray) -> None:
    """Print how often each keypoint is labelled and what it swaps with; in red left and right ones without an opposite.

    Args:
        visible: ``(N, K)``, above 0 where a keypoint is labelled.
    """
    names, labelled = skeleton.keypoint_names, (visible > 0).sum(axis=0)
    unpaired = skeleton.unpaired_names() if config.data.flip_pairs is None else ()
    swaps = [
        NO_OPPOSITE if names[own] in unpaired else names[other] if own != other else ""
        for own, other in enumerate(skeleton.mirrored_order())
    ]
    rows = [(str(index), name, str(labelled[index]), swaps[index]) for index, name in enumerate(names)]
    table = format_table(("", "keypoint", "labelled", "swaps with"), rows, right=(0, 2))
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for line in table.split("\n"):
        print(f"\x1b[31m{line}\x1b[0m" if coloured and line.endswith(NO_OPPOSITE) else line)
    if config.augmentation.flip and not skeleton.flip_pairs and not unpaired and config.data.flip_pairs is None:
        print(
            "images are not mirrored: no name says which keypoints swap; data.flip_pairs=[] mirrors them and swaps none"
        )


def _undecodable(items: Sequence[FromFile], folder: Path) -> list[Path]:
    files = sorted({item.file_name for item in items})
    found = tqdm(files, desc="decoding", unit="image", disable=None, leave=False)
    return [folder / name for name in found if read_image(folder / name) is None]
