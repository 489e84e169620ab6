"""The columns of the detector's resize, in whichever of two forms is faster: both give the same whole numbers.

Sizes such as 640 and 192 repeat: 3 columns of the result are made of 10 of the frame. Where no column reads beyond its group,
the resize is a linear layer of groups, `ColumnGroups`. It takes a third of the time of gathering four columns for each one
(`ColumnTaps`, `ColumnBlend`), which suits all sizes.
"""

from __future__ import annotations

import math
from itertools import groupby

import numpy as np
import torch
from torch import Tensor, nn

from tinypose_torch.export.app.detection import Taps
from tinypose_torch.export.app.pixels import PixelReader, linear
from tinypose_torch.geometry.portable import cubic_taps

_MAX_GROUP = 32  # columns of the frame; a group's work grows with their number
_MAX_RUNS = 8


class ColumnTaps(Taps):
    """What a cubic resize reads of the columns of a frame: the planes of a `PixelReader`, four times."""

    def __init__(self, source: int, target: int, reader: PixelReader) -> None:
        super().__init__(1, source, target)
        self.reader = reader

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        planes = self.reader.planes(frame)
        return tuple(part for lines in self.buffers(recurse=False) for part in self.reader.gather(planes, 1, lines))


class ColumnBlend(nn.Module):
    """The columns that a resize reads, four times, to their sum ``(H, w, 3)`` float32: whole numbers."""

    def __init__(self, source: int, target: int, reader: PixelReader) -> None:
        super().__init__()
        self.reader, channels = reader, reader.channels
        for tap, weights in enumerate(cubic_taps(source, target)[1]):
            self.register_buffer(
                f"weights{tap}", torch.from_numpy(weights.repeat(channels)).reshape(1, target, channels)
            )

    def forward(self, *columns: Tensor) -> Tensor:
        planes = len(self.reader.steps)
        taps = [columns[start : start + planes] for start in range(0, len(columns), planes)]
        first, second, third, fourth = (
            self.reader.values(*tap) * weights for tap, weights in zip(taps, self.buffers(recurse=False), strict=True)
        )
        return self.reader.to_rgb(first + second + third + fourth)


class ColumnRuns(nn.Module):
    """Reads a frame in runs of columns: the planes of a `PixelReader` for each.

    Args:
        borders: First column of each run, and the end of the last one.
        group: Number of columns of a group.
    """

    def __init__(self, borders: list[int], group: int, reader: PixelReader) -> None:
        super().__init__()
        self.borders, self.group, self.reader = borders, group, reader

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        planes = self.reader.planes(frame)
        runs = zip(self.borders, self.borders[1:], strict=False)
        return tuple(part for start, stop in runs for part in self.reader.columns(planes, start, stop, self.group))


class ColumnGroups(nn.Module):
    """Runs of columns of a frame to the resized columns ``(H, w, 3)`` float32: whole numbers.

    Args:
        weights: Of each run ``(q, p)``: p columns of the frame to q of the result.
    """

    def __init__(self, weights: list[np.ndarray], reader: PixelReader) -> None:
        super().__init__()
        self.reader = reader
        colours = reader.to_rgb.weight if isinstance(reader.to_rgb, nn.Linear) else torch.eye(3)
        self.blends = nn.ModuleList(linear(torch.kron(torch.from_numpy(each), colours)) for each in weights)

    def forward(self, *runs: Tensor) -> Tensor:
        planes = len(self.reader.steps)
        resized = []
        for index, blend in enumerate(self.blends):
            assert isinstance(blend, nn.Linear)
            pixels = self.reader.values(*runs[index * planes : (index + 1) * planes])
            resized.append(blend(pixels.reshape(-1, blend.in_features)).reshape(len(pixels), -1, 3))
        return torch.cat(resized, dim=1) if len(resized) > 1 else resized[0]


def column_resize(source: int, target: int, reader: PixelReader) -> tuple[nn.Module, nn.Module]:
    """What reads the columns of a frame for a resize, and what computes the resized columns of them."""
    groups = _group_weights(source, target)
    runs = [(key, len(list(members))) for key, members in groupby(groups, np.ndarray.tobytes)] if groups else []
    if not 1 <= len(runs) <= _MAX_RUNS:
        return ColumnTaps(source, target, reader), ColumnBlend(source, target, reader)
    shape = groups[0].shape
    borders = np.cumsum([0, *(count * shape[1] for _, count in runs)]).tolist()
    weights = [np.frombuffer(key, np.float32).reshape(shape) for key, _ in runs]
    return ColumnRuns(borders, shape[1], reader), ColumnGroups([each.copy() for each in weights], reader)


def _group_weights(source: int, target: int) -> list[np.ndarray]:
    """Weights ``(q, p)`` of every group of columns; empty if a column reads beyond its group, or groups are large.

    The same column of two groups may differ by one unit in a weight, as OpenCV's positions are rounded.
    """
    count = math.gcd(source, target)
    width = source // count
    indices, weights = cubic_taps(source, target)
    starts = np.repeat(np.arange(count) * width, target // count)
    if width > _MAX_GROUP or not ((indices >= starts) & (indices < starts + width)).all():
        return []
    dense = np.zeros((target, width), np.float32)
    np.add.at(dense, (np.arange(target), indices - starts), weights)
    return list(dense.reshape(count, -1, width))
