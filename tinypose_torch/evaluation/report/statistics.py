"""Numbers of a report: PCK, and errors by keypoint, size and visibility."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tinypose_torch.evaluation.report.matching import Matches
from tinypose_torch.geometry.flip_pairs import without_side
from tinypose_torch.geometry.skeletons import Skeleton

Array = np.ndarray
PCK_THRESHOLDS = np.linspace(0, 0.3, 61)  # fractions of the box's longer side
PCK_OF_TABLE = 0.1
_MEDIUM, _LARGE = 32**2, 96**2  # square pixels; COCO's


@dataclass(frozen=True)
class ErrorSummary:
    """Errors of some keypoints, as fractions of the box's longer side.

    Attributes:
        count: Labelled keypoints.
        median, p90: Infinite if so many are of people who were missed; NaN without keypoints.
        pck: Share with an error of at most ``PCK_OF_TABLE``; NaN without keypoints.
    """

    count: int
    median: float
    p90: float
    pck: float


def summarize_errors(errors: Array) -> ErrorSummary:
    """Summarize errors of any shape; NaN are left out."""
    errors = np.sort(errors[~np.isnan(errors)])
    if not len(errors):
        return ErrorSummary(0, np.nan, np.nan, np.nan)
    median, p90 = (float(errors[int(np.ceil(share * len(errors))) - 1]) for share in (0.5, 0.9))
    return ErrorSummary(len(errors), median, p90, float((errors <= PCK_OF_TABLE).mean()))


def pck_curve(errors: Array) -> Array:
    """Share of keypoints within each of ``PCK_THRESHOLDS``; NaN without keypoints."""
    errors = errors[~np.isnan(errors)]
    if not len(errors):
        return np.full(len(PCK_THRESHOLDS), np.nan)
    return (errors <= PCK_THRESHOLDS[:, None]).mean(axis=1)


def keypoint_groups(skeleton: Skeleton) -> dict[str, list[int]]:
    """Indices of the keypoints, left and right of a flip pair together, by a name for both."""
    partner = dict(pair if pair[0] < pair[1] else pair[::-1] for pair in skeleton.flip_pairs)
    second = {right for left, right in partner.items() if left != right}
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(skeleton.keypoint_names):
        if index in second:
            continue
        paired = partner.get(index, index) != index
        label = (without_side(name) or name) if paired else name
        groups.setdefault(label, []).extend([index, partner[index]] if paired else [index])
    return groups


def masks_by_size(matches: Matches) -> dict[str, Array]:
    """Masks ``(N, 1)`` of people by COCO's areas."""
    areas = matches.areas[:, None]
    return {
        "small (below 32²)": areas < _MEDIUM,
        "medium (32² to 96²)": (areas >= _MEDIUM) & (areas < _LARGE),
        "large (above 96²)": areas >= _LARGE,
    }


def summarize_groups(matches: Matches) -> Mapping[str, ErrorSummary]:
    """Errors of all keypoints, by the person's size, and by visibility."""
    groups = {
        "all keypoints": np.ones_like(matches.labelled),
        **masks_by_size(matches),
        "visible keypoints": matches.visibility == 2,
        "hidden keypoints": matches.visibility == 1,
    }
    errors = matches.errors
    return {name: summarize_errors(np.where(mask, errors, np.nan)) for name, mask in groups.items()}


def mean_oks_by_image(matches: Matches) -> dict[int, float]:
    """Mean OKS of the annotated people of each image; a missed person counts as 0."""
    return {
        int(identity): float(matches.oks[matches.image_ids == identity].mean())
        for identity in np.unique(matches.image_ids)
    }
