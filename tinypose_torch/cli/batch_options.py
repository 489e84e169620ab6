"""The options of `tinypose batch`."""

from __future__ import annotations

from typing import Any

from tinypose_torch.cli.network_options import add_boxes, add_networks, add_runtime
from tinypose_torch.utils import defaults


def add_batch(commands: Any) -> None:
    """Add the command to the parser of `tinypose`."""
    parser = commands.add_parser(
        "batch",
        help="find poses in very many images",
        description="Find the poses in very many images and videos. The result is a Parquet data set: a row per image or "
        "frame with its key, size, boxes, scores and keypoints, or the error of an image that cannot be used. The same "
        "command continues a run that was stopped.",
        epilog="Exit status: 0; 1 if a source matches nothing or an output cannot be written; 2 for wrong arguments or "
        "weights, or if a process was killed. Images that cannot be used are rows, not failures.",
    )
    add = parser.add_argument
    sources = (
        "image, video, folder, glob pattern, .txt with a source per line, .tar (WebDataset), .parquet or a folder of them, "
        "or an address that fsspec opens (s3://, gs://, hf://)"
    )
    add("sources", nargs="+", metavar="SOURCE", help=sources)
    add("--output", required=True, metavar="DATASET", help="folder of the data set")
    add(
        "--column", metavar="NAME", help="column of .parquet files with paths or images (default: path, image or bytes)"
    )
    add(
        "--workers",
        type=int,
        metavar="N",
        help="processes, or actors of Ray (default: one per core, or per GPU)",
    )
    address = "run on a Ray cluster: HOST:PORT, auto (this machine's, or else a new one) or local (a new one)"
    add("--ray", metavar="ADDRESS", help=address)
    size = "images, and people, per batch of the networks (default: %(default)s; GPUs are faster with more)"
    add("--batch-size", type=int, default=defaults.BATCH_SIZE, metavar="N", help=size)
    add("--track", action="store_true", help="follow the people of videos: ids, and steady keypoints")
    add_networks(parser)
    add_boxes(parser)
    backend = "what runs the networks (default: as for tinypose predict)"
    add_runtime(parser, backend, "threads of every process (default: cores / workers)")
    parser.set_defaults(detect_every=1, resize=None, uncertainty=False)
