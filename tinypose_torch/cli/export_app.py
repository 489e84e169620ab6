"""`tinypose export --frame`: detector and pose network as an app, which takes frames and gives people."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from tinypose_torch.checkpoints.identity import ModelSource
from tinypose_torch.cli.export_common import check_int8, check_output, images_for, print_comparison, resolve_models
from tinypose_torch.cli.photos import count_photos
from tinypose_torch.estimators.app import letterbox
from tinypose_torch.estimators.pose_estimator import PoseEstimator
from tinypose_torch.export.app.api import check_detect_every, check_interface, check_sizes, export_app
from tinypose_torch.export.app.receipt import compare_app
from tinypose_torch.export.progress import COMPARE, PHOTOS, app_stages, show_progress
from tinypose_torch.export.receipt import make_receipt, write_receipt
from tinypose_torch.factory import load_model
from tinypose_torch.models.registry import get_config
from tinypose_torch.runtime.app import open_app
from tinypose_torch.runtime.formats import find_export_format
from tinypose_torch.utils.defaults import FRAME, PIXEL_FORMATS
from tinypose_torch.utils.hints import print_next
from tinypose_torch.utils.images import map_images

_MAX_PEOPLE = 4
_NO_EFFECT = ("input_size", "raw", "heatmaps", "dynamic_batch", "detector", "detector_weights")


def run(options: argparse.Namespace) -> int:
    """Export an app, run it beside the estimator, print and keep the receipt."""
    _check(options)
    size = (options.frame[0], options.frame[1])
    people = _MAX_PEOPLE if options.people is None else options.people
    interface = options.interface or FRAME
    pixels = options.pixels or PIXEL_FORMATS[0]
    check_interface(interface, options.format, pixels)
    check_sizes(size, people, pixels)
    check_detect_every(options.detect_every, options.format, interface)
    sources = _ordered(resolve_models(options), (options.weights, options.with_weights))
    names = [source.name for source, _ in sources]
    output = Path(options.output or f"{'+'.join(reversed(names))}-app{find_export_format(options.format).suffix}")
    check_output(output, options)
    num_photos = count_photos(options.images)
    models = [(load_model(source), file) for source, file in sources]
    (detector, _), (pose, _) = models
    print(f"exporting an app of {' and '.join(names)} to {options.format}, {options.precision} ...", flush=True)
    with show_progress(
        "export", app_stages(names, options.format, options.precision, num_photos=num_photos, receipt=True)
    ) as progress:
        if num_photos:
            progress(PHOTOS, 0)
        frames, described = _frames(options.images, size)
        quantises = options.precision == "int8"
        calibration = [images_for(*model, options, models) if quantises else None for model in models]
        made = export_app(
            pose,
            detector,
            output,
            size,
            people,
            options.format,
            options.precision,
            interface=interface,
            pixels=pixels,
            calibration=(calibration[0], calibration[1]),
            error_budget=options.error_budget,
            person_class=options.person_class,
            detect_every=options.detect_every,
            progress=progress,
        )
        progress(COMPARE, 0)
        weights = [file for _, file in sources]
        estimator = PoseEstimator(*names, *weights, person_class=options.person_class, resize="portable")
        facts = compare_app(open_app(output), estimator, frames, described, made.facts)
    receipt = make_receipt(output, [facts])
    path = write_receipt(receipt, output)
    print(f"wrote {output} ({receipt['bytes'] / 1e6:.2f} MB) and {path}")
    print_comparison(facts)
    print_next(["tinypose", "predict", options.images or "photo.jpg", "--app", str(output)])
    return 0


def _check(options: argparse.Namespace) -> None:
    for name in _NO_EFFECT:
        if getattr(options, name):
            raise ValueError(f"--{name.replace('_', '-')} has no effect with --frame, which makes an app")
    if options.batch != 1:
        raise ValueError(f"--batch {options.batch} has no effect with --frame; an app takes one frame per call")
    check_int8(options)
    if not (options.with_model or options.with_weights):
        raise ValueError("--frame needs --with NAME: an app has a detector and a pose network")


def _ordered(
    sources: list[ModelSource], weights: tuple[str | None, str | None]
) -> list[tuple[ModelSource, str | None]]:
    """Detector and pose network, with their weights."""
    pairs = sorted(zip(sources, weights, strict=True), key=lambda pair: not get_config(pair[0].name).gives_boxes)
    detector, pose = (get_config(source.name) for source, _ in pairs)
    if not (detector.gives_boxes and pose.takes_boxes):
        raise ValueError(
            f"an app has a detector and a top-down pose network; asked for {detector.task} and {pose.task}"
        )
    return pairs


def _frames(folder: str | None, size: tuple[int, int]) -> tuple[list[np.ndarray], str]:
    """The photos of a folder as frames, or seeded noise, and what they are."""
    if folder is None:
        noise = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
        return list(noise), "2 frames of seeded noise; with --images DIR people are compared"
    frames = map_images(folder, lambda image: letterbox(image, size).frame)
    return frames, f"{len(frames)} photos"
