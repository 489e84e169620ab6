"""Annotated people with their predictions, and the errors of the keypoints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinypose_torch.evaluation.coco import keypoint_accuracy
from tinypose_torch.evaluation.images import ImageFile
from tinypose_torch.evaluation.truth import Truth
from tinypose_torch.geometry.skeletons import Skeleton

Array = np.ndarray
MIN_OKS = 0.1  # of a prediction with an annotated person; below it the person counts as missed


@dataclass(frozen=True)
class KeypointEvaluation:
    """What a network predicted in annotated images.

    Attributes:
        truth: The annotations.
        records: The predictions, in COCO's result format.
        skeleton: Of both.
        sigmas: K constants of the object keypoint similarity (OKS).
        image_ids: Images that count.
        folder: Folder of the images.
    """

    truth: Truth
    records: list[dict[str, Any]]
    skeleton: Skeleton
    sigmas: Sequence[float]
    image_ids: Sequence[int]
    folder: Path

    def accuracy(self) -> dict[str, float]:
        """The ten numbers of COCO's keypoint evaluation."""
        return keypoint_accuracy(self.truth, self.records, self.sigmas, self.image_ids)

    def image_files(self) -> dict[int, ImageFile]:
        """The images by id."""
        return {
            image["id"]: ImageFile(image["id"], image["file_name"], (image["height"], image["width"]))
            for image in self.truth.content["images"]
        }

    def keypoint_ap(self, index: int) -> float:
        """AP of one keypoint alone; -1 if it is not labelled in any image."""
        rows = []
        for row in self.truth.content["annotations"]:
            keypoints = np.array(row["keypoints"], float).reshape(-1, 3)
            keypoints[np.arange(len(keypoints)) != index, 2] = 0
            # People without the keypoint are ignored, however many predictions lie in their boxes.
            labelled = bool(keypoints[index, 2] > 0)
            ignored = 1 if not labelled else row["iscrowd"]
            alone = {"keypoints": keypoints.ravel().tolist(), "num_keypoints": int(labelled), "iscrowd": ignored}
            rows.append({**row, **alone})
        if not any(row["num_keypoints"] for row in rows):
            return -1.0
        truth = Truth(self.truth.path, {**self.truth.content, "annotations": rows}, {})
        return keypoint_accuracy(truth, self.records, self.sigmas, self.image_ids)["AP"]


@dataclass(frozen=True)
class Matches:
    """N annotated people, without ``iscrowd`` and people without labelled keypoints, and their predictions.

    Attributes:
        image_ids: ``(N,)``.
        boxes: ``(N, 4)`` x1, y1, x2, y2, pixels.
        areas: ``(N,)`` square pixels.
        keypoints: ``(N, K, 2)`` annotated x, y, pixels.
        visibility: ``(N, K)``: 0 not labelled, 1 hidden, 2 visible.
        predicted: ``(N, K, 3)`` x, y, score; NaN for people who were missed.
        oks: ``(N,)``; 0 for people who were missed.
    """

    image_ids: Array
    boxes: Array
    areas: Array
    keypoints: Array
    visibility: Array
    predicted: Array
    oks: Array

    def __len__(self) -> int:
        return len(self.oks)

    @property
    def labelled(self) -> Array:
        """``(N, K)`` bool."""
        return self.visibility > 0

    @property
    def errors(self) -> Array:
        """``(N, K)`` distances from the annotated keypoints, as a fraction of the box's longer side.

        NaN for keypoints that are not labelled, infinite for people who were missed.
        """
        sides = np.maximum((self.boxes[:, 2:] - self.boxes[:, :2]).max(axis=1), 1.0)
        distances = np.linalg.norm(self.predicted[..., :2] - self.keypoints, axis=2) / sides[:, None]
        distances = np.where(np.isnan(distances), np.inf, distances)
        return np.where(self.labelled, distances, np.nan)


def match_people(evaluation: KeypointEvaluation) -> Matches:
    """Match each annotated person of an evaluation with one prediction, in the order of descending OKS.

    Raises:
        ValueError: No annotated person counts.
    """
    people, found = defaultdict(list), defaultdict(list)
    chosen = set(evaluation.image_ids)
    for row in evaluation.truth.content["annotations"]:
        if row["image_id"] in chosen and not row["iscrowd"] and row["num_keypoints"] > 0:
            people[row["image_id"]].append(row)
    for record in evaluation.records:
        found[record["image_id"]].append(np.array(record["keypoints"], float).reshape(-1, 3))
    if not people:
        raise ValueError(f"{evaluation.truth.path}: no person with labelled keypoints, so there is nothing to report")
    rows = [row for some in people.values() for row in some]
    labels = np.array([row["keypoints"] for row in rows], float).reshape(len(rows), -1, 3)
    boxes = np.array([row["bbox"] for row in rows], float)
    boxes[:, 2:] += boxes[:, :2]
    areas = np.array([row["area"] for row in rows], float)
    matched = [
        _match_image(labels[start : start + len(people[identity])], areas[start:], found[identity], evaluation.sigmas)
        for identity, start in _starts(people)
    ]
    return Matches(
        np.array([row["image_id"] for row in rows]),
        boxes,
        areas,
        labels[..., :2],
        labels[..., 2],
        np.concatenate([predicted for predicted, _ in matched]),
        np.concatenate([oks for _, oks in matched]),
    )


def _starts(people: dict[int, list[Any]]) -> list[tuple[int, int]]:
    """Image ids, and the index of each one's first person."""
    ends = np.cumsum([len(some) for some in people.values()])
    return [(identity, int(end) - len(some)) for (identity, some), end in zip(people.items(), ends, strict=True)]


def _match_image(labels: Array, areas: Array, found: list[Array], sigmas: Sequence[float]) -> tuple[Array, Array]:
    """Predictions ``(N, K, 3)`` for the people of an image, and their OKS ``(N,)``."""
    predicted, oks = np.full(labels.shape, np.nan), np.zeros(len(labels))
    similarity = np.zeros((len(labels), len(found)))
    for number, person in enumerate(labels):
        for index, pose in enumerate(found):
            similarity[number, index] = _oks(person, pose, areas[number], np.asarray(sigmas))
    while similarity.size and similarity.max() >= MIN_OKS:
        number, index = divmod(int(similarity.argmax()), len(found))
        predicted[number], oks[number] = found[index], similarity[number, index]
        similarity[number], similarity[:, index] = -1, -1
    return predicted, oks


def _oks(person: Array, pose: Array, area: float, sigmas: Array) -> float:
    """OKS over the labelled keypoints, as in COCO's evaluation."""
    squared = ((person[:, :2] - pose[:, :2]) ** 2).sum(axis=1)
    similar = np.exp(-squared / (2 * sigmas) ** 2 / (area + np.spacing(1)) / 2)
    return float(similar[person[:, 2] > 0].mean())
