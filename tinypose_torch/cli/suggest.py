"""`tinypose suggest`: the images to label next, with predicted annotations."""

from __future__ import annotations

import argparse

import numpy as np

from tinypose_torch.cli.annotations import write_annotations
from tinypose_torch.cli.prelabel import (
    build_estimator,
    category_of,
    find_images,
    name_in_folder,
    predict_images,
    report_failures,
)
from tinypose_torch.data.formats.coco_content import ImageAnnotations
from tinypose_torch.data.formats.registry import read_annotations
from tinypose_torch.evaluation.suggestion import image_features, image_uncertainty, select_images, stack_features
from tinypose_torch.utils.table import format_table

_SHOWN = 10  # images in the table


def run(options: argparse.Namespace) -> int:
    """Predict, choose, write, and print the first chosen images."""
    if options.number < 1:
        raise ValueError(f"--number {options.number}; at least 1 is needed")
    chosen_format, files = find_images(options)
    labelled = _labelled_names(options)
    if all(name_in_folder(file, options.images) in labelled for file in files):
        raise ValueError(f"--labelled {options.labelled}: all {len(files)} images of {options.images} have labels")
    estimator = build_estimator(options)
    if getattr(estimator.pose_config, "calibration", None) is not None:  # of bottom-up networks there is none
        estimator = build_estimator(options, uncertainty=True)
    images: list[ImageAnnotations] = []
    uncertainties, features, known, failures = [], [], [], 0
    for found in predict_images(estimator, files, options):
        if found is None:
            failures += 1
            continue
        described = image_features(found.image, found.poses)
        if found.annotations.file_name in labelled:
            known.append(described)
            continue
        images.append(found.annotations)
        uncertainties.append(image_uncertainty(found.poses))
        features.append(described)
    order = select_images(np.array(uncertainties), stack_features(features), options.number, stack_features(known))
    write_annotations(chosen_format, [images[index] for index in order], category_of(estimator), options.output)
    rows = [(images[index].file_name, f"{uncertainties[index]:.3f}") for index in order[:_SHOWN]]
    print(format_table(("image", "uncertainty"), rows, right=[1]))
    return report_failures(failures, len(files))


def _labelled_names(options: argparse.Namespace) -> set[str]:
    """File names of the images that have labels."""
    if options.labelled is None:
        return set()
    return {image["file_name"] for image in read_annotations(options.labelled, options.images)["images"]}
