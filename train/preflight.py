"""Checks of a configuration against the file system, before anything large is imported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tinypose_torch.utils.addresses import is_address
from tinypose_torch.utils.atomic import replacing
from tinypose_torch.utils.provenance import is_own_output
from train.config import Config, ConfigError, flat_items

LAST = "last.ckpt"
WEIGHTS = "weights.safetensors"
RECEIPT = "receipt.json"
CONFIGURATION = "config.json"
METRICS = "logs/metrics.csv"
CURVES = "curves.png"
PREDICTIONS = "predictions.png"
REPORT = "report.html"
SAMPLES = "samples.png"
RUN_FILES = {
    "checkpoint": LAST,
    "weights": WEIGHTS,
    "receipt": RECEIPT,
    "configuration": CONFIGURATION,
    "log": METRICS,
    "curves": CURVES,
    "predictions": PREDICTIONS,
    "report": REPORT,
}
CHECK_FILES = {"samples": SAMPLES}
CONFIGURATION_KEY = "configuration"  # in a checkpoint
_MAX_CHANGES = 5  # in a message
# Keys in which a resumed run may differ from the run that it continues.
_MAY_CHANGE = frozenset(
    (
        *("output", "resume", "epochs", "max_steps", "evaluate_every", "checkpoint_every", "flip_test"),
        *("accelerator", "compile", "data.images", "data.val", "data.val_images", "data.detections", "data.workers"),
    )
)


def check_inputs(config: Config) -> None:
    """Check that the configured files and folders exist.

    Raises:
        ConfigError: The training data are not named, or a file or folder does not exist.
    """
    data = config.data
    for key in ("train", "images"):
        if getattr(data, key) is None:
            raise ConfigError(f"data.{key} is missing: pass data.{key}=...")
    for key in ("train", "val", "detections", "truth"):
        path = getattr(data, key)
        if path is not None and not (Path(path).is_file() or Path(path).is_dir()):
            raise ConfigError(f"data.{key}: no annotation file {path!r}")
    for key in ("images", "val_images"):
        path = getattr(data, key)
        if path is not None and not Path(path).is_dir():
            raise ConfigError(f"data.{key}: no image folder {path!r}")
    for key, path in (("weights", config.weights), ("distillation.weights", config.distillation.weights)):
        if path is not None and not is_address(path) and Path(path).suffix and not Path(path).exists():
            raise ConfigError(f"{key}: no weight file {path!r}")


def check_output(config: Config, files: dict[str, str]) -> None:
    """Check that files of the output folder can be written, and that none is lost.

    A new run replaces the files of an earlier run that saved no weights, and no others.

    Args:
        files: Names of the files to write, by what they are: `RUN_FILES` or `CHECK_FILES`.

    Raises:
        ValueError: See `check_outputs`.
    """
    from tinypose_torch.utils.outputs import check_output_folder, check_outputs  # imports OpenCV

    output, data = Path(config.output), config.data
    check_output_folder("output", config.output)
    of_run = is_own_output(output / CONFIGURATION)  # the log itself has no mark
    outputs = {
        f"the {kind} of the run,": output / name for kind, name in files.items() if name != METRICS or not of_run
    }
    check_outputs(
        outputs,
        (data.train, data.val, data.detections, data.truth, config.weights, config.distillation.weights),
        overwrite=config.resume,
        remedy="choose another folder with output=..., or move it away",
    )


def find_checkpoint(config: Config) -> Path | None:
    """The checkpoint from which the run continues; ``None`` for a new run.

    Raises:
        ConfigError: ``resume`` without a checkpoint, a checkpoint without ``resume``, or a checkpoint of a run with
            another configuration.
    """
    output = Path(config.output)
    last = output / LAST
    if not last.is_file():
        if config.resume:
            raise ConfigError(f"resume=true: no {LAST} in {output}; check output=..., or leave out resume=true")
        return None
    if not config.resume:
        raise ConfigError(f"{output} holds a run already; resume=true continues it, output=... starts another one")
    try:
        content = json.loads((output / CONFIGURATION).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{output / CONFIGURATION}: cannot be read, and says how the run in {LAST} was begun "
            f"({' '.join(str(error).split())}); {restart(last)}"
        ) from None
    changes = describe_changes(content, config)
    if changes:
        raise ConfigError(f"{output} was begun with another configuration: {changes}")
    return last


def describe_changes(begun: Any, config: Config) -> str:
    """Keys of a run that differ from the configuration with which it was begun; empty if it may be continued.

    Args:
        begun: What `write_configuration` wrote.
    """
    try:
        before = dict(flat_items(Config.model_validate(begun)))
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        return f"{key}: {problem['msg'].lower()} (written by another version of this program?)"
    changed = [
        f"{key}={before[key]!r}, now {value!r}"
        for key, value in flat_items(config)
        if before[key] != value and key not in _MAY_CHANGE
    ]
    more = f"; {len(changed) - _MAX_CHANGES} more" if len(changed) > _MAX_CHANGES else ""
    return "; ".join(changed[:_MAX_CHANGES]) + more


def restart(checkpoint: Path) -> str:
    """What to do where a checkpoint cannot be continued: another checkpoint of the folder, its weights, or a new run."""
    others = [path for path in checkpoint.parent.glob("*.ckpt") if path != checkpoint and path.is_file()]
    if others:
        newest = max(others, key=lambda path: path.stat().st_mtime)
        return f"put {newest} in its place, or start anew with another output=..."
    weights = checkpoint.with_name(WEIGHTS)
    if weights.is_file():
        return f"start anew, from this run's weights with weights={weights}, with resume=false and another output=..."
    return "start anew with resume=false and another output=..."


def write_configuration(config: Config) -> None:
    """Write the configuration of a new run, with which a resumed run is compared."""
    with replacing(Path(config.output) / CONFIGURATION) as temporary:
        temporary.write_text(json.dumps(config.model_dump(mode="json"), indent=2) + "\n")
