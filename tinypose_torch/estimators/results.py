"""What comes out: detections and poses, as arrays, and in the formats of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tinypose_torch.codecs.calibration import KeypointUncertainty
from tinypose_torch.estimators.drawing import draw_ellipses, draw_poses
from tinypose_torch.geometry.boxes import xywh_to_xyxy, xyxy_to_xywh
from tinypose_torch.geometry.skeletons import COCO17, Skeleton
from tinypose_torch.utils.defaults import VISIBLE

if TYPE_CHECKING:
    import supervision

Array = np.ndarray


def _floats(value: Any, *shape: int) -> Array:
    return np.asarray(value, np.float32).reshape(shape)


@dataclass
class Detections:
    """Boxes found in one image.

    Attributes:
        boxes: ``(N, 4)`` float32 x1, y1, x2, y2 in pixels of the image. They may reach beyond it.
        scores: ``(N,)`` float32 in [0, 1].
        class_ids: ``(N,)`` int64.
        class_names: Meaning of the class ids.
        embeddings: ``(N, D)`` embeddings by which the same object is known again; ``None`` of most detectors.
    """

    boxes: Array
    scores: Array
    class_ids: Array
    class_names: tuple[str, ...] = ("person",)
    embeddings: Array | None = None

    def __post_init__(self) -> None:
        self.boxes = _floats(self.boxes, -1, 4)
        self.scores = _floats(self.scores, -1)
        self.class_ids = np.asarray(self.class_ids, np.int64).reshape(-1)
        if not len(self.boxes) == len(self.scores) == len(self.class_ids):
            raise ValueError(f"{len(self.boxes)} boxes, {len(self.scores)} scores and {len(self.class_ids)} class ids")

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Any) -> Detections:
        """Some of the detections: a slice, a mask, an index or a list of indices."""
        rows = np.atleast_1d(np.arange(len(self))[index])
        embeddings = None if self.embeddings is None else self.embeddings[rows]
        return Detections(self.boxes[rows], self.scores[rows], self.class_ids[rows], self.class_names, embeddings)

    def to_coco_results(self, image_id: int, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """Rows of a COCO detection results file; box as x, y, width, height.

        Args:
            category_ids: COCO category of each class; class index + 1 unless given.
        """
        return [
            {
                "image_id": image_id,
                "category_id": category_ids[label] if category_ids else int(label) + 1,
                "bbox": box,
                "score": float(score),
            }
            for box, score, label in zip(xyxy_to_xywh(self.boxes).tolist(), self.scores, self.class_ids, strict=True)
        ]

    def to_supervision(self) -> supervision.Detections:
        """Convert to ``supervision.Detections``. Needs supervision 0.29 or newer."""
        import supervision

        names = np.array([self.class_names[label] for label in self.class_ids])
        return supervision.Detections(
            xyxy=self.boxes, confidence=self.scores, class_id=self.class_ids, data={"class_name": names}
        )


@dataclass
class Poses:
    """Poses found in one image: N people with K keypoints each.

    Attributes:
        boxes: ``(N, 4)`` float32 x1, y1, x2, y2 in pixels of the image.
        scores: ``(N,)`` float32: the detector's score of the box; 1 for boxes that the user gave.
        keypoints: ``(N, K, 2)`` float32 x, y in pixels of the image, pixel centres at integers.
        keypoint_scores: ``(N, K)`` float32: the heatmap's peak, about 0 to 1. Above 0.2 a keypoint is usually right.
        skeleton: Meaning of the keypoints.
        ids: ``(N,)`` int64, identities in a video; ``None`` without tracking.
        uncertainty: Of the keypoints, from `PoseEstimator` with ``uncertainty=True``.
    """

    boxes: Array
    scores: Array
    keypoints: Array
    keypoint_scores: Array
    skeleton: Skeleton = field(default=COCO17)
    ids: Array | None = None
    uncertainty: KeypointUncertainty | None = None

    def __post_init__(self) -> None:
        count = len(self.skeleton)
        self.boxes = _floats(self.boxes, -1, 4)
        self.scores = _floats(self.scores, -1)
        self.keypoints = _floats(self.keypoints, -1, count, 2)
        self.keypoint_scores = _floats(self.keypoint_scores, -1, count)
        lengths = [len(self.boxes), len(self.scores), len(self.keypoints), len(self.keypoint_scores)]
        if self.ids is not None:
            self.ids = np.asarray(self.ids, np.int64).reshape(-1)
            lengths.append(len(self.ids))
        if len(set(lengths)) != 1:
            raise ValueError(f"boxes, scores, keypoints and keypoint scores of {lengths} people")

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Any) -> Poses:
        """Some of the people: a slice, a mask, an index or a list of indices."""
        rows = np.atleast_1d(np.arange(len(self))[index])
        return Poses(
            self.boxes[rows],
            self.scores[rows],
            self.keypoints[rows],
            self.keypoint_scores[rows],
            self.skeleton,
            None if self.ids is None else self.ids[rows],
            None if self.uncertainty is None else self.uncertainty[rows],
        )

    @property
    def keypoint_covariances(self) -> Array | None:
        """``(N, K, 2, 2)`` float32 square pixels, axes x, y; ``None`` without uncertainty."""
        return None if self.uncertainty is None else self.uncertainty.covariances

    @classmethod
    def empty(cls, skeleton: Skeleton) -> Poses:
        """No people."""
        return cls(
            np.zeros((0, 4)), np.zeros(0), np.zeros((0, len(skeleton), 2)), np.zeros((0, len(skeleton))), skeleton
        )

    @classmethod
    def joined(cls, parts: Sequence[Poses], skeleton: Skeleton) -> Poses:
        """The people of several, in this order, without their ids."""
        parts = [part for part in parts if len(part)]
        if not parts:
            return cls.empty(skeleton)
        uncertain = [part.uncertainty for part in parts if part.uncertainty is not None]
        return cls(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.keypoints for part in parts]),
            np.concatenate([part.keypoint_scores for part in parts]),
            skeleton,
            uncertainty=KeypointUncertainty.joined(uncertain) if len(uncertain) == len(parts) else None,
        )

    def to_records(self) -> list[dict[str, Any]]:
        """One dict per person: ``box``, ``score``, and ``keypoints`` as [x, y, score] triples; ``id`` of who was followed.

        With uncertainty also ``keypoint_covariances`` as [xx, xy, yy] in square pixels, and ``keypoint_radii``: pixels
        within which the keypoint lies with a probability of 50 % and of 90 %.
        """
        triples = np.concatenate([self.keypoints, self.keypoint_scores[..., None]], axis=-1)
        identities = [{}] * len(self) if self.ids is None else [{"id": identity} for identity in self.ids.tolist()]
        return [
            {
                **identity,
                "box": [round(float(v), 3) for v in box],
                "score": round(float(score), 5),
                "keypoints": [[round(x, 3), round(y, 3), round(s, 5)] for x, y, s in person.tolist()],
                **certainty,
            }
            for identity, box, score, person, certainty in zip(
                identities, self.boxes, self.scores, triples, self._uncertainty_records(), strict=True
            )
        ]

    def _uncertainty_records(self) -> list[dict[str, Any]]:
        if self.uncertainty is None:
            return [{}] * len(self)
        entries = self.uncertainty.covariances.reshape(len(self), -1, 4)[..., [0, 1, 3]].astype(float).round(3)
        radii = np.stack([self.uncertainty.radius(share) for share in (0.5, 0.9)], axis=-1).round(3)
        pairs = zip(entries.tolist(), radii.tolist(), strict=True)
        return [{"keypoint_covariances": one, "keypoint_radii": other} for one, other in pairs]

    @classmethod
    def from_records(cls, records: Sequence[Mapping[str, Any]], skeleton: Skeleton = COCO17) -> Poses:
        """The inverse of `to_records`, up to its rounding and without uncertainty."""
        if not records:
            return cls.empty(skeleton)
        triples = _floats([record["keypoints"] for record in records], -1, len(skeleton), 3)
        return cls(
            np.array([record["box"] for record in records]),
            np.array([record["score"] for record in records]),
            triples[..., :2],
            triples[..., 2],
            skeleton,
            np.array([record["id"] for record in records]) if "id" in records[0] else None,
        )

    def to_coco_results(self, image_id: int, category_id: int = 1) -> list[dict[str, Any]]:
        """Rows of a COCO keypoint results file.

        The score is the box's, times the mean score of the keypoints above 0.2, as in PaddleDetection's evaluation.
        ``bbox`` is kept beside it so that nothing is lost.
        """
        triples = np.concatenate([self.keypoints, self.keypoint_scores[..., None]], axis=-1)
        visible = self.keypoint_scores > VISIBLE
        counts = np.maximum(visible.sum(axis=1), 1)
        means = np.where(visible, self.keypoint_scores, 0).sum(axis=1) / counts
        return [
            {
                "image_id": image_id,
                "category_id": category_id,
                "keypoints": person.ravel().tolist(),
                "score": float(score * mean),
                "bbox": box,
                "bbox_score": float(score),
            }
            for box, score, mean, person in zip(
                xyxy_to_xywh(self.boxes).tolist(), self.scores, means, triples, strict=True
            )
        ]

    @classmethod
    def from_coco_results(cls, rows: Sequence[Mapping[str, Any]], skeleton: Skeleton = COCO17) -> Poses:
        """Poses of one image from its rows of a COCO keypoint results file.

        Rows of other programs may lack ``bbox`` and ``bbox_score``: the box is then the keypoints' extent, the score
        the row's own.

        Raises:
            ValueError: Rows of several images, or with another number of keypoints.
        """
        if len({row["image_id"] for row in rows}) > 1:
            raise ValueError("rows of several images; group them by image_id first")
        if not rows:
            return cls.empty(skeleton)
        wrong = [len(row["keypoints"]) for row in rows if len(row["keypoints"]) != 3 * len(skeleton)]
        if wrong:
            raise ValueError(f"{wrong[0]} keypoint numbers, but {skeleton.name} needs {3 * len(skeleton)}")
        triples = _floats([row["keypoints"] for row in rows], -1, len(skeleton), 3)
        boxes = []
        for row, person in zip(rows, triples, strict=True):
            if "bbox" in row:
                boxes.append(xywh_to_xyxy(np.array(row["bbox"], np.float64)))
            else:
                boxes.append(np.concatenate([person[:, :2].min(axis=0), person[:, :2].max(axis=0)]))
        scores = [row.get("bbox_score", row["score"]) for row in rows]
        return cls(np.array(boxes), np.array(scores), triples[..., :2], triples[..., 2], skeleton)

    def to_supervision(self) -> supervision.KeyPoints:
        """Convert to ``supervision.KeyPoints``; ids are in ``data["tracker_id"]``. Needs supervision 0.29 or newer."""
        import supervision

        return supervision.KeyPoints(
            xy=self.keypoints,
            keypoint_confidence=self.keypoint_scores,
            detection_confidence=self.scores,
            data={} if self.ids is None else {"tracker_id": self.ids},
        )

    def draw(self, image: Array, keypoint_threshold: float = VISIBLE) -> Array:
        """A copy of the RGB image ``(H, W, 3)`` with boxes, bones and keypoints drawn on it.

        With uncertainty also the 90 % ellipses of the keypoints.
        """
        visible = self.keypoint_scores >= keypoint_threshold
        labels = [f"{score:.2f}" for score in self.scores]
        if self.ids is not None:
            labels = [f"#{identity}" for identity in self.ids]
        drawn = draw_poses(image, self.boxes, labels, self.keypoints, visible, self.skeleton)
        if self.uncertainty is not None:
            draw_ellipses(drawn, self.keypoints[visible], self.uncertainty.covariances[visible])
        return drawn
