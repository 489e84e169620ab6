"""The content of one part of a data set: rows as a Parquet file in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tinypose_torch.batch.sources import pyarrow_module
from tinypose_torch.estimators.results import Poses

_ROW_GROUP = 256


@dataclass
class Row:
    """One image or frame.

    Attributes:
        key: Path or address of the image or video; ``ARCHIVE/MEMBER`` and ``FILE#ROW`` in archives and Parquet files.
        poses: Its people; none if there was an error.
        frame: Number of the frame in its video, from 0; ``None`` of an image.
        time: Presentation time of the frame, seconds.
        image_size: (height, width), pixels; ``None`` if the image could not be read.
        error: Why there are no results.
    """

    key: str
    poses: Poses
    frame: int | None = None
    time: float | None = None
    image_size: tuple[int, int] | None = None
    error: str | None = None


@dataclass(frozen=True)
class Part:
    """Results of some images, or of one video.

    Attributes:
        number: The part's number in its data set.
        num_items: Number of images or videos.
        content: A Parquet file; empty if there are no rows.
        errors: Number of rows with an error.
        unread: Key and reason of every item that could not be read now, and has no rows.
    """

    number: int
    num_items: int
    content: bytes
    errors: int = 0
    unread: list[tuple[str, str]] = field(default_factory=list)


class PartWriter:
    """Writes rows to a Parquet file in memory.

    Args:
        weights: SHA-256 of the weights, which every row names.
    """

    def __init__(self, weights: str) -> None:
        arrow = pyarrow_module("pyarrow")
        self._schema = arrow.schema(list(_columns(arrow).items()))
        self._table = arrow.Table.from_pylist
        self._weights, self._rows = weights, list[dict[str, Any]]()
        self._sink = arrow.BufferOutputStream()
        self._writer = pyarrow_module("pyarrow.parquet").ParquetWriter(self._sink, self._schema, compression="zstd")
        self.num_rows = 0

    def add(self, row: Row) -> None:
        """Add a row."""
        height, width = row.image_size or (None, None)
        facts = {"key": row.key, "frame": row.frame, "time": row.time, "height": height, "width": width}
        self._rows.append({**facts, **pose_columns(row.poses), "weights": self._weights, "error": row.error})
        self.num_rows += 1
        if len(self._rows) >= _ROW_GROUP:
            self._flush()

    def finish(self) -> bytes:
        """The file; empty without rows."""
        self._flush()
        self._writer.close()
        content: bytes = self._sink.getvalue().to_pybytes() if self.num_rows else b""
        return content

    def _flush(self) -> None:
        self._writer.write_table(self._table(self._rows, self._schema))
        self._rows.clear()


def pose_columns(poses: Poses) -> dict[str, Any]:
    """The values of the columns about people."""
    return {
        "boxes": poses.boxes.tolist(),
        "scores": poses.scores.tolist(),
        "keypoints": poses.keypoints.tolist(),
        "keypoint_scores": poses.keypoint_scores.tolist(),
        "ids": None if poses.ids is None else poses.ids.tolist(),
    }


def pose_types(arrow: Any) -> dict[str, Any]:
    """The Arrow types of `pose_columns`."""
    point, number = arrow.list_(arrow.float32(), 2), arrow.float32()
    return {
        "boxes": arrow.list_(arrow.list_(number, 4)),
        "scores": arrow.list_(number),
        "keypoints": arrow.list_(arrow.list_(point)),
        "keypoint_scores": arrow.list_(arrow.list_(number)),
        "ids": arrow.list_(arrow.int64()),
    }


def _columns(arrow: Any) -> dict[str, Any]:
    return {
        "key": arrow.string(),
        "frame": arrow.int32(),
        "time": arrow.float64(),
        "height": arrow.int32(),
        "width": arrow.int32(),
        **pose_types(arrow),
        "weights": arrow.dictionary(arrow.int32(), arrow.string()),
        "error": arrow.string(),
    }
