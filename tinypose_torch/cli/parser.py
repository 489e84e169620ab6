"""The `tinypose` command: its arguments. Torch is imported only once they are known to be right."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from typing import Any

from tinypose_torch import __version__
from tinypose_torch.cli.addresses import fetch_addresses
from tinypose_torch.cli.annotation_options import add_annotation_commands
from tinypose_torch.cli.batch_options import add_batch
from tinypose_torch.cli.benchmark_options import add_benchmark
from tinypose_torch.utils import defaults
from tinypose_torch.utils.arguments import ArgumentParser, add_overwrite, run_program
from tinypose_torch.utils.hints import command_line


def build_parser() -> argparse.ArgumentParser:
    """The parser of `tinypose` and its subcommands."""
    parser = ArgumentParser(
        prog="tinypose", description="PP-TinyPose in PyTorch: find people's poses in photos and videos."
    )
    parser.add_argument("--version", action="version", version=f"tinypose-torch {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.type = str  # the words after it are checked by the command's own parser
    _add_predict(commands)
    _add_models(commands)
    _add_evaluate(commands)
    _add_export(commands)
    add_annotation_commands(commands)
    add_batch(commands)
    add_benchmark(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 if some inputs failed; 2 for wrong arguments, models or weights; 130 and 141: see `run_program`.
    """
    return run_program("tinypose", lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    options = build_parser().parse_args(arguments)
    fetch_addresses(options)
    command = importlib.import_module(f"tinypose_torch.cli.{options.command.replace('-', '_')}")
    status: int = command.run(options)
    return status


def _add_predict(commands: Any) -> None:
    parser = commands.add_parser(
        "predict",
        help="find poses in photos and videos",
        description="Find people's poses. Overlays go to --output (PNG, MP4), numbers to --json.",
        epilog="Exit status: 0; 1 if some inputs failed (they are listed) or an output cannot be written; 2 for wrong "
        "arguments or weights.",
    )
    add = parser.add_argument
    add("inputs", type=str, nargs="+", metavar="INPUT", help="image, folder, glob pattern, video, or webcam[:NUMBER]")
    named_by = "default: the model that the weights name; without weights"
    add(
        "--detector",
        metavar="NAME",
        help=f"person detector ({named_by} {defaults.DETECTOR}); none: the whole image is one person's box",
    )
    add("--pose", default=defaults.AUTO, metavar="NAME", help=f"pose network ({named_by} {defaults.POSE})")
    kinds = (
        ".pdparams, .safetensors, .pt, a deployed Paddle model (folder, .tar, .zip), an exported file, or a release of "
        f"the official weights, which {command_line('tinypose models')} lists (default: the newest release); or a model of "
        "the Hugging Face Hub, hf-hub:OWNER/NAME"
    )
    add("--detector-weights", metavar="FILE", help=f"weights of the detector: {kinds}")
    add("--pose-weights", metavar="FILE", help="the same for the pose network")
    add("--app", metavar="FILE", help="app file of export --frame, in place of detector and pose network")
    add(
        "--output",
        metavar="DIR",
        help=f"folder for overlays (default: {defaults.OUTPUT_FOLDER}; none if only --json is given)",
    )
    add("--json", metavar="FILE", help="write boxes and keypoints here; to a .jsonl file line by line, as they come")
    add_overwrite(parser)
    add(
        "--view",
        type=int,
        nargs="?",
        const=8765,
        metavar="PORT",
        help="show a video or camera in the browser while it runs, at http://127.0.0.1:PORT/ (8765; 0: a free one)",
    )
    add("--track", action="store_true", help="follow the people of a video: ids, and steady keypoints")
    add("--detect-every", type=int, default=1, metavar="N", help="with --track: detect in every Nth frame only")
    add(
        "--smoothing",
        choices=("steady", "paddle", "off"),
        default="steady",
        help="with --track: how keypoints are smoothed; paddle: with PaddleDetection's settings (default: %(default)s)",
    )
    add(
        "--detection-threshold",
        type=float,
        metavar="S",
        help="least score of a person (default: the detector's, 0.5)",
    )
    add(
        "--keypoint-threshold",
        type=float,
        default=defaults.VISIBLE,
        metavar="S",
        help="least score of a keypoint to be drawn (default: %(default)s); the JSON has all",
    )
    add(
        "--person-class",
        metavar="NAME",
        help="class whose boxes get poses (default: person, or the detector's only one)",
    )
    add("--crop", choices=defaults.CROP_RULES, help=f"how persons are cut out (default: {defaults.CROP_RULES[0]})")
    add(
        "--resize",
        choices=defaults.RESIZES,
        help="arithmetic of resizes and crops: opencv's, which depends on the machine, or portable, the same bits on every "
        f"machine (default: {defaults.RESIZES[0]})",
    )
    add(
        "--backend",
        metavar="NAME",
        help="what runs the networks: auto, eager, torchscript, executorch, onnx, or a plug-in's export format (default: "
        "$TINYPOSE_BACKEND, or auto: on the CPU ExecuTorch, if it is installed and the networks were exported before, or "
        "there are 1000 photos and frames or more, for which they are exported once; else eager, which is PyTorch)",
    )
    add(
        "--threads",
        type=int,
        metavar="N",
        help="inference threads (default: the backend's own; for exported files in videos half as many as there are "
        "cores)",
    )
    add("--device", default="cpu", help="cpu, cuda, cuda:1, mps (default: %(default)s)")


def _add_models(commands: Any) -> None:
    parser = commands.add_parser("models", help="list the models", description="The catalogue as a table.")
    parser.add_argument("pattern", nargs="?", default="*", help="names to show, for example 'tinypose*'")


def _add_evaluate(commands: Any) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="measure accuracy on annotated images",
        description="COCO keypoint AP and AR of a pose network, in whatever file it is, with annotated boxes, those of a "
        "detection file, or those that a detector finds (--with-detector); MPII's PCKh with --truth; COCO box AP of a "
        "detector with --detector; MOTA and IDF1 of the tracks of predict --track with --tracks.",
    )
    add = parser.add_argument
    model = parser.add_mutually_exclusive_group()
    model.add_argument(
        "--pose",
        default=defaults.AUTO,
        metavar="NAME",
        help=f"pose network (default: the model that --weights names; without weights {defaults.POSE})",
    )
    model.add_argument("--detector", metavar="NAME", help="evaluate this detector instead")
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
    add("--backend", metavar="NAME", default="auto", help="see predict (default: what the file was made for)")
    add("--device", default="cpu", help="default: %(default)s")
    add("--threads", type=int, metavar="N", help="inference threads (default: the backend's own)")
    add("--flip", action="store_true", help="average with the mirrored image, as PaddleDetection does by default")
    add("--no-shift", dest="shift", action="store_false", help="leave the mirrored heatmaps where they are")
    add(
        "--decoding",
        choices=("dark", "plain"),
        help="of heatmaps (default: the network's own; dark with --with-detector)",
    )
    boxes = parser.add_mutually_exclusive_group()
    boxes.add_argument("--detections", metavar="FILE", help="COCO detection file: these boxes, not the annotated ones")
    boxes.add_argument(
        "--with-detector",
        metavar="NAME",
        help="find the boxes with this detector: the accuracy of both networks together, cropped and decoded as by predict",
    )
    add("--detector-weights", metavar="FILE", help="weight file or exported file for --with-detector")
    add("--person-class", metavar="NAME", help="class of --with-detector whose boxes get poses (default: person)")
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
    add("--json", metavar="FILE", help="write the figures here")
    add(
        "--predictions",
        metavar="FILE",
        help="write what was found here: COCO results JSON, which --detections takes where it is a detector's. "
        "Needs no annotations: a file with images and categories is enough",
    )
    add_overwrite(parser)


def _add_export(commands: Any) -> None:
    parser = commands.add_parser(
        "export",
        help="make a file for phones and other runtimes",
        description="Export a model. By default the file takes uint8 RGB images of the model's size, one per call, "
        "and gives keypoints (detectors: scores and boxes before NMS). A receipt compares it with the network.",
    )
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
    add(
        "--frame",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="make an app of both models, in any format: it takes frames of this size, uint8 RGB, and gives people: boxes, "
        "scores and keypoints",
    )
    add(
        "--people", type=int, metavar="N", help="with --frame: number of people that the app gives at most (default: 4)"
    )
    add(
        "--detect-every",
        type=int,
        metavar="N",
        help="with --frame: the app's method follow runs the detector in every Nth frame (default: 5)",
    )
    add("--output", metavar="FILE", help="default: NAME.pte, NAME.torchscript or NAME.onnx")
    add_overwrite(parser)
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
    add("--images", metavar="DIR", help="photos for int8's calibration and for the receipt (default: seeded noise)")
    add("--detector", metavar="NAME", help="finds the people in --images (default: each image is one person)")
    add("--detector-weights", metavar="FILE", help="weight file of that detector")
    add("--person-class", metavar="NAME", help="its class that is a person (default: person, or its only one)")
    add("--error-budget", type=float, metavar="E", help="how much int8 may change the outputs (default: the model's)")
