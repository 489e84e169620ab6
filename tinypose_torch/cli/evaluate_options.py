"""The options of `tinypose evaluate`."""

from __future__ import annotations

import argparse
from typing import Any

from tinypose_torch.cli.network_options import add_person_class, add_runtime
from tinypose_torch.utils import defaults
from tinypose_torch.utils.arguments import add_overwrite


def add_evaluate(commands: Any) -> None:
    """Add the command to the parser of `tinypose`."""
    parser = commands.add_parser(
        "evaluate",
        help="measure accuracy on annotated images",
        description="COCO keypoint AP and AR of a pose network, in whatever file it is, with annotated boxes, those of a "
        "detection file, or those that a detector finds (--with-detector, --app); MPII's PCKh with --truth; COCO box AP of a "
        "detector with --detector; MOTA and IDF1 of the tracks of predict --track with --tracks.",
    )
    _add_sources(parser)
    backend = "what runs the networks, as for tinypose predict (default: what the file was made for)"
    add_runtime(parser, backend, "inference threads (default: the backend's own)")
    parser.set_defaults(backend="auto")
    _add_decoding(parser)
    _add_boxes(parser)
    _add_outputs(parser)
    add_overwrite(parser)


def _add_sources(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    model = parser.add_mutually_exclusive_group()
    model.add_argument(
        "--pose",
        default=defaults.AUTO,
        metavar="NAME",
        help=f"pose network (default: the model that --weights names; without weights {defaults.POSE})",
    )
    model.add_argument("--detector", metavar="NAME", help="evaluate this detector instead")
    model.add_argument(
        "--app",
        metavar="FILE",
        help="evaluate this app file of export --frame instead; images of other sizes are fitted into its frame",
    )
    add("--weights", metavar="FILE", help="weights, exported file, or release such as 2021 (default: official weights)")
    model.add_argument(
        "--tracks", metavar="FILE", help="evaluate what predict --track --json wrote of one video instead"
    )
    add(
        "--annotations",
        required=True,
        metavar="FILE",
        help="annotations of the network's keypoints or classes: COCO, AI Challenger, MPII, or a format of a plug-in; "
        "MOTChallenge's gt.txt for --tracks",
    )
    add("--format", metavar="NAME", help="format of --annotations (default: recognised)")
    add("--images", metavar="DIR", help="folder of the images")


def _add_decoding(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--workers", type=int, default=1, metavar="N", help="processes that decode and predict (default: %(default)s)")
    add("--flip", action="store_true", help="average with the mirrored image, as PaddleDetection does by default")
    add("--no-shift", dest="shift", action="store_false", help="leave the mirrored heatmaps where they are")
    add(
        "--decoding",
        choices=("dark", "plain"),
        help="of heatmaps (default: the network's own; dark with --with-detector)",
    )


def _add_boxes(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    boxes = parser.add_mutually_exclusive_group()
    boxes.add_argument("--detections", metavar="FILE", help="COCO detection file: these boxes, not the annotated ones")
    boxes.add_argument(
        "--with-detector",
        metavar="NAME",
        help="find the boxes with this detector: the accuracy of both networks together, cropped and decoded as by predict",
    )
    add("--detector-weights", metavar="FILE", help="weight file or exported file for --with-detector")
    add_person_class(parser, "class of --with-detector whose boxes get poses")
    add(
        "--detection-threshold",
        type=float,
        metavar="S",
        help="minimum score of a box (default: 0 with --detections, the detector's own with --with-detector)",
    )
    people = parser.add_mutually_exclusive_group()
    people.add_argument("--max-people", type=int, metavar="N", help="only images with at most N annotated people")
    people.add_argument("--single-person", action="store_true", help="only images with exactly one annotated person")
    add("--sigmas", type=float, nargs="+", metavar="S", help="OKS constants (default: the file's, COCO's by name)")
    add("--truth", metavar="FILE", help="MPII's gt_valid.mat")
    add("--limit", type=int, metavar="N", help="only the first N images")


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--json", metavar="FILE", help="write the figures here")
    add(
        "--report",
        metavar="FILE",
        help="write a page here, HTML: errors by keypoint, size and visibility, PCK, OKS, the worst and the best images",
    )
    add(
        "--calibrate",
        metavar="FILE",
        help="write the weights here, .safetensors, with the errors of their keypoints by score, for predict --uncertainty",
    )
    add(
        "--predictions",
        metavar="FILE",
        help="write what was found here: COCO results JSON, which --detections takes where it is a detector's. "
        "Needs no annotations: a file with images and categories is enough",
    )
