"""`tinypose convert-annotations`: keypoint annotations from one format to another."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinypose_torch.cli.annotations import check_target, target_format, write_annotations
from tinypose_torch.data.errors import DatasetError
from tinypose_torch.data.formats.coco import read_coco
from tinypose_torch.data.formats.coco_content import from_coco
from tinypose_torch.data.formats.registry import find_annotation_format, read_annotations

_NEED_IMAGES = ("yolo", "ai_challenger")


def run(options: argparse.Namespace) -> int:
    """Convert the file."""
    chosen = target_format(options.target_format)
    check_target(chosen, options.output, (options.input, options.images), options.overwrite)
    source = find_annotation_format(options.input, options.source_format)
    if options.images is None and source.name in _NEED_IMAGES:
        raise DatasetError(f"{options.input}: format {source.name} has no image sizes; pass --images DIR")
    content = read_annotations(options.input, options.images or Path(options.input).parent, source.name)
    images, category = from_coco(read_coco(options.input, content=content))
    write_annotations(chosen, images, category, options.output)
    return 0
