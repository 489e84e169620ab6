"""From heatmaps of cut-out people to keypoints in the image and accuracy, as PaddleDetection evaluates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tinypose_torch.codecs.heatmap import decode_heatmaps
from tinypose_torch.data.images import read_or_fail
from tinypose_torch.data.pose.annotations import PoseAnnotation
from tinypose_torch.evaluation.coco import KeypointPrediction
from tinypose_torch.evaluation.images import Failure, OnError, image_failures, report_failures
from tinypose_torch.geometry.crops import PIXEL_STD, evaluation_crops
from tinypose_torch.geometry.skeletons import Skeleton
from tinypose_torch.geometry.warp import warp
from tinypose_torch.models.config import TopDownConfig, of_task
from tinypose_torch.runtime import Runner
from tinypose_torch.utils.processes import ProcessPool

Array = np.ndarray
BATCH_SIZE = 32


def cut_out(record: PoseAnnotation, folder: Path, config: TopDownConfig) -> Array:
    """The person of a record as the network sees it when evaluated: ``(H, W, 3)`` uint8 RGB.

    Raises:
        DatasetError: The image is missing or cannot be decoded.
    """
    image = read_or_fail(record, folder)
    person = record.person
    crops = evaluation_crops(
        person.center[None], person.scale[None], image.shape[:2], config.input_size, config.heatmap_size, config.udp
    )
    return warp(image, crops.matrices[0], config.input_size)


def to_predictions(
    coordinates: Array, scores: Array, records: Sequence[PoseAnnotation], config: TopDownConfig
) -> list[KeypointPrediction]:
    """Decoded keypoints in image pixels.

    Args:
        coordinates: ``(N, K, 2)`` x, y in heatmap cells.
        scores: ``(N, K)``.
        records: Whose they are.
    """
    centers = np.stack([record.person.center for record in records])
    scales = np.stack([record.person.scale for record in records])
    crops = evaluation_crops(centers, scales, (0, 0), config.input_size, config.heatmap_size, config.udp)
    keypoints = np.concatenate([crops.to_image(coordinates), scores[..., None]], axis=2)
    areas = np.prod(scales.astype(np.float64) * PIXEL_STD, axis=1)
    return [
        KeypointPrediction(record.image_id, triples, record.score, float(area), record.annotation_id)
        for record, triples, area in zip(records, keypoints, areas, strict=True)
    ]


def average_with_flipped(plain: Array, flipped: Array, skeleton: Skeleton, shift: bool = True) -> Array:
    """Mean of heatmaps and those of the mirrored images, mirrored back.

    Args:
        plain, flipped: ``(N, K, h, w)``.
        shift: Also move the mirrored ones one cell to the right, as PaddleDetection does: a cell's centre lies left of the
            middle of its pixels, and on the other side when mirrored.
    """
    order = skeleton.mirrored_order()
    back = flipped[:, order, :, ::-1].copy()
    if shift:
        back[..., 1:] = back[..., :-1].copy()
    return (plain + back) * 0.5


def predict_people(
    runner: Runner,
    records: Sequence[PoseAnnotation],
    folder: Path,
    flip: bool = False,
    batch_size: int | None = None,
    progress: Callable[[int], object] | None = None,
    *,
    shift: bool = True,
    decoding: str | None = None,
    on_error: OnError | None = None,
    workers: int = 1,
) -> Iterator[KeypointPrediction]:
    """Run a pose network, in whatever form, over records.

    Args:
        flip: Average with the mirrored people.
        batch_size: People per batch; ``BATCH_SIZE`` unless given.
        progress: Called with the number of people done since the last call.
        shift: Of the flip test, see `average_with_flipped`.
        decoding: ``"dark"`` or ``"plain"``; the network's own by default.
        on_error: See `report_failures`; people of images that fail are left out.
        workers: Processes that decode and predict.

    Raises:
        DatasetError, ImageError: See `report_failures`.
        ValueError: A flip test or another decoding of a file that decodes inside.
    """
    config = of_task(runner.metadata.config, TopDownConfig)
    if runner.metadata.decodes and (flip or decoding not in (None, config.decoding)):
        wish = "a flip test" if flip else f"{decoding} decoding"
        raise ValueError(f"{config.name}: {wish} needs heatmaps; export the file with --heatmaps")
    size = batch_size or BATCH_SIZE
    batches = [records[start : start + size] for start in range(0, len(records), size)]
    start = partial(_Predictor, runner, folder, config.skeleton if flip else None, shift, decoding or config.decoding)
    with ProcessPool(start, min(workers, max(len(batches), 1))) as pool:
        for batch, (predictions, failures) in zip(batches, pool.run(batches, ordered=True), strict=True):
            report_failures(failures, on_error)
            yield from predictions
            if progress is not None:
                progress(len(batch))


@dataclass(frozen=True)
class _Predictor:
    """Predictions for a batch of records, and the failures of their images; see `predict_people` and `_locate`."""

    runner: Runner
    folder: Path
    flipped: Skeleton | None
    shift: bool
    decoding: str
    device: str | None

    def __call__(self, records: Sequence[PoseAnnotation]) -> tuple[list[KeypointPrediction], list[Failure]]:
        config = of_task(self.runner.metadata.config, TopDownConfig)
        failures: list[Failure] = []
        usable, crops = list[PoseAnnotation](), list[Array]()
        for record in records:
            with image_failures([record.file_name], failures):
                crops.append(cut_out(record, self.folder, config))
                usable.append(record)
        predictions: list[KeypointPrediction] = []
        if crops:
            with image_failures([record.file_name for record in usable], failures):
                coordinates, scores = _locate(self.runner, np.stack(crops), self.flipped, self.shift, self.decoding)
                predictions = to_predictions(coordinates, scores, usable, config)
        return predictions, failures


def _locate(runner: Runner, crops: Array, flipped: Skeleton | None, shift: bool, decoding: str) -> tuple[Array, Array]:
    """Keypoints ``(N, K, 2)`` of crops, in heatmap cells, and their scores ``(N, K)``.

    Args:
        flipped: Skeleton for a flip test; ``None`` for no flip test.
    """
    (output,) = runner(crops)
    if runner.metadata.decodes:
        return output[..., :2] / of_task(runner.metadata.config, TopDownConfig).heatmap_stride, output[..., 2]
    if flipped is not None:
        (mirrored,) = runner(np.ascontiguousarray(crops[:, :, ::-1]))
        output = average_with_flipped(output, mirrored, flipped, shift)
    return decode_heatmaps(output, decoding)
