"""`tinypose predict`: poses in photos and videos, as overlays and JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from tqdm import tqdm

from tinypose_torch.cli.networks import Networks, build_app, choose_networks, say_what_runs
from tinypose_torch.estimators.app import AppTracker
from tinypose_torch.estimators.base import Estimator
from tinypose_torch.estimators.pose_estimator import AppEstimator
from tinypose_torch.estimators.results import Poses
from tinypose_torch.tracking.pose_tracker import PoseTracker
from tinypose_torch.tracking.smoothing import PaddleDetectionSmoothing, Smoothing
from tinypose_torch.utils.atomic import OutputError, output_errors, replacing, write_whole
from tinypose_torch.utils.defaults import OUTPUT_FOLDER
from tinypose_torch.utils.images import ImageError, image_errors, load_image, save_png
from tinypose_torch.utils.messages import escaped, one_line
from tinypose_torch.utils.outputs import check_output_folder, check_outputs, overlay_paths
from tinypose_torch.utils.provenance import printable
from tinypose_torch.utils.threads import check_threads
from tinypose_torch.video import is_camera, is_video
from tinypose_torch.video.frames import find_sources, why_nothing
from tinypose_torch.video.live_view import HOST
from tinypose_torch.video.lookahead import complete_poses
from tinypose_torch.video.overlapped import OverlappedVideo

_MAX_PORT = 65535
_SMOOTHING: dict[str, Smoothing | PaddleDetectionSmoothing | None] = {
    "steady": Smoothing(),
    "paddle": PaddleDetectionSmoothing(),
    "off": None,
}


def run(options: argparse.Namespace) -> int:
    """Predict on every input; failures are listed at the end and do not stop the others."""
    _check(options)
    sources, missing = find_sources(options.inputs)
    failures = [(item, why_nothing(item)) for item in missing]
    overlays = _choose_outputs(options, sources)
    if sources:
        _check_video_options(options, sources)
        networks = choose_networks(options, sources) if options.app is None else None
        estimator = build_app(options) if networks is None else networks.build()
        say_what_runs(estimator, networks, sources)
        failures += _predict_all(estimator, networks, sources, overlays, options)
    for source, reason in failures:
        print(escaped(f"failed: {source}: {reason}"), file=sys.stderr)
    if failures:
        print(f"{len(failures)} of {len(sources) + len(missing)} inputs failed", file=sys.stderr)
    return 1 if failures else 0


def _check(options: argparse.Namespace) -> None:
    if "" in options.inputs:
        raise ValueError("an INPUT is empty; name a file, a folder (. for this one), a pattern or webcam")
    if not 0 <= options.keypoint_threshold <= 1:
        raise ValueError(f"--keypoint-threshold {options.keypoint_threshold}; expected 0 to 1")
    check_threads(options.threads, "--threads")
    if options.view is not None and not 0 <= options.view <= _MAX_PORT:
        raise ValueError(f"--view {options.view}; expected a port from 0 to {_MAX_PORT}")
    if options.detect_every < 1:
        raise ValueError(f"--detect-every {options.detect_every}; at least 1 is needed")
    if not options.track and (options.detect_every > 1 or options.smoothing != "steady"):
        raise ValueError("--detect-every and --smoothing are for people who are followed; add --track")


def _check_video_options(options: argparse.Namespace, sources: list[str]) -> None:
    """Refuse options for videos where there are only photos."""
    if any(map(is_video, sources)):
        return
    for name, given in (("track", options.track), ("view", options.view is not None)):
        if given:
            raise ValueError(f"--{name} is for videos and cameras; all inputs are photos")


def _choose_outputs(options: argparse.Namespace, sources: list[str]) -> dict[str, Path] | None:
    """The overlay of every source, or ``None`` if only JSON is wanted.

    Raises:
        ValueError: An output would replace an input or a file of another program.
    """
    wanted = options.output or not options.json
    folder = Path(options.output or OUTPUT_FOLDER)
    if wanted:
        check_output_folder("--output", folder)
    overlays = overlay_paths(folder, sources) if wanted else None
    outputs = {f"the overlay of {source},": path for source, path in (overlays or {}).items()}
    inputs = [*sources, options.detector_weights, options.pose_weights, options.app]
    check_outputs({"--json": options.json, **outputs}, inputs, overwrite=options.overwrite)
    return overlays


def _predict_all(
    estimator: Estimator,
    networks: Networks | None,
    sources: list[str],
    overlays: dict[str, Path] | None,
    options: argparse.Namespace,
) -> list[tuple[str, str]]:
    failures: list[tuple[str, str]] = []
    with ExitStack() as stack:
        records = stack.enter_context(_records(options.json)) if options.json else None
        following = _Following.of(options) if options.track else None
        ahead = networks if _can_look_ahead(estimator, options) else None
        wanted = _Wanted(overlays, records, options.keypoint_threshold, following, options.view, ahead)
        # One photo or video needs no progress bar; the video's frames have one.
        for source in tqdm(sources, unit="input", disable=None if len(sources) > 1 else True):
            try:
                predict = _predict_video if is_video(source) else _predict_image
                with image_errors():
                    for line in predict(estimator, source, wanted):
                        tqdm.write(escaped(line))
            except (BrokenPipeError, OutputError):
                raise  # the reader of stdout is gone, or an output cannot be written
            except (ValueError, OSError) as error:
                failures.append((source, one_line(error).removeprefix(f"{escaped(source)}: ")))
    return failures


def _can_look_ahead(estimator: Estimator, options: argparse.Namespace) -> bool:
    """Whether a separate process can look ahead: the detector looks at every frame, and networks keep to their threads."""
    return estimator.detector is not None and options.detect_every == 1 and estimator.own_threads


def _predict_image(estimator: Estimator, source: str, wanted: _Wanted) -> Iterator[str]:
    image = load_image(source)
    poses = _checked(estimator(image))
    overlay = ""
    if wanted.overlays is not None:
        path = wanted.overlays[source]
        save_png(poses.draw(image, wanted.keypoint_threshold), path)  # may fail, and then the image has no record
        overlay = f" -> {path}"
    if wanted.records is not None:
        wanted.records.add({"image": printable(source), "poses": poses.to_records()})
    yield f"{source}: {_people(poses)}{overlay}"


def _predict_video(estimator: Estimator, source: str, wanted: _Wanted) -> Iterator[str]:
    path = wanted.overlays[source] if wanted.overlays is not None else None
    follower = wanted.following.begin(estimator) if wanted.following is not None else None
    min_score = follower.min_score if follower is not None else None
    ahead = partial(wanted.ahead.build_lookahead, min_score) if wanted.ahead is not None else None
    with OverlappedVideo(source, path, wanted.keypoint_threshold, wanted.view, ahead) as video:
        if video.view is not None:
            tqdm.write(f"live view: http://{HOST}:{video.view}/", file=sys.stderr)
        frames = tqdm(video, total=video.declared_frames, unit="frame", desc=escaped(source), disable=None, leave=False)
        try:
            for index, frame in enumerate(frames):
                try:
                    poses = _predict_frame(estimator, follower, video, frame)
                except ValueError as error:
                    raise ImageError(f"frame {index}: {error}") from error
                video.draw(poses)
                if wanted.records is not None:
                    facts = {"image": printable(source), "frame": index, "time": round(video.time, 4)}
                    wanted.records.add({**facts, "poses": poses.to_records()})
        except KeyboardInterrupt:
            if not is_camera(source):
                raise
        video.finish()
        if video.ended_early:
            yield f"{source}: ends early, after {video.frames_read} of {video.declared_frames} frames"
        yield f"{source}: {video.frames_read} frames{f' -> {path}' if path is not None else ''}"


def _predict_frame(
    estimator: Estimator, follower: PoseTracker | AppTracker | None, video: OverlappedVideo, frame: np.ndarray
) -> Poses:
    if follower is not None:
        return _checked(follower(frame, video.time, video.lookahead))
    if video.lookahead is not None:
        return _checked(complete_poses(frame, estimator, video.lookahead, range(len(video.lookahead.people))))
    return _checked(estimator(frame))


def _checked(poses: Poses) -> Poses:
    """The poses, if all numbers in them are finite.

    Raises:
        ImageError: Some are not, which JSON cannot hold.
    """
    for values in (poses.boxes, poses.scores, poses.keypoints, poses.keypoint_scores):
        if not np.isfinite(values).all():
            raise ImageError("the networks gave NaN or infinite numbers; check the weights")
    return poses


def _people(poses: Poses) -> str:
    return "1 person" if len(poses) == 1 else f"{len(poses)} people"


@dataclass
class _Wanted:
    """What to make of every image: its overlay, by source; records in this list; how people are followed; a page.

    And how: the networks that look ahead in videos.
    """

    overlays: dict[str, Path] | None
    records: _JsonList | _JsonLines | None
    keypoint_threshold: float
    following: _Following | None
    view: int | None
    ahead: Networks | None


@dataclass
class _Following:
    """How the people of a video are followed."""

    detect_every: int
    smoothing: str

    @classmethod
    def of(cls, options: argparse.Namespace) -> _Following:
        return cls(options.detect_every, options.smoothing)

    def begin(self, estimator: Estimator) -> PoseTracker | AppTracker:
        """For the next video."""
        if isinstance(estimator, AppEstimator) and estimator.metadata.detect_every is not None:
            return estimator.create_tracker()
        return PoseTracker(estimator, self.detect_every, smoothing=_SMOOTHING[self.smoothing])


class _JsonList:
    """Writes a JSON list record by record, so that a long video needs no memory."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self._path, self._file = path, file
        self._first = True

    def add(self, record: dict[str, Any]) -> None:
        text = json.dumps(record, allow_nan=False)  # before anything is written
        with output_errors(self._path):
            self._file.write(("[\n" if self._first else ",\n") + text)
        self._first = False

    def end(self) -> None:
        self._file.write("[]\n" if self._first else "\n]\n")


class _JsonLines:
    """Writes a record per line as soon as it is there: what was written can be read whatever happens next.

    When the disc is full, the file ends with the last whole line.
    """

    def __init__(self, path: Path, file: FileIO) -> None:
        self._path, self._file = path, file
        self._size = 0

    def add(self, record: dict[str, Any]) -> None:
        line = f"{json.dumps(record, allow_nan=False)}\n".encode()
        with output_errors(self._path):
            try:
                write_whole(self._file, line)
            except OSError:
                self._file.truncate(self._size)
                raise
        self._size += len(line)


@contextmanager
def _records(name: str) -> Iterator[_JsonList | _JsonLines]:
    path = Path(name)
    if path.suffix == ".jsonl":
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb", buffering=0) as lines:
            yield _JsonLines(path, lines)
        return
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        records = _JsonList(path, file)
        yield records
        records.end()
