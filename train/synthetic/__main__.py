"""`python -m train.synthetic`: rendered people with exact keypoints and boxes, as a COCO dataset.

    python -m train.synthetic --output DIR --images N --seed S

writes ``DIR/images/*.jpg``, ``DIR/train.json`` and ``DIR/val.json`` (one picture in ten). The same seed gives the same
pictures; picture i does not depend on N.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from tinypose_torch.data.formats.ai_challenger import coco_category, write_json
from tinypose_torch.geometry.skeletons import COCO17
from tinypose_torch.utils.arguments import ArgumentParser, add_overwrite, run_program
from tinypose_torch.utils.atomic import replacing
from tinypose_torch.utils.outputs import check_output_folder, check_outputs
from tinypose_torch.utils.provenance import marked_jpeg
from train.synthetic.scenes import Annotation, render_scene

_HELD_OUT = 10  # one image in ten is held out
_MAX_IMAGES = 1_000_000  # names have six digits
_MAX_SIDE = 4096  # pixels
_MAX_PEOPLE = 99  # annotation ids are the image's id times 100 and more
_MAX_WORKERS = 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Render and write the dataset; see `run_program` for the exit status."""
    return run_program("train.synthetic", lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    parser = _build_parser()
    options = parser.parse_args(arguments)
    keypoints = _check(parser, options)
    check_output_folder("--output", options.output)
    names = ["train.json", "val.json", *(f"images/{_file_name(index)}" for index in range(options.images))]
    check_outputs({f"the file {name},": options.output / name for name in names}, overwrite=options.overwrite)
    scene = {"size": tuple(options.size), "people_count": options.people, "heights": options.heights}
    people = write_dataset(options.output, options.images, options.seed, scene, keypoints, options.workers)
    print(f"wrote {options.images} pictures with {people} people to {options.output}")
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(
        prog="python -m train.synthetic", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--output", type=Path, required=True, metavar="DIR")
    add("--images", type=int, required=True, metavar="N")
    add("--seed", type=int, default=0, metavar="S", help="default: %(default)s")
    add("--size", type=int, nargs=2, default=(240, 320), metavar=("HEIGHT", "WIDTH"), help="default: 240 320")
    add(
        "--keypoints",
        metavar="NAMES",
        help="only these of COCO's keypoints, separated by commas; nose=head writes the nose under the name head",
    )
    add("--people", type=int, metavar="N", help="in every picture (default: 1 to 4, as it happens)")
    add("--heights", type=float, nargs=2, metavar=("LEAST", "GREATEST"), help="of a person, in heights of the picture")
    add("--workers", type=int, default=2, metavar="N", help="processes (default: %(default)s)")
    add_overwrite(parser)
    return parser


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> dict[str, str] | None:
    """Refuse values out of range; returns the keypoints to write, ``None`` for all."""
    if not 2 <= options.images <= _MAX_IMAGES:
        parser.error(f"--images {options.images}; expected 2 to {_MAX_IMAGES}, one in ten of them held out")
    if not 64 <= min(options.size) <= max(options.size) <= _MAX_SIDE:
        parser.error(f"--size {options.size[0]} {options.size[1]}; expected 64 to {_MAX_SIDE}")
    if options.seed < 0:
        parser.error(f"--seed {options.seed}; expected 0 or more")
    if options.people is not None and not 1 <= options.people <= _MAX_PEOPLE:
        parser.error(f"--people {options.people}; expected 1 to {_MAX_PEOPLE}")
    if not 1 <= options.workers <= _MAX_WORKERS:
        parser.error(f"--workers {options.workers}; expected 1 to {_MAX_WORKERS}")
    if options.heights and not 0.05 <= options.heights[0] <= options.heights[1] <= 3:
        parser.error(f"--heights {options.heights[0]} {options.heights[1]}; expected 0.05 to 3, the least first")
    try:
        return read_keypoints(options.keypoints) if options.keypoints else None
    except ValueError as error:
        parser.error(f"--keypoints: {error}")


def write_dataset(
    folder: Path,
    images: int,
    seed: int,
    scene: dict[str, Any],
    keypoints: Mapping[str, str] | None = None,
    workers: int = 2,
) -> int:
    """Render pictures and write both annotation files; returns the number of people.

    Args:
        scene: Arguments of `render_scene`, its ``size`` among them.
        keypoints: COCO keypoints to annotate, with the names to write; default: all 17.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    height, width = scene["size"]
    render = partial(_render, folder / "images", seed, scene)
    keypoints = keypoints or {name: name for name in COCO17.keypoint_names}
    skeleton = dataclasses.replace(COCO17.subset(list(keypoints)), keypoint_names=tuple(keypoints.values()))
    chosen = [COCO17.keypoint_names.index(name) for name in keypoints]
    parts: dict[str, dict[str, list[Any]]] = {name: {"images": [], "annotations": []} for name in ("train", "val")}
    with ProcessPoolExecutor(workers) as pool:
        drawn = pool.map(render, range(images), chunksize=16)
        for index, people in enumerate(tqdm(drawn, total=images, desc="rendering", unit="image", disable=None)):
            part = parts["val" if index % _HELD_OUT == _HELD_OUT - 1 or index == images - 1 else "train"]
            part["images"].append(
                {"id": index, "file_name": _file_name(index), "height": height, "width": width, "license": 0}
            )
            part["annotations"] += [_to_coco(person, index, number, chosen) for number, person in enumerate(people)]
    for name, part in parts.items():
        write_json({**part, "categories": [coco_category(skeleton)]}, folder / f"{name}.json")
    return sum(len(part["annotations"]) for part in parts.values())


def read_keypoints(text: str) -> dict[str, str]:
    """Parse ``"nose=head,left_wrist"``: COCO keypoints with the names to write.

    Raises:
        ValueError: A keypoint that COCO does not have, or a name that occurs twice.
    """
    pairs = [item.partition("=")[::2] for item in text.split(",")]
    unknown = [name for name, _ in pairs if name not in COCO17.keypoint_names]
    if unknown:
        raise ValueError(f"unknown keypoint {unknown[0]!r}; choose from {', '.join(COCO17.keypoint_names)}")
    keypoints = {name: new or name for name, new in pairs}
    if len(set(keypoints.values())) != len(pairs):
        raise ValueError(f"a keypoint is named twice in {text!r}")
    return keypoints


def _render(folder: Path, seed: int, scene: dict[str, Any], index: int) -> list[Annotation]:
    image, people = render_scene(np.random.default_rng([seed, index]), **scene)
    encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    with replacing(folder / _file_name(index), durable=False) as temporary:
        temporary.write_bytes(marked_jpeg(encoded.tobytes()))
    return people


def _file_name(index: int) -> str:
    return f"{index:06d}.jpg"


def _to_coco(person: Annotation, image: int, number: int, chosen: list[int]) -> dict[str, Any]:
    keypoints = person.keypoints[chosen]
    return {
        "id": image * 100 + number + 1,
        "image_id": image,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": list(person.bbox),
        "area": person.area,
        "keypoints": keypoints.reshape(-1).tolist(),
        "num_keypoints": int((keypoints[:, 2] > 0).sum()),
    }


if __name__ == "__main__":
    sys.exit(main())
