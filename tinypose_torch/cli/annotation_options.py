"""The options of `tinypose convert-annotations`, `tinypose prelabel` and `tinypose suggest`."""

from __future__ import annotations

from typing import Any

from tinypose_torch.cli.network_options import add_device, add_networks
from tinypose_torch.utils import defaults
from tinypose_torch.utils.arguments import add_overwrite

_TO = "format to write: coco, yolo (a folder), cvat, label_studio, or one of a plug-in"
_OUTPUT = "file to write; for yolo a folder"


def add_annotation_commands(commands: Any) -> None:
    """Add the commands to the parser of `tinypose`."""
    _add_convert(commands)
    _add_prelabel(commands)
    _add_suggest(commands)


def _add_convert(commands: Any) -> None:
    parser = commands.add_parser(
        "convert-annotations",
        help="convert keypoint annotations between formats",
        description="Read keypoint annotations of one format and write them in another one. Prints what the other format "
        "cannot express. Training and evaluation read all formats directly.",
    )
    add = parser.add_argument
    add("input", metavar="IN", help="annotation file; of yolo the folder of labels")
    add("--images", metavar="DIR", help="folder of the images, for formats without image sizes (yolo, ai_challenger)")
    add("--from", dest="source_format", metavar="NAME", help="format of IN (default: recognised)")
    add("--to", dest="target_format", required=True, metavar="NAME", help=_TO)
    add("--output", required=True, metavar="OUT", help=_OUTPUT)
    add_overwrite(parser)


def _add_prelabel(commands: Any) -> None:
    parser = commands.add_parser(
        "prelabel",
        help="predict annotations for people to correct",
        description="Predict the poses in images and write them as annotations that an annotation tool imports. What people "
        "correct there is training data: python -m train reads all formats.",
        epilog="Exit status: 0; 1 if some images cannot be used (they are listed); 2 for wrong arguments or weights.",
    )
    _add_common(parser)


def _add_suggest(commands: Any) -> None:
    parser = commands.add_parser(
        "suggest",
        help="choose the images whose labels would help most",
        description="Predict the poses in images, choose those images about which the network is uncertain and that differ "
        "from each other, and write their predicted annotations to correct, most useful first.",
        epilog="Exit status: 0; 1 if some images cannot be used (they are listed); 2 for wrong arguments or weights.",
    )
    add = parser.add_argument
    add("--number", type=int, default=50, metavar="N", help="images to choose at most (default: %(default)s)")
    add(
        "--labelled",
        metavar="FILE",
        help="annotations of any format: their images are not chosen, and the chosen ones differ from them",
    )
    _add_common(parser)


def _add_common(parser: Any) -> None:
    """The options of both commands that predict annotations."""
    add = parser.add_argument
    add("images", metavar="IMAGES", help="folder of the images")
    add("--to", dest="target_format", default="coco", metavar="NAME", help=f"{_TO} (default: %(default)s)")
    add("--output", required=True, metavar="OUT", help=_OUTPUT)
    add_overwrite(parser)
    add_networks(parser)
    add("--app", metavar="FILE", help="app file of export --frame, in place of detector and pose network")
    add(
        "--keypoint-threshold",
        type=float,
        default=defaults.VISIBLE,
        metavar="S",
        help="minimum score of a keypoint that is labelled (default: %(default)s)",
    )
    add_device(parser)
