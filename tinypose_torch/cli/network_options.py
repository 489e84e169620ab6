"""The options of networks that commands share: names and weights, what becomes of boxes, and what runs the networks."""

from __future__ import annotations

import argparse

from tinypose_torch.utils import defaults
from tinypose_torch.utils.hints import command_line


def add_networks(parser: argparse.ArgumentParser) -> None:
    """Add the names and weights of detector and pose network."""
    named_by = "default: the model that the weights name; without weights"
    weights = (
        ".pdparams, .safetensors, .pt, a deployed Paddle model (folder, .tar, .zip), an exported file, or a release of "
        f"the official weights, which {command_line('tinypose models')} lists (default: the newest release); or a model of "
        "the Hugging Face Hub, hf-hub:OWNER/NAME"
    )
    add = parser.add_argument
    add(
        "--detector",
        metavar="NAME",
        help=f"person detector ({named_by} {defaults.DETECTOR}); none: the whole image is one person's box",
    )
    add("--pose", default=defaults.AUTO, metavar="NAME", help=f"pose network ({named_by} {defaults.POSE})")
    add("--detector-weights", metavar="FILE", help=f"weights of the detector: {weights}")
    add("--pose-weights", metavar="FILE", help="the same for the pose network")


def add_boxes(parser: argparse.ArgumentParser) -> None:
    """Add which boxes of the detector get poses, and how they are cropped."""
    add = parser.add_argument
    threshold = "minimum score of a person (default: the detector's, 0.5)"
    add("--detection-threshold", type=float, metavar="S", help=threshold)
    add_person_class(parser, "class whose boxes get poses")
    add("--crop", choices=defaults.CROP_RULES, help=f"how persons are cut out (default: {defaults.CROP_RULES[0]})")


def add_person_class(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Add the name of the detector's class that is a person."""
    text = f"{meaning} (default: person, or the detector's only one)"
    parser.add_argument("--person-class", metavar="NAME", help=text)


def add_runtime(parser: argparse.ArgumentParser, backend: str, threads: str) -> None:
    """Add backend, threads and device.

    Args:
        backend, threads: Help texts of the two options, which name the command's default.
    """
    parser.add_argument("--backend", metavar="NAME", help=backend)
    parser.add_argument("--threads", type=int, metavar="N", help=threads)
    add_device(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the device that networks run on."""
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps (default: %(default)s)")
