"""Progress of an export: a bar on a terminal, else a line per stage."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from tqdm import tqdm

from tinypose_torch.runtime.formats import find_export_format

Progress = Callable[[str, float], None]
"""Called with the stage that is under way and the share of it that is done, 0 to 1."""

PHOTOS = "read photos"
PREPARE, CALIBRATE, MEASURE, QUANTISE = "prepare", "calibrate", "measure layers", "quantise"
TRACE, LOWER, ASSEMBLE, WRITE, COMPARE = "trace", "lower", "assemble", "write", "compare"

# CPU seconds of a TinyPose network; only their ratios matter.
_NETWORK_SECONDS = {PREPARE: 0.3}
_INT8_SECONDS = {PREPARE: 4.0, CALIBRATE: 11.0, MEASURE: 25.0, QUANTISE: 1.0}
_APP_SECONDS = {
    "executorch": {TRACE: 8.0, LOWER: 20.0, ASSEMBLE: 15.0, WRITE: 10.0},
    "onnx": {TRACE: 30.0, WRITE: 0.5},
    "torchscript": {TRACE: 6.0, WRITE: 0.6},
}
_COMPARE_SECONDS = 3.0
_PHOTO_SECONDS = 0.2


def no_progress(stage: str, share: float) -> None:
    """Progress that is not shown."""


def of_network(progress: Progress, name: str) -> Progress:
    """Progress of the stages that each network of a file goes through."""
    return lambda stage, share: progress(f"{name}: {stage}", share)


def export_stages(
    names: Sequence[str], format_name: str, precision: str, *, num_photos: int = 0, receipt: bool = False
) -> dict[str, float]:
    """The stages of an export in their order, with their typical durations.

    Args:
        names: Of the networks that go into the file.
        num_photos: How many photos are read first.
        receipt: Whether the file is compared with the networks at the end.
    """
    stages = _stages_before(names, precision, num_photos)
    stages |= {stage: seconds * len(names) for stage, seconds in find_export_format(format_name).stages.items()}
    return stages | ({COMPARE: _COMPARE_SECONDS * len(names)} if receipt else {})


def app_stages(
    names: Sequence[str], format_name: str, precision: str, *, num_photos: int = 0, receipt: bool = False
) -> dict[str, float]:
    """The same for an app; see `export_stages`."""
    stages = _stages_before(names, precision, num_photos)
    return stages | _APP_SECONDS[format_name] | ({COMPARE: 2 * _COMPARE_SECONDS} if receipt else {})


def _stages_before(names: Sequence[str], precision: str, num_photos: int) -> dict[str, float]:
    """Reading of photos, and what is done to each network."""
    per_network = _INT8_SECONDS if precision == "int8" else _NETWORK_SECONDS
    stages = {PHOTOS: _PHOTO_SECONDS * num_photos} if num_photos else {}
    return stages | {f"{name}: {stage}": seconds for name in names for stage, seconds in per_network.items()}


@contextmanager
def show_progress(title: str, stages: Mapping[str, float]) -> Iterator[Progress]:
    """Shows stages on stderr: as one bar on a terminal, else as a line each.

    Args:
        stages: Their durations by name, in their order; see `export_stages`.
    """
    names, total = list(stages), sum(stages.values())
    begun = [sum(list(stages.values())[:index]) for index in range(len(names))]
    shown = ""
    layout = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    width, height = shutil.get_terminal_size()  # 80x24 where a terminal does not say, in which tqdm would draw nothing
    bar = tqdm(total=total, desc=title, disable=None, leave=False, bar_format=layout, ncols=width, nrows=height)
    with bar:

        def progress(stage: str, share: float) -> None:
            nonlocal shown
            index = names.index(stage)
            if bar.disable:
                if stage != shown:
                    print(f"{title}: {stage} ({index + 1} of {len(names)})", file=sys.stderr, flush=True)
            else:
                bar.set_description_str(f"{title}: {stage}", refresh=False)
                bar.n = max(bar.n, begun[index] + share * stages[stage])
                bar.refresh()
            shown = stage

        yield progress
