"""`tinypose evaluate --calibrate`: weights with a calibration of their uncertainty."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tinypose_torch.checkpoints.files import describe_changes, save_safetensors
from tinypose_torch.evaluation.calibration import KeypointErrors
from tinypose_torch.models.config import TopDownConfig, of_task
from tinypose_torch.runtime import EagerRunner, Runner
from tinypose_torch.utils.hints import print_next

SUFFIX = ".safetensors"


def check_calibrate(runner: Runner, path: str) -> EagerRunner:
    """The runner, if it holds weights that can be written.

    Raises:
        ValueError: It runs an exported file; or the file's name has another suffix.
    """
    if Path(path).suffix != SUFFIX:
        raise ValueError(f"--calibrate {path}; expected a name that ends in {SUFFIX}")
    if not isinstance(runner, EagerRunner):
        raise ValueError("--calibrate writes weights, which exported files do not hold; pass --weights of the network")
    return runner


def write_calibrated(runner: EagerRunner, errors: KeypointErrors, path: Path, images: str) -> None:
    """Write the weights with a calibration fitted to errors, and print how well it holds for others.

    Raises:
        ValueError: Too few keypoints have a label.
        OutputError: The file cannot be written.
    """
    config = dataclasses.replace(of_task(runner.metadata.config, TopDownConfig), calibration=errors.fit())
    error, coverage = errors.cross_validated()
    save_safetensors(runner.network, path, describe_changes(config))
    print(f"calibration: {len(errors.sides)} people, {errors.num_labelled} labelled keypoints")
    print(f"cross-validated: expected calibration error {error:.3f}, 90 % ellipses hold {100 * coverage:.1f} %")
    print(f"wrote {path}")
    print_next(["tinypose", "predict", images, "--pose-weights", str(path), "--uncertainty"])
