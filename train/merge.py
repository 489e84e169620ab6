"""`python -m train.merge`: COCO and AI Challenger as one COCO file, as PP-TinyPose was trained on.

    python -m train.merge --coco person_keypoints_train2017.json --coco-folder train2017 \
        --ai-challenger keypoint_train_annotations_20170902.json --ai-challenger-images DIR --ai-challenger-folder aic \
        --output merged.json

File names get the folders' names in front, so that ``data.images`` is the folder that holds both.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinypose_torch.data.errors import DatasetError
from tinypose_torch.data.formats.ai_challenger import convert_ai_challenger, merge_coco, write_json
from tinypose_torch.data.formats.coco import read_coco
from tinypose_torch.geometry.skeletons import COCO17
from tinypose_torch.utils.arguments import ArgumentParser, add_overwrite, run_program
from tinypose_torch.utils.outputs import check_outputs


def main(arguments: Sequence[str] | None = None) -> int:
    """Read, convert, merge, write; see `run_program` for the exit status."""
    return run_program("train.merge", lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    parser = ArgumentParser(
        prog="python -m train.merge", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--coco", metavar="FILE", help="COCO keypoint annotations")
    add("--coco-folder", metavar="NAME", help="put before COCO's file names")
    add("--ai-challenger", metavar="FILE", help="AI Challenger's annotations")
    add("--ai-challenger-images", metavar="DIR", help="AI Challenger's images, whose sizes are read")
    add("--ai-challenger-folder", metavar="NAME", help="put before AI Challenger's file names")
    add("--output", required=True, metavar="FILE")
    add_overwrite(parser)
    options = parser.parse_args(arguments)
    if not options.coco and not options.ai_challenger:
        parser.error("nothing to merge: give --coco, --ai-challenger or both")
    if options.ai_challenger and not options.ai_challenger_images:
        parser.error("--ai-challenger needs --ai-challenger-images")
    inputs = (options.coco, options.ai_challenger)
    check_outputs({"--output": options.output}, inputs, options.ai_challenger_images, options.overwrite)
    parts: list[tuple[dict[str, Any], str]] = []
    if options.coco:
        parts.append((_read(options.coco), options.coco_folder or ""))
    if options.ai_challenger:
        converted = convert_ai_challenger(options.ai_challenger, options.ai_challenger_images)
        parts.append((converted, options.ai_challenger_folder or ""))
    merged = merge_coco(parts)
    write_json(merged, options.output)
    print(f"wrote {options.output}: {len(merged['images'])} images, {len(merged['annotations'])} people")
    return 0


def _read(path: str) -> dict[str, Any]:
    checked = read_coco(path, COCO17)
    if checked.skeleton.keypoint_names != COCO17.keypoint_names:
        raise DatasetError(f"{path}: not COCO's 17 keypoints")
    content: dict[str, Any] = json.loads(Path(path).read_bytes())
    return {**content, "annotations": checked.annotations}


if __name__ == "__main__":
    sys.exit(main())
