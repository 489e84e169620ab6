"""The rates of `tinypose batch`: ``PYTHONPATH=. python benchmarks/batch.py --images DIR [--weights DIR]``.

Every round measures each case once, on the same images, with processes that run already: a slow moment of the machine
hits all alike. "Networks alone" runs the networks on their recorded inputs, "decoding" reads the images. The last table
is a simulation: the rates of larger clusters follow from the measured CPU time, with all cores busy and no other limits
than the ones that are named.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm, trange

from tinypose_torch import PoseEstimator
from tinypose_torch.batch.sources import Item, find_items
from tinypose_torch.batch.worker import Task, Work, Worker
from tinypose_torch.export.cache import CacheError, can_export, fastest_form
from tinypose_torch.utils.images import load_image
from tinypose_torch.utils.processes import ProcessPool
from tinypose_torch.utils.table import format_table
from tinypose_torch.utils.threads import count_cores
from train.synthetic.scenes import render_scene

DETECTOR, POSE = "picodet_s_320_lcnet_pedestrian", "tinypose_256x192"
TASK = 25  # images
SIZES = (320, 480, 640, 960)  # longer sides of generated images
MACHINES, CORES, GIGABITS = (1, 8, 64), 16, (1, 10)
Numbers = dict[str, list[float]]


@dataclass(frozen=True)
class Build:
    """Makes an estimator in a process."""

    detector: str
    pose: str
    weights: tuple[str | None, str | None]
    threads: int

    def __call__(self, device: str | None = None) -> PoseEstimator:
        """The estimator."""
        return PoseEstimator(self.detector, self.pose, *self.weights, threads=self.threads)


def main() -> None:
    """Measure, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="folder of images")
    parser.add_argument(
        "--make", type=int, metavar="N", help="fill the folder with N images first, 1 %% of them broken"
    )
    parser.add_argument("--photos", help="with --make: folder of photos to resize, beside the rendered images")
    parser.add_argument("--weights", type=Path, help="folder with MODEL.pdparams (default: the official weights)")
    parser.add_argument("--detector", default=DETECTOR)
    parser.add_argument("--pose", default=POSE)
    parser.add_argument("--rounds", type=int, default=7, help="measured rounds (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=200, help="images per round and process (default: %(default)s)")
    options = parser.parse_args()
    if options.make:
        make_images(Path(options.images), options.make, options.photos)
    items = find_items([options.images])[0]
    items = [item for item in items if os.path.getsize(item.file) > 4096]  # not the broken ones
    random.Random(0).shuffle(items)
    items = items[: options.limit]
    build = make_build(options)
    rates, costs = measure(items, build, options.rounds)
    size = statistics.mean(os.path.getsize(item.file) for item in items)
    report(rates, costs, len(items), size, options)


def make_build(options: argparse.Namespace) -> Build:
    """The networks in their fastest form."""
    forms = []
    for name in (options.detector, options.pose):
        weights = str(options.weights / f"{name}.pdparams") if options.weights else None
        try:
            forms.append(str(fastest_form(name, weights, 1e6) or "") or None if can_export() else weights)
        except CacheError as error:
            print(f"{name} runs on eager: {error}")
            forms.append(weights)
    return Build(options.detector, options.pose, (forms[0], forms[1]), 1)


def measure(items: list[Item], build: Build, rounds: int) -> tuple[Numbers, Numbers]:
    """Images per second, and milliseconds of CPU time per image, of every case in every round but the first."""
    cores = count_cores()
    work = Work(build, "benchmark")
    cases: dict[str, tuple[Callable[[Any], Any], int]] = {
        "decoding, 1 process": (Decoding, 1),
        "networks alone, 1 process": (partial(Networks, build, items), 1),
        f"networks alone, {cores} processes": (partial(Networks, build, items), cores),
        "batch, 1 process": (work.start, 1),
        f"batch, {cores} processes": (work.start, cores),
    }
    pools = {name: ProcessPool(partial(Timed, start), workers) for name, (start, workers) in cases.items()}
    rates: dict[str, list[float]] = defaultdict(list)
    costs: dict[str, list[float]] = defaultdict(list)
    tasks = [(index, items[start : start + TASK]) for index, start in enumerate(range(0, len(items), TASK))]
    for number in trange(rounds + 1, unit="round", disable=None):
        for name, pool in pools.items():
            started = time.perf_counter()
            seconds = sum(pool.run(tasks))
            if number:
                rates[name].append(len(items) / (time.perf_counter() - started))
                costs[name].append(1e3 * seconds / len(items))
    for pool in pools.values():
        pool.__exit__(None)
    return rates, costs


class Timed:
    """A worker of which only the CPU time is told, in seconds of all threads of its process."""

    def __init__(self, start: Callable[[str | None], Callable[[Any], Any]], device: str | None = None) -> None:
        self.worker = start(device)

    def __call__(self, task: Task) -> float:
        """Work; returns the CPU time."""
        started = time.process_time()
        self.worker(task)
        return time.process_time() - started


class Decoding:
    """Reads the images of tasks."""

    def __init__(self, device: str | None = None) -> None:
        pass

    def __call__(self, task: Task) -> None:
        """Read the images."""
        for item in task[1]:
            item.load()


class Networks:
    """Runs the networks on what they were given for the images of tasks."""

    def __init__(self, build: Build, items: Sequence[Item], device: str | None = None) -> None:
        estimator = build()
        self.inputs: dict[str, list[tuple[Any, np.ndarray]]] = {}
        recorded: list[tuple[Any, np.ndarray]] = []
        method = estimator._method
        for owner in (method, estimator.detector):
            owner.runner = Recorder(owner.runner, recorded)  # type: ignore[union-attr,assignment]
        worker = Worker(Work(build, ""), estimator)
        for index, start in enumerate(range(0, len(items), TASK)):
            recorded.clear()
            worker((index, list(items[start : start + TASK])))
            self.inputs[items[start].key] = recorded.copy()

    def __call__(self, task: Task) -> None:
        """Run the networks."""
        for runner, images in self.inputs[task[1][0].key]:
            runner(images)


class Recorder:
    """A network that keeps its inputs."""

    def __init__(self, runner: Any, recorded: list[tuple[Any, np.ndarray]]) -> None:
        self.runner, self.recorded = runner, recorded

    def __getattr__(self, name: str) -> Any:
        return getattr(self.runner, name)

    def __call__(self, images: np.ndarray) -> Any:
        """Run the network."""
        self.recorded.append((self.runner, images))
        return self.runner(images)


def report(rates: Numbers, costs: Numbers, count: int, size: float, options: argparse.Namespace) -> None:
    """Print the tables."""
    cores = count_cores()
    print(
        f"{options.detector} and {options.pose}; {count} images of {size / 1e3:.0f} kB; {platform.machine()}, "
        f"{cores} cores; medians of {options.rounds} rounds\n"
    )
    rows = [
        (name, f"{statistics.median(values):.1f}", f"{statistics.median(costs[name]):.1f}")
        for name, values in rates.items()
    ]
    print(format_table(("case", "images/s", "CPU ms per image"), rows, right=(1, 2)))
    whole, alone = f"batch, {cores} processes", f"networks alone, {cores} processes"
    print(f"\n{cores} processes to one, images/s: {ratio(rates[whole], rates['batch, 1 process'])}")
    print(f"batch to networks alone, images/s: {ratio(rates[whole], rates[alone])}")
    print(f"networks alone to batch, CPU time: {ratio(costs[alone], costs[whole])}\n")
    simulate(1e3 / statistics.median(costs[whole]), size)


def ratio(ones: list[float], others: list[float]) -> str:
    """The median of a ratio in the same round, and its extremes."""
    values = [one / other for one, other in zip(ones, others, strict=True)]
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def simulate(rate: float, size: float) -> None:
    """Print what larger clusters would do: as many times the rate of a core, up to what the storage's network brings.

    Args:
        rate: Images per second and core.
        size: Bytes per image.
    """
    rows = []
    for machines in MACHINES:
        cpu = machines * CORES * rate
        limits = [min(cpu, gigabits * 1e9 / 8 / size) for gigabits in GIGABITS]
        needed = cpu * size * 8 / 1e9
        rows.append(
            (str(machines), str(machines * CORES), f"{cpu:.0f}", f"{needed:.2f}", *(f"{value:.0f}" for value in limits))
        )
    header = ("machines", "cores", "images/s", "Gbit/s needed", *(f"at {gigabits} Gbit/s" for gigabits in GIGABITS))
    print(f"Simulated: {rate:.1f} images per second and core, machines of {CORES} cores\n")
    print(format_table(header, rows, right=range(len(header))))


def make_images(folder: Path, count: int, photos: str | None) -> None:
    """Fill a folder with rendered images and resized photos, of which 1 % are empty or cut short."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    sources = [load_image(item.file) for item in find_items([photos])[0]] if photos else []
    sources += [render_scene(np.random.default_rng([7, number]))[0] for number in range(max(12, count // 100))]
    for number in tqdm(range(count), unit="image", disable=None):
        image = Image.fromarray(sources[number % len(sources)])
        longer = int(rng.choice(SIZES)) + int(rng.integers(-16, 17))
        size = [max(1, round(side * longer / max(image.size))) for side in image.size]
        path = folder / f"{number:06}.jpg"
        image.rotate(float(rng.uniform(-5, 5))).resize(size).save(path, quality=int(rng.integers(75, 96)))
        if number % 100 == 50:
            path.write_bytes(path.read_bytes()[: 1000 * (number // 100 % 2)])


if __name__ == "__main__":
    main()
