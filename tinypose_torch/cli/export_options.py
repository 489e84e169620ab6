"""The options of `tinypose export`."""

from __future__ import annotations

import argparse
from typing import Any

from tinypose_torch.cli.network_options import add_person_class
from tinypose_torch.utils import defaults
from tinypose_torch.utils.arguments import add_overwrite
from tinypose_torch.utils.hints import command_line


def add_export(commands: Any) -> None:
    """Add the command to the parser of `tinypose`."""
    parser = commands.add_parser(
        "export",
        help="make a file for phones and other runtimes",
        description="Export a model. By default the file takes uint8 RGB images of the model's size, one per call, "
        "and gives keypoints (detectors: scores and boxes before NMS). A receipt compares it with the network.",
    )
    _add_models(parser)
    _add_app(parser)
    parser.add_argument("--output", metavar="FILE", help="default: NAME.pte, NAME.torchscript or NAME.onnx")
    add_overwrite(parser)
    _add_form(parser)
    _add_images(parser)


def _add_models(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "model",
        nargs="?",
        metavar="NAME",
        help=f"the model; {command_line('tinypose models')} lists them (default: the model that --weights names)",
    )
    formats = "executorch, torchscript, onnx, or a format of a plug-in (default: %(default)s)"
    add("--format", metavar="NAME", default="executorch", help=formats)
    add("--precision", choices=defaults.PRECISIONS, default="fp32", help="default: %(default)s; int8 needs --images")
    add("--weights", metavar="FILE", help="weights, or release such as 2021 (default: the official weights)")
    add(
        "--with",
        dest="with_model",
        metavar="NAME",
        help="a second model in the same .pte: detector and pose network in one file",
    )
    add("--with-weights", metavar="FILE", help="its weights, which may name it, too")


def _add_app(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--frame",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="make an app of both models, in any format: it takes frames of this size and gives people: boxes, "
        "scores and keypoints",
    )
    add(
        "--people", type=int, metavar="N", help="with --frame: number of people that the app gives at most (default: 4)"
    )
    add(
        "--pixels",
        choices=defaults.PIXEL_FORMATS,
        help="with --frame: pixel format of the frames, uint8 (default: rgb)",
    )
    add(
        "--interface",
        choices=defaults.INTERFACES,
        help="with --frame: frame (uint8 frames; all methods), or react-native (float32 images; the "
        f"signature of react-native-executorch's keypoint models, .pte only) (default: {defaults.FRAME})",
    )
    add(
        "--detect-every",
        type=int,
        metavar="N",
        help="with --frame: the app's method follow runs the detector in every Nth frame (default: 5)",
    )


def _add_form(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--input-size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="multiples of 32 (default: the model's; bottom-up networks want the shape of the photos, such as 512 704)",
    )
    add("--raw", action="store_true", help="normalised float NCHW in; heatmaps, or scores and boxes, out")
    add("--heatmaps", action="store_true", help="images in, but heatmaps out")
    batch = parser.add_mutually_exclusive_group()
    batch.add_argument("--batch", type=int, default=1, metavar="N", help="images per call (default: %(default)s)")
    batch.add_argument("--dynamic-batch", action="store_true", help="any number of images; not for executorch")


def _add_images(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--images", metavar="DIR", help="photos for int8's calibration and for the receipt (default: seeded noise)")
    add("--detector", metavar="NAME", help="finds the people in --images (default: each image is one person)")
    add("--detector-weights", metavar="FILE", help="weight file of that detector")
    add_person_class(parser, "class of --detector that is a person")
    add("--error-budget", type=float, metavar="E", help="how much int8 may change the outputs (default: the model's)")
