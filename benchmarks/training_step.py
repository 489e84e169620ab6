"""Where a detector's training step spends its time: data, forward, assignment, losses, backward, optimizer.

    PYTHONPATH=. python benchmarks/training_step.py --annotations FILE --images DIR [--model NAME ...] [--batch N] [--steps N]

One process; medians, after two steps to warm up.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections import defaultdict
from typing import Any

import torch
from tqdm import tqdm

from tinypose_torch.losses import detection
from tinypose_torch.losses.assigners import Targets
from tinypose_torch.utils.table import format_table
from train.config import load_config
from train.detection import detection_job
from train.sampler import BatchSampler

PARTS = ("data", "forward", "assignment", "losses", "backward", "optimizer")
MODELS = ("picodet_s_192_lcnet_pedestrian", "picodet_s_320_lcnet_pedestrian", "picodet_s_192_pedestrian")


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", required=True)
    parser.add_argument("--images", required=True)
    parser.add_argument("--model", nargs="+", default=MODELS)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    rows = []
    for name in options.model:
        data = [
            f"data.train={options.annotations}",
            f"data.images={options.images}",
            "detection.sizes=[]",
            "weights=null",
        ]
        times = _time_steps(name, data, options.batch, options.steps)
        medians = [statistics.median(times[part]) * 1e3 for part in PARTS]
        total = sum(medians)
        rows.append((name, *(f"{value:.0f}" for value in medians), f"{100 * medians[2] / total:.1f} %"))
    headings = ("model", *(f"{part} ms" for part in PARTS), "assignment")
    print(format_table(headings, rows, right=range(1, len(headings))))


def _time_steps(name: str, data: list[str], batch_size: int, steps: int) -> dict[str, list[float]]:
    job = detection_job(load_config(name, data))
    network = job.network
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    times: dict[str, list[float]] = defaultdict(list)
    assigning = [0.0]
    for function in ("assign_atss", "assign_simota", "assign_task_aligned"):
        setattr(detection, function, _timed(getattr(detection, function), assigning))
    order = BatchSampler(job.count, batch_size, steps + 2, 0, seed=0)
    for places in tqdm(order, total=steps + 2, desc=name, unit="step", disable=None):
        clock = [time.perf_counter()]
        batch = job.collate([job.samples[place] for place in places])
        clock.append(time.perf_counter())
        levels = network(batch["image"])
        clock.append(time.perf_counter())
        assigning[0] = 0.0
        targets = Targets(batch["boxes"], batch["labels"], batch["valid"])
        if network.aligned:
            loss = detection.task_aligned_loss(levels, targets, use_atss=False)
        else:
            loss = detection.legacy_loss(levels, targets)
        clock.append(time.perf_counter())
        optimizer.zero_grad()
        loss.total.backward()
        clock.append(time.perf_counter())
        optimizer.step()
        clock.append(time.perf_counter())
        data_, forward, losses, backward, update = (after - before for before, after in itertools.pairwise(clock))
        parts = (data_, forward, assigning[0], losses - assigning[0], backward, update)
        for part, seconds in zip(PARTS, parts, strict=True):
            times[part].append(seconds)
    return {part: seconds[2:] for part, seconds in times.items()}


def _timed(function: Any, spent: list[float]) -> Any:
    def run(*arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        result = function(*arguments, **options)
        spent[0] += time.perf_counter() - started
        return result

    return run


if __name__ == "__main__":
    main()
