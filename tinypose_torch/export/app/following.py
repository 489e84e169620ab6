"""Method ``follow`` of an app, in tensors: tracks and keypoints of a frame to what an app draws, and the next state.

It computes what `tinypose_torch.tracking.pose_tracker.PoseTracker` computes with the same settings. The state is one
float64 tensor ``(1 + K, F)``. Its first row holds the number of frames and of identities so far; each further row one track,
see `tinypose_torch.export.app.tracks.Tracks`, and its filter, see `Filter`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tinypose_torch.data.formats.coco import DEFAULT_SIGMA
from tinypose_torch.export.app.tracks import TRACK_WIDTHS, Tracks, TrackUpdate
from tinypose_torch.geometry.boxes import box_area
from tinypose_torch.geometry.skeletons import Skeleton
from tinypose_torch.runtime.app_metadata import AppMetadata
from tinypose_torch.tracking.pose_tracker import BOX_MARGIN, DUPLICATE_OKS, MIN_FOUND_SHARE
from tinypose_torch.tracking.smoothing import Smoothing
from tinypose_torch.utils.defaults import VISIBLE

_FAR = 1e9  # more than any coordinate
_NUM_TRACKS_COLUMNS = sum(TRACK_WIDTHS)


class Filter(NamedTuple):
    """1 Euro filters of K people with J keypoints; zeros before a person's first frame.

    Attributes:
        started: ``(K, 1)`` 0 or 1.
        times: ``(K, 1)``, seconds, of the last frame of the person.
        known: ``(K, J)`` 0 or 1: whether the keypoint was found in that frame.
        positions, speeds: ``(K, 2 * J)``: x of all keypoints, then y; pixels, and pixels per second.
    """

    started: Tensor
    times: Tensor
    known: Tensor
    positions: Tensor
    speeds: Tensor


class NextTracks(nn.Module):
    """The first half of a state, ``(1 + K, T)``, to that of the next frame."""

    def __init__(self, metadata: AppMetadata) -> None:
        super().__init__()
        self.update = TrackUpdate(metadata.tracker_settings, metadata.frame_size)

    def carry(self, state: Tensor) -> Tensor:
        """Tracks of a frame without detection."""
        frame, num_ids, tracks = _opened(state)
        return _closed(frame, num_ids, self.update.carry(tracks, frame))

    def detect(self, state: Tensor, boxes: Tensor, scores: Tensor) -> Tensor:
        """Tracks of a frame with detections ``(K, 4)`` and ``(K,)``, highest score first."""
        frame, num_ids, tracks = _opened(state)
        tracks, num_ids = self.update.detect(tracks, frame, num_ids, boxes, scores)
        return _closed(frame, num_ids, tracks)


def _opened(state: Tensor) -> tuple[Tensor, Tensor, Tracks]:
    """Number of the next frame, number of identities, and tracks of a state."""
    return state[:1, :1] + 1, state[:1, 1:2], Tracks.unpack(state[1:, :_NUM_TRACKS_COLUMNS])


def _closed(frame: Tensor, num_ids: Tensor, tracks: Tracks) -> Tensor:
    nothing = torch.zeros(1, _NUM_TRACKS_COLUMNS - 2, dtype=torch.float64)
    return torch.cat([torch.cat([frame, num_ids, nothing], dim=1), tracks.pack()])


class NextBoxes(nn.Module):
    """Keypoints ``(K, J, 3)`` to the boxes for the next frame; see `tinypose_torch.tracking.pose_tracker.boxes_around`.

    They are trusted if enough keypoints were found, and if the pose does not duplicate one with a higher score.
    """

    spread: Tensor
    order: Tensor

    def __init__(self, skeleton: Skeleton, max_people: int) -> None:
        super().__init__()
        self.min_found = MIN_FOUND_SHARE * len(skeleton)
        sigmas = torch.tensor(skeleton.sigmas or (DEFAULT_SIGMA,) * len(skeleton), dtype=torch.float64)
        self.register_buffer("spread", 2 * (2 * sigmas) ** 2)
        self.register_buffer("order", torch.arange(max_people, dtype=torch.float64).unsqueeze(1))

    def forward(self, keypoints: Tensor, boxes: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes ``(K, 4)`` float64, and ``(K, 1)`` 0 or 1 whether they are trusted.

        Args:
            boxes: ``(K, 4)`` float64, in which the keypoints were found.
            present: ``(K, 1)`` bool.
        """
        points, scores = keypoints[..., :2], keypoints[..., 2:]
        found = scores > VISIBLE
        low = torch.where(found, points, torch.full_like(points, _FAR)).amin(dim=1)
        high = torch.where(found, points, torch.full_like(points, -_FAR)).amax(dim=1)
        margin = BOX_MARGIN * (high - low).amax(dim=1, keepdim=True)
        count = found.to(torch.float64).sum(dim=1)
        shown = present & (count >= self.min_found)
        trusted = shown & self._unique(keypoints.to(torch.float64), count, box_area(boxes).unsqueeze(1), present)
        around = torch.cat([low - margin, high + margin], dim=1).to(torch.float64)
        return torch.where(trusted, around, torch.zeros_like(around)), trusted.to(torch.float64)

    def _unique(self, keypoints: Tensor, count: Tensor, areas: Tensor, present: Tensor) -> Tensor:
        """``(K, 1)`` bool: whether OKS-NMS keeps the pose."""
        x, y, scores = (part.squeeze(2) for part in keypoints.split(1, dim=2))
        found = (scores > VISIBLE).to(torch.float64)
        quality = (scores * found).sum(dim=1, keepdim=True) / count.clamp(min=1)
        squared = (x.unsqueeze(0) - x.unsqueeze(1)) ** 2 + (y.unsqueeze(0) - y.unsqueeze(1)) ** 2
        scale = ((areas + areas.reshape(1, -1)) / 2).clamp(min=1e-12).unsqueeze(2)
        similar = torch.exp(-(squared / (self.spread * scale))).mean(dim=2) > DUPLICATE_OKS
        other, index = quality.reshape(1, -1), self.order.reshape(1, -1)
        better = (other > quality) | ((other == quality) & (index < self.order))
        conflicts = (similar & better & present.reshape(1, -1)).to(torch.float64)
        kept = torch.ones_like(quality)
        for _ in range(len(self.order) - 1):  # after n steps the n + 1 best are decided
            kept = (conflicts @ kept == 0).to(torch.float64)
        return kept > 0


class OneEuroFilter(nn.Module):
    """The filter of `tinypose_torch.tracking.smoothing.KeypointSmoother`, for K people at a time."""

    numbers: Tensor

    def __init__(self, settings: Smoothing) -> None:
        super().__init__()
        turns = 2 * math.pi
        numbers = [turns * settings.min_cutoff, turns * settings.beta, turns * settings.d_cutoff]
        self.register_buffer("numbers", torch.tensor(numbers, dtype=torch.float64))

    def forward(self, before: Filter, points: Tensor, found: Tensor, heights: Tensor, time: Tensor) -> Filter:
        """The filter after a frame, with the smoothed positions.

        Args:
            points: ``(K, 2 * J)`` x, then y.
            found: ``(K, J)`` 0 or 1.
            heights: ``(K, 1)`` of the people, pixels.
            time: ``(1, 1)``, seconds.
        """
        running = (before.started > 0) & (time > before.times)
        elapsed = torch.where(running, time - before.times, torch.ones_like(before.times))
        min_cutoff, beta, d_cutoff = self.numbers.split(1)
        speeds = (points - before.positions) / elapsed
        speeds = before.speeds + _smoothing_factor(d_cutoff * elapsed) * (speeds - before.speeds)
        x, y = speeds.split(found.shape[1], dim=1)
        heights_per_second = torch.sqrt(x * x + y * y) / heights.clamp(min=1e-6)
        weights = _smoothing_factor((min_cutoff + beta * heights_per_second) * elapsed)
        positions = before.positions + torch.cat([weights, weights], dim=1) * (points - before.positions)
        continued = running & (before.known > 0) & (found > 0)
        continued = torch.cat([continued, continued], dim=1)
        return Filter(
            torch.ones_like(before.started),
            time + torch.zeros_like(before.times),
            found,
            torch.where(continued, positions, points),
            torch.where(continued, speeds, torch.zeros_like(speeds)),
        )


def _smoothing_factor(ratio: Tensor) -> Tensor:
    """Weight of the new value, of the cutoff frequency (radians per second) times the elapsed seconds."""
    return ratio / (ratio + 1)


class PeopleOfTracks(nn.Module):
    """Tracks and keypoints of a frame to the people that an app draws, and the next state."""

    order: Tensor

    def __init__(self, metadata: AppMetadata) -> None:
        super().__init__()
        skeleton, max_people = metadata.pose_config.skeleton, metadata.max_people
        self.num_keypoints = len(skeleton)
        self.next_boxes = NextBoxes(skeleton, max_people)
        self.smoothing = OneEuroFilter(Smoothing())
        self.register_buffer("order", torch.arange(max_people, dtype=torch.float64).unsqueeze(1))

    def forward(
        self, header: Tensor, tracks: Tracks, keypoints: Tensor, state: Tensor, time: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Boxes, scores, keypoints, ids and state; see `tinypose_torch.export.app.program.FrameProgram.follow`.

        Args:
            header: ``(1, T)``, first row of the next state.
            keypoints: ``(K, J, 3)`` float32, as the pose network gives them; zeros where the track is not tracked.
            state: The state of the frame before.
        """
        shown = tracks.tracked & (tracks.confirmed > 0)
        filters = self._smoothed(tracks, keypoints, state[1:], shown, time.reshape(1, 1))
        boxes, trusted = self.next_boxes(keypoints, tracks.boxes, tracks.tracked)
        rows = torch.cat([tracks._replace(boxes=boxes, trusted=trusted).pack(), *filters], dim=1)
        first = torch.cat([header, torch.zeros(1, rows.shape[1] - header.shape[1], dtype=torch.float64)], dim=1)
        points = filters.positions.reshape(-1, 2, self.num_keypoints).transpose(1, 2).to(torch.float32)
        people = torch.cat([tracks.boxes, tracks.scores, tracks.ids], dim=1)
        smoothed = torch.cat([points, keypoints[..., 2:]], dim=2)
        order = self._order(tracks.ids, shown)
        people = torch.where(shown, people, torch.zeros_like(people)).index_select(0, order)
        smoothed = torch.where(shown.unsqueeze(2), smoothed, torch.zeros_like(smoothed)).index_select(0, order)
        found, scores, ids = people.split([4, 1, 1], dim=1)
        return (
            found.to(torch.float32),
            scores.squeeze(1).to(torch.float32),
            smoothed,
            ids.squeeze(1).to(torch.int64),
            torch.cat([first, rows]),
        )

    def _smoothed(self, tracks: Tracks, keypoints: Tensor, rows: Tensor, shown: Tensor, time: Tensor) -> Filter:
        """The filters after this frame; those of people who are not shown stay as they are."""
        same = tracks.ids == rows[:, :1]
        before = torch.where(same, rows[:, _NUM_TRACKS_COLUMNS:], torch.zeros_like(rows[:, _NUM_TRACKS_COLUMNS:]))
        widths = [1, 1, self.num_keypoints, 2 * self.num_keypoints, 2 * self.num_keypoints]
        points = keypoints[..., :2].transpose(1, 2).reshape(len(rows), -1).to(torch.float64)
        found = (keypoints[..., 2] > VISIBLE).to(torch.float64)
        heights = tracks.boxes[:, 3:] - tracks.boxes[:, 1:2]
        after = self.smoothing(Filter(*before.split(widths, dim=1)), points, found, heights, time)
        return Filter(*torch.where(shown, torch.cat(after, dim=1), before).split(widths, dim=1))

    def _order(self, ids: Tensor, shown: Tensor) -> Tensor:
        """Indices ``(K,)`` int64 of the rows: the people who are shown by their ids, then the others."""
        index, shown_others = self.order.reshape(1, -1), shown.reshape(1, -1)
        key = torch.where(shown, ids, self.order)
        before = (shown_others & ~shown) | ((shown_others == shown) & (key.reshape(1, -1) < key))
        rank = before.to(torch.float64).sum(dim=1, keepdim=True)
        chosen = (rank.reshape(1, -1) == self.order).to(torch.float64)
        return (chosen * index).sum(dim=1).clamp(max=len(self.order) - 1).to(torch.int64)  # also of a damaged state
