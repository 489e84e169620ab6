"""Presentation times of video frames."""

from __future__ import annotations

import math

_MIN_STEP = 1e-3  # seconds between two frames whose timestamps are equal or slightly reversed
_JUMP = 1.0  # seconds backwards from which a timestamp begins a new recording, as in joined files
_ROUNDING = 5.1e-4  # seconds: Matroska rounds timestamps to milliseconds


class FrameTimes:
    """Strictly increasing times of the frames of one stream, in seconds.

    Args:
        fps: Frames per second of the stream, used where frames have no timestamp.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._count = 0
        self._offset = 0.0
        self._last = -math.inf

    def add(self, timestamp: float | None) -> float:
        """Time of the next frame.

        Args:
            timestamp: Seconds from the start of the stream; ``None`` if the frame has none.
        """
        expected = 0.0 if self._count == 0 else self._last + 1 / self._fps
        nominal = self._count / self._fps
        if timestamp is None or not math.isfinite(timestamp):
            time = expected
        else:
            if timestamp + self._offset < self._last - _JUMP:
                self._offset = expected - timestamp
            time = max(timestamp + self._offset, self._last + _MIN_STEP, 0.0)
        if abs(time - nominal) < _ROUNDING and nominal > self._last:
            time = nominal
        self._count, self._last = self._count + 1, time
        return time
