"""What a training sample costs beside the decoding of its JPEG: CPU time of one thread, interleaved.

    PYTHONPATH=. python benchmarks/loading.py --images DIR [--model NAME] [--rounds N]

Every photo of the folder is a sample with a made-up person in its middle and every augmentation on, and all of them are
a batch: from files to the tensors that a network is trained on, by the calls that a data loader makes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import trange

from tinypose_torch.data.pose.annotations import PoseAnnotation
from tinypose_torch.data.pose.dataset import PoseCollate, PoseDataset
from tinypose_torch.data.pose.sample import PoseSample
from tinypose_torch.geometry.crops import center_and_scale
from tinypose_torch.models.config import TopDownConfig, of_task
from tinypose_torch.models.registry import get_config
from tinypose_torch.utils.images import find_inputs
from tinypose_torch.utils.table import format_table
from train.config import Augmentation
from train.pose import build_transform

WARM_UP = 3  # rounds


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True)
    parser.add_argument("--model", nargs="+", default=["tinypose_128x96", "tinypose_256x192"])
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    files = [Path(file) for file in find_inputs([options.images])[0]]
    always = Augmentation(half_body=1, rotation_probability=1, flip=1, dropping_probability=1)
    rows = []
    for name in options.model:
        config = of_task(get_config(name), TopDownConfig)
        records = [_record(file, config) for file in files]
        dataset = PoseDataset(records, files[0].parent, config, build_transform(always, config))
        collate = PoseCollate(config)
        decoding, loading = [], []
        for epoch in trange(options.rounds + WARM_UP, desc=name, unit="round", disable=None):
            started = time.process_time()
            for file in files:
                cv2.imread(str(file))
            decoded = time.process_time()
            collate([dataset[epoch, index] for index in range(len(files))])
            loaded = time.process_time()
            decoding.append((decoded - started) * 1e3 / len(files))
            loading.append((loaded - decoded) * 1e3 / len(files))
        decoding, loading = decoding[WARM_UP:], loading[WARM_UP:]
        ratios = sorted(whole / alone for whole, alone in zip(loading, decoding, strict=True))
        tenth = len(ratios) // 10
        rows.append(
            (
                name,
                f"{statistics.median(decoding):.2f}",
                f"{statistics.median(loading):.2f}",
                f"{statistics.median(ratios):.2f}",
                f"{ratios[tenth]:.2f} to {ratios[-1 - tenth]:.2f}",
            )
        )
    print(format_table(("model", "decoding ms", "sample ms", "ratio", "four of five batches"), rows, right=range(1, 5)))


def _record(file: Path, config: TopDownConfig) -> PoseAnnotation:
    """A person in the middle, half as large as the photo, all keypoints labelled."""
    image = cv2.imread(str(file))
    assert image is not None
    height, width = image.shape[:2]
    box = np.array([width * 0.25, height * 0.25, width * 0.75, height * 0.75])
    centers, scales = center_and_scale(box[None], config.input_size)
    generator = np.random.default_rng(0)
    joints = generator.uniform(box[:2], box[2:], (len(config.skeleton), 2)).astype(np.float32)
    person = PoseSample(joints, np.ones(len(joints), np.float32), centers[0], scales[0])
    return PoseAnnotation(file.name, 0, person, box)


if __name__ == "__main__":
    main()
