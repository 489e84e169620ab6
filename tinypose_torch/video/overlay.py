"""The overlay of a video, which takes the place of an older one when it is complete."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np

from tinypose_torch.utils.atomic import replacing
from tinypose_torch.utils.provenance import SOFTWARE
from tinypose_torch.video.files import VideoWriter


class Overlay:
    """Writes frames to a temporary file beside the overlay, which becomes the overlay when the block ends well.

    Without frames there is no file. When the block fails, an older overlay stays.

    Args:
        path: The overlay, ``.mp4``.
        fps: See `VideoWriter`.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._fps = path, fps
        self._stack = ExitStack()
        self._writer: VideoWriter | None = None

    def write(self, frame: np.ndarray, time: float) -> None:
        """Append a frame; see `VideoWriter.write`."""
        if self._writer is None:
            temporary = self._stack.enter_context(replacing(self._path))
            writer = VideoWriter(temporary, self._fps, frame.shape[1::-1], SOFTWARE)
            self._writer = self._stack.enter_context(writer)
        self._writer.write(frame, time)

    def __enter__(self) -> Overlay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
