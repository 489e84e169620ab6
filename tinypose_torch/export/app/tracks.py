"""Tracks of an app's people, in tensors: what `tinypose_torch.tracking.tracker.Tracker` computes with greedy matching.

One row holds one track. Everything is float64, as in Python. Numbers that float32 does not hold are buffers: ExecuTorch
writes Python's numbers as float32.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tinypose_torch.geometry.boxes import pairwise_iou
from tinypose_torch.tracking import tracker
from tinypose_torch.tracking.kalman_filter import ASPECT_CHANGE, ASPECT_POSITION, MEASURED_ASPECT, POSITION, VELOCITY
from tinypose_torch.tracking.tracker import TrackerSettings

_NO_MATCH = 100.0  # more than any cost


class Tracks(NamedTuple):
    """The tracks of K rows; rows without a track are zeros.

    Attributes:
        ids: ``(K, 1)``, from 1.
        confirmed, lost: ``(K, 1)`` 0 or 1.
        scores: ``(K, 1)``, of the last detection.
        start_frames, last_frames: ``(K, 1)``, from 1: frame of the first detection, and of the last one.
        kalman: ``(K, 20)``; see `KalmanFilter`.
        boxes: ``(K, 4)`` x1, y1, x2, y2: of this frame, or in a state the box for the next frame.
        trusted: ``(K, 1)`` 0 or 1: whether the box for the next frame comes from the keypoints.
    """

    ids: Tensor
    confirmed: Tensor
    lost: Tensor
    scores: Tensor
    start_frames: Tensor
    last_frames: Tensor
    kalman: Tensor
    boxes: Tensor
    trusted: Tensor

    @classmethod
    def unpack(cls, rows: Tensor) -> Tracks:
        """The tracks of ``(K, 31)``."""
        return cls(*rows.split(TRACK_WIDTHS, dim=1))

    def pack(self) -> Tensor:
        """The inverse of `unpack`."""
        return torch.cat(self, dim=1)

    @property
    def tracked(self) -> Tensor:
        """``(K, 1)`` bool: there is a track, and it is not lost."""
        return (self.ids > 0) & (self.lost == 0)


TRACK_WIDTHS = [1, 1, 1, 1, 1, 1, 20, 4, 1]


class KalmanFilter(nn.Module):
    """The filter of `tinypose_torch.tracking.kalman_filter` for rows ``(K, 20)``.

    Noise and motion keep centre x, centre y, aspect ratio and height independent. A row holds, for each of the four, the
    mean, its change, the mean's variance, their covariance, and the variance of the change.
    """

    position: Tensor
    velocity: Tensor
    measured: Tensor
    without_growth: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, (scale, aspect) in {
            "position": (POSITION, ASPECT_POSITION),
            "velocity": (VELOCITY, ASPECT_CHANGE),
            "measured": (POSITION, MEASURED_ASPECT),
        }.items():  # deviations: of x, y and height per pixel of height; of the aspect ratio
            deviations = [[scale, scale, 0.0, scale], [0.0, 0.0, aspect, 0.0]]
            self.register_buffer(name, torch.tensor(deviations, dtype=torch.float64))
        self.register_buffer("without_growth", torch.tensor([[1.0, 1.0, 1.0, 0.0]], dtype=torch.float64))

    def initiate(self, boxes: Tensor) -> Tensor:
        """Rows of newly detected boxes ``(K, 4)``."""
        measured = measurements(boxes)
        height, nothing = measured[:, 3:], torch.zeros_like(measured)
        place = _variances(self.position, height * 2)
        change = _variances(self.velocity, height * 10)
        return torch.cat([measured, nothing, place, nothing, change], dim=1)

    def predict(self, rows: Tensor, lost: Tensor) -> Tensor:
        """Rows one frame later; the height of lost tracks, ``(K, 1)`` bool, stays constant."""
        mean, change, variance, covariance, change_variance = rows.split(4, dim=1)
        change = torch.where(lost, change * self.without_growth, change)
        height = mean[:, 3:]
        return torch.cat(
            [
                mean + change,
                change,
                variance + 2 * covariance + change_variance + _variances(self.position, height),
                covariance + change_variance,
                change_variance + _variances(self.velocity, height),
            ],
            dim=1,
        )

    def update(self, rows: Tensor, boxes: Tensor) -> Tensor:
        """Rows after the measurement of boxes ``(K, 4)``."""
        mean, change, variance, covariance, change_variance = rows.split(4, dim=1)
        total = variance + _variances(self.measured, mean[:, 3:])
        total = torch.where(total > 0, total, torch.ones_like(total))  # rows without a track
        gain, change_gain = variance / total, covariance / total
        innovation = measurements(boxes) - mean
        return torch.cat(
            [
                mean + gain * innovation,
                change + change_gain * innovation,
                variance - gain * variance,
                covariance - gain * covariance,
                change_variance - change_gain * covariance,
            ],
            dim=1,
        )


def _variances(deviations: Tensor, height: Tensor) -> Tensor:
    """Variances ``(K, 4)`` of boxes of the given heights ``(K, 1)``."""
    total = deviations[0:1] * height + deviations[1:2]
    return total * total


def measurements(boxes: Tensor) -> Tensor:
    """Boxes ``(K, 4)`` to centre x, y, aspect ratio (0 without a height) and height."""
    size = boxes[:, 2:] - boxes[:, :2]
    width, height = size.split(1, dim=1)
    aspect = torch.where(height > 0, width / height, torch.zeros_like(height))
    return torch.cat([boxes[:, :2] + size / 2, aspect, height], dim=1)


def predicted_boxes(kalman: Tensor) -> Tensor:
    """Boxes ``(K, 4)`` of the means of Kalman rows."""
    center, aspect, height = kalman[:, :4].split([2, 1, 1], dim=1)
    half = torch.cat([aspect * height, height], dim=1) / 2
    return torch.cat([center - half, center + half], dim=1)


class TrackUpdate(nn.Module):
    """The tracks of the next frame, with detections or carried on without.

    Args:
        settings: With ``greedy``, ``keep_crossing``, and as ``max_tracks`` the number of rows K.
        frame_size: (height, width), pixels.
    """

    thresholds: Tensor
    order: Tensor
    size: Tensor

    def __init__(self, settings: TrackerSettings, frame_size: tuple[int, int]) -> None:
        super().__init__()
        assert settings.greedy
        assert settings.keep_crossing
        assert settings.max_tracks is not None
        self.settings, self.max_tracks = settings, settings.max_tracks
        self.kalman = KalmanFilter()
        limits = (settings.match_thresh, settings.second_match_thresh, settings.unconfirmed_match_thresh)
        numbers = [*limits, tracker.DUPLICATE_DISTANCE]
        self.register_buffer("thresholds", torch.tensor(numbers, dtype=torch.float64))
        self.register_buffer("order", torch.arange(self.max_tracks, dtype=torch.float64).unsqueeze(1))
        self.register_buffer("size", torch.tensor([frame_size[::-1]], dtype=torch.float64))

    def carry(self, tracks: Tracks, frame: Tensor) -> Tracks:
        """Tracks of a frame without detection; see `tinypose_torch.tracking.tracker.Tracker.carry`.

        Args:
            frame: ``(1, 1)``, number of the frame.
        """
        predicted = self.kalman.predict(tracks.kalman, tracks.lost > 0)
        boxes = torch.where(tracks.trusted > 0, tracks.boxes, predicted_boxes(predicted))
        inside = (boxes[:, 2:] > 0) & (boxes[:, :2] < self.size)
        carried = tracks.tracked & inside[:, :1] & inside[:, 1:]
        rows = tracks._replace(
            lost=1 - carried.to(torch.float64),
            last_frames=torch.where(carried, frame, tracks.last_frames),
            kalman=torch.where(carried, self.kalman.update(predicted, boxes), predicted),
            boxes=boxes,
        )
        return _only(rows, (tracks.ids > 0) & (carried | (tracks.confirmed > 0)))

    def detect(
        self, tracks: Tracks, frame: Tensor, num_ids: Tensor, boxes: Tensor, scores: Tensor
    ) -> tuple[Tracks, Tensor]:
        """Tracks of a frame with detections; see `tinypose_torch.tracking.tracker.Tracker.update`.

        Args:
            frame, num_ids: ``(1, 1)``: number of the frame, and of the identities so far.
            boxes, scores: ``(K, 4)`` and ``(K,)`` float32, highest score first; zeros behind the last detection.

        Returns:
            The tracks, and ``(1, 1)`` the number of identities.
        """
        boxes = boxes.to(torch.float64)
        high = (scores > self.settings.high_thresh).unsqueeze(0)
        low = (scores > self.settings.low_thresh).unsqueeze(0) & ~high
        scores = scores.to(torch.float64).unsqueeze(1)
        known = tracks.confirmed > 0  # unconfirmed tracks are not predicted, as in PaddleDetection
        predicted = self.kalman.predict(tracks.kalman, tracks.lost > 0)
        tracks = tracks._replace(kalman=torch.where(known, predicted, tracks.kalman))
        pairs = self._match(tracks, boxes, high, low)
        matched = pairs.sum(dim=1, keepdim=True) > 0
        measured = pairs @ boxes
        kalman = torch.where(matched, self.kalman.update(tracks.kalman, measured), tracks.kalman)
        kept = tracks._replace(
            scores=torch.where(matched & (tracks.lost == 0), pairs @ scores, tracks.scores),
            last_frames=torch.where(matched, frame, tracks.last_frames),
            confirmed=torch.where(matched, torch.ones_like(tracks.confirmed), tracks.confirmed),
            lost=1 - matched.to(torch.float64),
            kalman=kalman,
            boxes=measured,
        )
        recent = (frame - tracks.last_frames <= self.settings.track_buffer + 1) | (tracks.lost == 0)
        kept = _only(kept, matched | ((tracks.ids > 0) & known & recent))
        new = high & (pairs.sum(dim=0, keepdim=True) == 0)
        kept, num_ids = self._start(kept, new.to(torch.float64), frame, num_ids, boxes, scores)
        return self._without_duplicates(kept), num_ids

    def _match(self, tracks: Tracks, boxes: Tensor, high: Tensor, low: Tensor) -> Tensor:
        """Pairs ``(K tracks, K detections)`` 0 or 1 by greedy matching, in all three associations."""
        distances = 1 - pairwise_iou(predicted_boxes(tracks.kalman), boxes, last_pixel=1, epsilon=0)
        known = tracks.confirmed > 0
        stages = (known & high, known & (tracks.lost == 0) & low, (tracks.ids > 0) & ~known & high)
        cost = torch.full_like(distances, _NO_MATCH)
        for stage, allowed in enumerate(stages):  # a later association costs more than all of an earlier one
            possible = allowed & (distances < self.thresholds[stage : stage + 1])
            cost = torch.where(possible, distances + 2 * stage, cost)
        pairs = torch.zeros_like(cost)
        columns = self.order.reshape(1, -1)
        for _ in range(self.max_tracks):
            row = self.order == cost.amin(dim=1, keepdim=True).argmin(dim=0, keepdim=True)
            column = columns == cost.amin(dim=0, keepdim=True).argmin(dim=1, keepdim=True)
            pairs = torch.where(row & column & (cost < _NO_MATCH), torch.ones_like(pairs), pairs)
            cost = torch.where(row | column, torch.full_like(cost, _NO_MATCH), cost)
        return pairs

    def _start(
        self, tracks: Tracks, new: Tensor, frame: Tensor, num_ids: Tensor, boxes: Tensor, scores: Tensor
    ) -> tuple[Tracks, Tensor]:
        """Start tracks of new detections, ``(1, K)`` 0 or 1, in rows that are empty or of those lost the longest."""
        rank = (new @ (self.order < self.order.reshape(1, -1)).to(torch.float64)) * new
        place = self._places(tracks)
        start = ((place == rank) & (new > 0) & ~tracks.tracked).to(torch.float64)
        started = start.sum(dim=1, keepdim=True) > 0
        first, nothing = frame == 1, torch.zeros_like(tracks.ids)
        rows = Tracks(
            num_ids + 1 + start @ rank.reshape(-1, 1),
            nothing + first.to(torch.float64),
            nothing,
            start @ scores,
            nothing + frame,
            nothing + frame,
            self.kalman.initiate(start @ boxes),
            start @ boxes,
            nothing,
        )
        count = start.sum(dim=1, keepdim=True).sum(dim=0, keepdim=True)
        return Tracks.unpack(torch.where(started, rows.pack(), tracks.pack())), num_ids + count

    def _places(self, tracks: Tracks) -> Tensor:
        """Ranks ``(K, 1)`` of rows without a tracked person: first the empty ones, then those lost the longest."""
        used = tracks.ids > 0
        last, tie = torch.where(used, tracks.last_frames, -1.0), torch.where(used, tracks.ids, self.order)
        others, other_ties = last.reshape(1, -1), tie.reshape(1, -1)
        before = (others < last) | ((others == last) & (other_ties < tie))
        free = ~tracks.tracked
        return (before & free.reshape(1, -1)).to(torch.float64).sum(dim=1, keepdim=True)

    def _without_duplicates(self, tracks: Tracks) -> Tracks:
        """Remove the shorter of a tracked and a lost track at the same place, unless their people may have crossed."""
        boxes = predicted_boxes(tracks.kalman)
        distances = 1 - pairwise_iou(boxes, boxes, last_pixel=1, epsilon=0)
        same = tracks.tracked & (tracks.lost > 0).reshape(1, -1) & (distances < self.thresholds[3:4])
        same = same & (tracks.start_frames > tracks.last_frames.reshape(1, -1))
        ages = tracks.last_frames - tracks.start_frames
        older = ages > ages.reshape(1, -1)
        dropped = (same & ~older).any(dim=1, keepdim=True) | (same & older).any(dim=0, keepdim=True).reshape(-1, 1)
        return _only(tracks, ~dropped)


def _only(tracks: Tracks, kept: Tensor) -> Tracks:
    """Zeros in the rows that are not kept, ``(K, 1)`` bool."""
    rows = tracks.pack()
    return Tracks.unpack(torch.where(kept, rows, torch.zeros_like(rows)))
