"""The Parquet data set of a batch: a row per image or frame, in parts that appear whole."""

from __future__ import annotations

import dataclasses
import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from tinypose_torch.batch.parts import Part, Row
from tinypose_torch.batch.sources import pyarrow_module
from tinypose_torch.checkpoints.descriptions import check_skeleton, parse_description, required
from tinypose_torch.checkpoints.errors import CheckpointError
from tinypose_torch.checkpoints.limits import MAX_DESCRIPTION_LENGTH, read_file
from tinypose_torch.estimators.results import Poses
from tinypose_torch.geometry.skeletons import Skeleton
from tinypose_torch.utils.atomic import output_errors, replacing

# Readers of Parquet data sets pass over names that begin so.
DESCRIPTION_NAME, LOCK_NAME = "_tinypose.json", "_lock"
_FORMAT = 1


class BatchError(ValueError):
    """A data set that cannot be read, or not be continued."""


class BatchResults:
    """The results in a data set, row by row in the order of its parts.

    Attributes:
        path: The folder.
        skeleton: Meaning of the keypoints.
        description: Which models with which weights and thresholds made the results.
    """

    def __init__(self, path: Path, description: dict[str, Any]) -> None:
        self.path, self.description = path, description
        self._run = uuid.uuid4().hex[:8]
        self.skeleton: Skeleton = check_skeleton(required(description, "skeleton"))

    def __len__(self) -> int:
        return sum(file.num_rows for file in self._metadata())

    def __iter__(self) -> Iterator[Row]:
        for table in self._batches():
            yield from (self._row(facts) for facts in table.to_pylist())

    def keys(self) -> set[str]:
        """Keys of all images and videos that have results or errors."""
        return {key for batch in self._batches(["key"]) for key in batch["key"].to_pylist()}

    def add(self, part: Part) -> None:
        """Add the rows of a part, all of them or none.

        Raises:
            OutputError: They cannot be written.
        """
        if part.content:
            # The end of the name differs between runs: without locks in the file system, no run replaces another's parts.
            with replacing(self.path / f"part-{part.number:06}-{self._run}.parquet") as temporary:
                temporary.write_bytes(part.content)

    def next_part(self) -> int:
        """Number of the next part, above those of all parts."""
        numbers = [
            int(match[1]) for file in self._files() if (match := re.search(r"part-(\d{6,9})-\w+\.parquet$", file))
        ]
        return max(numbers, default=-1) + 1

    def to_pandas(self) -> Any:
        """All rows as a `pandas.DataFrame` with the columns of the Parquet files."""
        arrow = pyarrow_module("pyarrow")
        files = map(pyarrow_module("pyarrow.parquet").read_table, self._files())
        return arrow.concat_tables(files, promote_options="permissive").to_pandas()

    def to_coco(self) -> dict[str, Any]:
        """Images and people in COCO's keypoint format; images with errors are left out.

        Annotations have the fields of `Poses.to_coco_results`. Frames are images named ``VIDEO#FRAME``.
        """
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for row in self:
            if row.image_size is None or row.error is not None:
                continue
            name = row.key if row.frame is None else f"{row.key}#{row.frame}"
            height, width = row.image_size
            images.append({"id": len(images) + 1, "file_name": name, "height": height, "width": width})
            for facts in row.poses.to_coco_results(len(images)):
                annotations.append({"id": len(annotations) + 1, **facts})
        names, links = list(self.skeleton.keypoint_names), [[a + 1, b + 1] for a, b in self.skeleton.links]
        category = {"id": 1, "name": "person", "keypoints": names, "skeleton": links}
        return {"images": images, "annotations": annotations, "categories": [category]}

    def _files(self) -> list[str]:
        return sorted(map(str, self.path.glob("part-*.parquet")))

    def _metadata(self) -> Iterator[Any]:
        parquet = pyarrow_module("pyarrow.parquet")
        for file in self._files():
            try:
                yield parquet.read_metadata(file)
            except (OSError, ValueError) as error:
                raise _damaged(file, error) from None

    def _batches(self, columns: list[str] | None = None) -> Iterator[Any]:
        parquet = pyarrow_module("pyarrow.parquet")
        for path in self._files():
            try:
                with parquet.ParquetFile(path) as file:
                    yield from file.iter_batches(256, columns=columns)
            except (OSError, ValueError, KeyError) as error:
                raise _damaged(path, error) from None

    def _row(self, facts: dict[str, Any]) -> Row:
        count = len(self.skeleton)
        poses = Poses(
            np.array(facts["boxes"]),
            np.array(facts["scores"]),
            np.array(facts["keypoints"]).reshape(-1, count, 2),
            np.array(facts["keypoint_scores"]).reshape(-1, count),
            self.skeleton,
            None if facts["ids"] is None else np.array(facts["ids"], np.int64),
        )
        size = None if facts["height"] is None else (facts["height"], facts["width"])
        return Row(facts["key"], poses, facts["frame"], facts["time"], size, facts["error"])


def read(path: str | Path) -> BatchResults:
    """The results of `tinypose batch`.

    Raises:
        FileNotFoundError: There is no data set.
        BatchError: It is damaged.
        RuntimeError: pyarrow is not installed.
    """
    path = Path(path)
    pyarrow_module("pyarrow.parquet")
    if not (path / DESCRIPTION_NAME).is_file():
        raise FileNotFoundError(f"no data set of tinypose batch in {str(path)!r}")
    try:
        description = parse_description(
            read_file(path / DESCRIPTION_NAME, MAX_DESCRIPTION_LENGTH).decode("utf-8", "replace")
        )
        if description.get("format") != _FORMAT:
            raise CheckpointError(f"format {description.get('format')!r}; expected {_FORMAT}")
        return BatchResults(path, description)
    except CheckpointError as error:
        raise BatchError(f"{path / DESCRIPTION_NAME}: {error}") from None


def create_or_continue(path: Path, facts: dict[str, Any], skeleton: Skeleton) -> BatchResults:
    """A new data set, or an existing one that the same models made.

    Args:
        facts: What decides the results: models, checksums of weights, thresholds.

    Raises:
        BatchError: Another model made it; the folder holds something else.
        OutputError: It cannot be written to.
    """
    description = json.loads(json.dumps({"format": _FORMAT, **facts, "skeleton": dataclasses.asdict(skeleton)}))
    if (path / DESCRIPTION_NAME).is_file():
        found = read(path)
        different = [key for key in description if found.description.get(key) != description[key]]
        if different:
            key = different[0]
            raise BatchError(
                f"{path} holds results with {key} {found.description.get(key)!r}, not {description[key]!r}; "
                "name another --output"
            )
        return found
    if path.is_dir() and any(entry.name != LOCK_NAME for entry in path.iterdir()):
        raise BatchError(f"{path} exists and is no data set of tinypose batch; name another --output")
    with replacing(path / DESCRIPTION_NAME) as temporary:
        temporary.write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    return BatchResults(path, description)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one run at a time write to a data set.

    Raises:
        BatchError: Another run does.
        OutputError: The folder cannot be made.
    """
    with output_errors(path / LOCK_NAME):
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / LOCK_NAME)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise BatchError(f"another run writes to {path}; wait for it, or name another --output") from None
    try:
        yield
    finally:
        lock.release()


def _damaged(path: str, error: Exception) -> BatchError:
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return BatchError(f"{path} is damaged: {reason}; remove it, and run the same command again to make its rows anew")
