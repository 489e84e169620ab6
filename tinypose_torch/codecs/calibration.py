"""Calibrated uncertainty of keypoints: how far the true keypoint lies from the predicted one.

The errors of a validation set are sorted by the keypoint's score. In each range of scores their quantiles give the
probability of lying within a distance, and the covariance of the heatmap's peak is scaled so that its 90 % ellipse holds
90 % of the true keypoints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
LEVELS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)
ELLIPSE = 0.9  # share of true keypoints in the ellipse that is calibrated
_CHI_SQUARED = -2 * math.log(1 - ELLIPSE)  # its quantile, for two degrees of freedom
_BIN = 80  # keypoints that a range of scores holds at least
_MAX_BINS = 16
_PRIOR = 30  # keypoints; how strongly the factor of a keypoint is drawn to 1
MIN_KEYPOINTS = 200


@dataclass(frozen=True)
class KeypointCalibration:
    """Errors of a network's keypoints by score.

    Attributes:
        scores: B ascending scores; values between them are interpolated.
        radii: B lists of quantiles of the error at ``LEVELS``, heatmap cells.
        scales: B factors of the peak's covariance.
        factors: K factors of the error, one per keypoint.
    """

    scores: tuple[float, ...]
    radii: tuple[tuple[float, ...], ...]
    scales: tuple[float, ...]
    factors: tuple[float, ...]

    @classmethod
    def uncalibrated(cls, count: int) -> KeypointCalibration:
        """For the covariances of the peaks as they are, without known errors."""
        return cls((0.0,), (tuple(level * 1.0 for level in LEVELS),), (1.0,), (1.0,) * count)

    def error_radii(self, scores: Array) -> Array:
        """Distances within which keypoints lie with the probabilities ``LEVELS``.

        Args:
            scores: ``(N, K)``.

        Returns:
            ``(N, K, len(LEVELS))`` heatmap cells.
        """
        columns = np.array(self.radii).T
        radii = np.stack([np.interp(scores, self.scores, column) for column in columns], axis=-1)
        return radii * np.array(self.factors)[:, None]

    def covariance_scales(self, scores: Array) -> Array:
        """``(N, K)`` factors of the peaks' covariances."""
        return np.exp(np.interp(scores, self.scores, np.log(self.scales))) * np.array(self.factors) ** 2


def fit_calibration(offsets: Array, covariances: Array, scores: Array) -> KeypointCalibration:
    """Fit the calibration to a validation set.

    Args:
        offsets: ``(M, K, 2)`` true minus predicted x, y, heatmap cells; NaN where no truth is known.
        covariances: ``(M, K, 2, 2)`` of the peaks, square cells; see `heatmap_covariances`.
        scores: ``(M, K)``.

    Raises:
        ValueError: Fewer than 200 keypoints with a truth.
    """
    known = np.isfinite(offsets).all(axis=2)
    if known.sum() < MIN_KEYPOINTS:
        raise ValueError(
            f"{known.sum()} labelled keypoints; a calibration needs at least {MIN_KEYPOINTS}, and its check as many in "
            "each half of the images"
        )
    errors = np.where(known, np.linalg.norm(np.nan_to_num(offsets), axis=2), np.nan)
    factors = _keypoint_factors(errors)
    solved = np.linalg.solve(covariances, np.nan_to_num(offsets)[..., None])[..., 0]
    squared = (np.nan_to_num(offsets) * solved).sum(axis=2) / factors**2
    order = np.argsort(scores[known], kind="stable")
    count = int(np.clip(len(order) // _BIN, 1, _MAX_BINS))
    bins = np.array_split(order, count)
    radii = [np.quantile((errors / factors)[known][some], LEVELS, method="weibull") for some in bins]
    scales = [np.quantile(squared[known][some], ELLIPSE, method="weibull") / _CHI_SQUARED for some in bins]
    centers = np.maximum.accumulate([float(scores[known][some].mean()) for some in bins])
    return KeypointCalibration(
        tuple(centers.tolist()),
        tuple((0.0, *map(float, row[1:])) for row in radii),
        tuple(max(float(scale), 1e-6) for scale in scales),
        tuple(factors.tolist()),
    )


def _keypoint_factors(errors: Array) -> Array:
    """Median error of each keypoint over that of all, ``(K,)``; near 1 for keypoints with few labels."""
    overall = max(float(np.nanmedian(errors)), 1e-6)
    counts = np.isfinite(errors).sum(axis=0)
    medians = np.array(
        [np.nanmedian(column) if count else overall for column, count in zip(errors.T, counts, strict=True)]
    )
    ratios = np.clip(medians / overall, 0.1, 10)
    return np.exp(np.log(ratios) * counts / (counts + _PRIOR))


@dataclass(frozen=True)
class KeypointUncertainty:
    """Uncertainty of the keypoints of N people.

    Attributes:
        spreads: ``(N, K, 2, 2)`` covariances of the heatmaps' peaks, square pixels of the image.
        cells: ``(N,)`` pixels of the image per heatmap cell.
        scores: ``(N, K)``.
        calibration: Of the network.
    """

    spreads: Array
    cells: Array
    scores: Array
    calibration: KeypointCalibration

    def __getitem__(self, rows: Array) -> KeypointUncertainty:
        """Of some of the people."""
        return KeypointUncertainty(self.spreads[rows], self.cells[rows], self.scores[rows], self.calibration)

    @classmethod
    def joined(cls, parts: Sequence[KeypointUncertainty]) -> KeypointUncertainty:
        """Of the people of several, in this order; of one network."""
        spreads = np.concatenate([part.spreads for part in parts])
        cells = np.concatenate([part.cells for part in parts])
        scores = np.concatenate([part.scores for part in parts])
        return cls(spreads, cells, scores, parts[0].calibration)

    @property
    def covariances(self) -> Array:
        """``(N, K, 2, 2)`` float32 square pixels; the 90 % ellipse holds 90 % of the true keypoints."""
        scales = self.calibration.covariance_scales(self.scores)
        return (self.spreads * scales[..., None, None]).astype(np.float32)

    def radius(self, probability: float) -> Array:
        """``(N, K)`` pixels within which the true keypoint lies with a probability.

        Raises:
            ValueError: A probability outside [0, 1].
        """
        if not 0 <= probability <= 1:
            raise ValueError(f"probability {probability}; expected 0 to 1")
        radii = self.calibration.error_radii(self.scores) * self.cells[:, None, None]
        upper = min(int(np.searchsorted(LEVELS, probability)), len(LEVELS) - 1)
        lower = max(upper - 1, 0)
        share = (probability - LEVELS[lower]) / (LEVELS[upper] - LEVELS[lower]) if upper > lower else 0.0
        return radii[..., lower] * (1 - share) + radii[..., upper] * share

    def probability_within(self, distance: Array | float) -> Array:
        """``(N, K)`` probabilities that the true keypoint lies within a distance.

        Args:
            distance: Pixels of the image; one number, or an array that broadcasts to ``(N, K)``.
        """
        radii = self.calibration.error_radii(self.scores) * self.cells[:, None, None]
        distances = np.broadcast_to(np.asarray(distance, float), self.scores.shape)[..., None]
        upper = np.clip((radii <= distances).sum(axis=-1, keepdims=True), 1, len(LEVELS) - 1)
        low, high = (np.take_along_axis(radii, index, axis=-1) for index in (upper - 1, upper))
        share = np.clip((distances - low) / np.maximum(high - low, 1e-12), 0, 1)
        levels = np.array(LEVELS)
        return (levels[upper - 1] * (1 - share) + levels[upper] * share)[..., 0]
