"""The people of app files beside those of ``PoseEstimator(resize="portable")``, for every format, size and number of people.

    PYTHONPATH=. python benchmarks/app_answers.py --weights FOLDER --images PHOTOS

exports 18 apps, which takes half an hour, and prints a row for each. Photos are fitted into the frame; one frame without
people is added. The exit status is 1 if people are missing or extra, or if a box or a keypoint scored above 0.2 differs by
more than 0.01 pixel.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from itertools import product
from pathlib import Path

import numpy as np

from tinypose_torch import PoseEstimator, create_model, export_app
from tinypose_torch.checkpoints.files import find_weights
from tinypose_torch.estimators.app import letterbox
from tinypose_torch.export.app.receipt import compare_people
from tinypose_torch.runtime.app import open_app
from tinypose_torch.runtime.formats import find_export_format
from tinypose_torch.utils.images import map_images
from tinypose_torch.utils.table import format_table

SIZES = ((480, 640), (720, 1280))
SLOTS = (1, 4, 8)
FORMATS = ("torchscript", "onnx", "executorch")
LIMIT = 0.01  # pixels
HEADER = ("format", "frame", "people at most", "people", "missing or extra", "box, px", "keypoint, px", "keypoints")


def main() -> int:
    """Export, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, metavar="FOLDER", help="with weights of both networks")
    parser.add_argument("--images", required=True, metavar="PHOTOS", help="folder of photos of people")
    parser.add_argument("--detector", default="picodet_s_192_lcnet_pedestrian", metavar="NAME")
    parser.add_argument("--pose", default="tinypose_128x96", metavar="NAME")
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=FORMATS, metavar="NAME", help="only these")
    options = parser.parse_args()
    names = options.detector, options.pose
    files = [find_weights(options.weights, name) for name in names]
    estimator = PoseEstimator(*names, *files, resize="portable")
    rows, right = [], True
    for size in SIZES:
        frames = map_images(options.images, lambda image, size=size: letterbox(image, size).frame)
        frames.append(np.full((*size, 3), 114, np.uint8))
        expected = [estimator(frame) for frame in frames]
        for format_name, slots in product(options.format, SLOTS):
            detector, pose = (create_model(name, weights=file) for name, file in zip(names, files, strict=True))
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"app{find_export_format(format_name).suffix}"
                export_app(pose, detector, path, size, slots, format_name)
                found = compare_people(open_app(path), frames, expected)
            differences = found["box, pixels"], found["keypoint, pixels"]
            right &= found["people missing or extra"] == 0 and max(differences) <= LIMIT
            counts = [str(found[name]) for name in ("people", "people missing or extra")]
            shown = [f"{value:.2g}" for value in differences]
            frame_size = f"{size[1]}x{size[0]}"
            rows.append((format_name, frame_size, str(slots), *counts, *shown, str(found["keypoints compared"])))
            print(*rows[-1], file=sys.stderr, flush=True)
    print(format_table(HEADER, rows, right=range(2, 8)))
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
