"""Poses as a step of a pipeline of Ray Data."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinypose_torch.batch.parts import pose_columns, pose_types
from tinypose_torch.batch.sources import pyarrow_module
from tinypose_torch.batch.worker import estimate_each
from tinypose_torch.estimators.pose_estimator import PoseEstimator
from tinypose_torch.estimators.results import Poses
from tinypose_torch.utils.images import ImageError, decode_image, load_image
from tinypose_torch.utils.messages import one_line


class PoseMapper:
    """Adds poses to batches of images; for ``ray.data.Dataset.map_batches``.

    ``dataset.map_batches(PoseMapper, fn_constructor_kwargs={"column": "path"}, batch_size=16, concurrency=4)`` replaces a
    column of images by the columns ``boxes``, ``scores``, ``keypoints``, ``keypoint_scores``, ``ids`` and ``error`` of
    `tinypose batch`. Actors load the networks once. Other columns of one dimension are kept.

    Args:
        column: Column of arrays ``(H, W, 3)`` uint8 RGB, of encoded images, or of paths.
        options: Arguments of `PoseEstimator`.
    """

    def __init__(self, column: str = "image", **options: Any) -> None:
        self.column, self.estimator = column, PoseEstimator(**options)

    def __call__(self, batch: dict[str, np.ndarray]) -> Any:
        """The batch with poses, as a `pyarrow.Table`.

        Raises:
            ValueError: The batch has no such column.
        """
        if self.column not in batch:
            raise ValueError(f"no column {self.column!r} in the batch; it has {', '.join(batch)}: pass column=NAME")
        images = list(map(_loaded, batch[self.column]))
        results = iter(estimate_each(self.estimator, [image for image in images if isinstance(image, np.ndarray)]))
        outcomes = [next(results) if isinstance(image, np.ndarray) else image for image in images]
        arrow = pyarrow_module("pyarrow")
        types = {**pose_types(arrow), "error": arrow.string()}
        table = arrow.Table.from_pylist(list(map(self._facts, outcomes)), arrow.schema(list(types.items())))
        for name, values in batch.items():
            if name != self.column and np.ndim(values) == 1:
                table = table.append_column(name, arrow.array(values.tolist()))
        return table

    def _facts(self, outcome: Poses | Exception) -> dict[str, Any]:
        if isinstance(outcome, Exception):
            empty = Poses.empty(self.estimator.pose_config.skeleton)
            return {**pose_columns(empty), "error": one_line(outcome).removeprefix("image 0: ")}
        return {**pose_columns(outcome), "error": None}


def _loaded(value: Any) -> np.ndarray | Exception:
    try:
        return decode_image(value, "image") if isinstance(value, bytes) else load_image(value)
    except (ImageError, OSError) as error:
        return error
