"""Write ``tests/reference`` from the whole set of recordings: ``python tests/make_recordings.py ../shared/reference``.

The tests' inputs and small arrays are kept whole. Large results become samples or digests, arrays that no test compares are
left out, and JSON is compressed. ``tests/reference/README.md`` describes the forms.
"""

from __future__ import annotations

import io
import json
import lzma
import sys
import zipfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from recordings import POSITIONS, RECORDINGS, block_means, digest, sampling_stride

FOLDERS = ("models", "postprocess", "transforms", "training", "evaluation")
# The arrays that the tests use, by file; all arrays of other files.
USED = {
    "postprocess/dark_decode.npz": (
        "*.heatmaps",
        "*.center",
        "*.scale",
        "*.maxvals",
        "*.coords_*",
        "*.well_conditioned",
    ),
    "postprocess/picodet_nms.npz": ("*_logit", "*.boxes_input_pixels", "*.nms.*", "*numpy_postprocess*"),
    "postprocess/ppyolo_decode.npz": ("head_raw.*", "object_logit*", "scores", "scale_factor", "boxes", "detections*"),
    "postprocess/fairmot_decode.npz": ("*map", "size_ltrb", "offset", "reid_raw", "case*", "wh_mode*"),
    "training/tinypose_*": ("joints_xyv", "target*", "cold64.*", "warm64.delta_step1.*", "grad64.*", "bn1_64.*"),
    "training/picodet_*": ("gt_bbox_*", "*_f64.grad*", "*_f64.delta_step[12].*", "ep0_f64.ema_applied.*"),
    "training/micro.npz": ("bn_*", "ema_threshold_*"),
    "deployment/tensors_192.npz": ("*_heatmaps", "*_det_raw_reg_*", "*_det_scores", "*_det_boxes_px"),
    "deployment/tensors_320.npz": ("*_det_scores", "*_det_boxes_px"),
    "transforms/picodet_reader_*": ("s?_in_*", "s?_crop_*", "s?_flip_*", "s?_distort_*", "s?_resize_*"),
}
# Read by the functions under test, from their path.
PLAIN_JSON = ("evaluation/coco_gt.json", "transforms/*_records_*.json")
UNUSED = ("*_stats_step*", "*_stats_after_forward", "*.case", "affine_mask*", "flip_mask*", "aug_rotate")
# Whole although large: the tests' inputs, and heatmaps of every size, whose keypoints are decoded.
WHOLE = {
    "models/*": ("act.*", "boxes_input_pixels", "decoded_*", "detections", "embeddings"),
    "models/fairmot*": ("size_ltrb", "offset"),
    "models/tinypose_128x96/*": ("heatmap", "heatmap_flip_shift"),
    "models/hrnet_w32_256x192/*": ("heatmap", "heatmap_flip_shift"),
    "models/hrnet_w32_256x256_mpii/*": ("heatmap",),
    "models/lite_hrnet_18_384x288_coco/*": ("heatmap",),
    "postprocess/*": ("*",),
    "training/other_losses.npz": ("hr.*", "yolo.*", "fm.*", "mse.*", "*@sub*"),
    "training/assigners_and_losses.npz": ("*",),
    "training/tinypose_*": ("*",),
    "transforms/topdown_*": ("*in_image",),
    "transforms/bottomup_*": ("in_image", "in_mask", "img?", "tagmap"),
    "transforms/eval_affine.npz": ("img?", "*_in_image"),
    "transforms/picodet_*": ("*in_image",),
    "evaluation/*": ("*",),
}


def main(arguments: list[str]) -> int:
    """Replace all recordings; returns the exit status."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    source = Path(arguments[0])
    for folder in FOLDERS:
        for path in sorted(path for path in (source / folder).rglob("*") if path.suffix in (".npz", ".json")):
            name = str(path.relative_to(source))
            (RECORDINGS / name).parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".json":
                write_json(json.loads(path.read_bytes()), name)
            else:
                with np.load(path) as arrays:
                    write_arrays({key: form for key in arrays for key, form in forms(name, key, arrays[key])}, name)
    write_deployment(source / "real/expected")
    return 0


def write_deployment(source: Path) -> None:
    """Write what the deployed pipeline found in photos: its answers, and of two photos the numbers on the way."""
    (RECORDINGS / "deployment").mkdir(exist_ok=True)
    pairs = {folder.name: sorted(folder.glob("*.json")) for folder in sorted(source.glob("picodet*"))}
    answers = {pair: [json.loads(path.read_bytes()) for path in paths] for pair, paths in pairs.items()}
    write_json(answers, "deployment/answers.json")
    for size in (192, 320):
        name = f"deployment/tensors_{size}.npz"
        with np.load(source / Path(name).name) as arrays:
            write_arrays({key: arrays[key] for key in arrays if matches(name, USED, key)}, name)


def matches(name: str, table: dict[str, tuple[str, ...]], key: str) -> bool | None:
    """Whether one of the patterns of a file's rows matches; None if the table has no row for the file."""
    rows = [patterns for pattern, patterns in table.items() if fnmatch(name, pattern)]
    return any(fnmatch(key, pattern) for patterns in rows for pattern in patterns) if rows else None


def forms(name: str, key: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The arrays that represent one array of a file: itself, a sample, a digest, or none."""
    if matches(name, USED, key) is False or any(fnmatch(key, pattern) for pattern in UNUSED):
        return []
    if array.size <= POSITIONS or array.dtype.kind not in "uf" or matches(name, WHOLE, key):
        return [(key, array)]
    if array.dtype == np.uint8:
        return [(f"{key}@sha256", digest(array))]
    stride = sampling_stride(array.size)
    sample = [(f"{key}@sub{stride}", array.reshape(-1)[::stride]), (f"{key}@means", block_means(array))]
    positive = [(f"{key}@positive", digest(array > 0))] if name.startswith("transforms/") else []
    return sample + positive


def write_arrays(arrays: dict[str, np.ndarray], name: str) -> None:
    """Write an ``.npz`` file. LZMA halves heatmaps; entries have no time, so that a second run gives the same file."""
    with zipfile.ZipFile(RECORDINGS / name, "w", zipfile.ZIP_LZMA) as archive:
        for key, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{key}.npy"), buffer.getvalue(), zipfile.ZIP_LZMA)


def write_json(content: Any, name: str) -> None:
    """Write a JSON file, compressed unless a function under test reads it."""
    text = json.dumps(content, separators=(",", ":")).encode()
    if any(fnmatch(name, pattern) for pattern in PLAIN_JSON):
        (RECORDINGS / name).write_bytes(text)
    else:
        (RECORDINGS / f"{name}.xz").write_bytes(lzma.compress(text))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
