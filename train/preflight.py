"""Checks of a configuration against the file system, before anything large is imported."""

from __future__ import annotations

import json
from pathlib import Path

from tinypose_torch.utils.atomic import replacing
from train.config import Config, ConfigError, flat_items

LAST = "last.ckpt"
WEIGHTS = "weights.safetensors"
RECEIPT = "receipt.json"
CONFIGURATION = "config.json"
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
        if path is not None and not Path(path).is_file():
            raise ConfigError(f"data.{key}: no annotation file {path!r}")
    for key in ("images", "val_images"):
        path = getattr(data, key)
        if path is not None and not Path(path).is_dir():
            raise ConfigError(f"data.{key}: no image folder {path!r}")
    for key, path in (("weights", config.weights), ("distillation.weights", config.distillation.weights)):
        if path is not None and Path(path).suffix and not Path(path).exists():
            raise ConfigError(f"{key}: no weight file {path!r}")


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
    begun = Config.model_validate_json((output / CONFIGURATION).read_text())
    changed = [
        f"{key}={old!r}, now {new!r}"
        for (key, old), (_, new) in zip(flat_items(begun), flat_items(config), strict=True)
        if old != new and key not in _MAY_CHANGE
    ]
    if changed:
        raise ConfigError(f"{output} was begun with another configuration: {'; '.join(changed)}")
    return last


def write_configuration(config: Config) -> None:
    """Write the configuration of a new run, with which a resumed run is compared."""
    with replacing(Path(config.output) / CONFIGURATION) as temporary:
        temporary.write_text(json.dumps(config.model_dump(mode="json"), indent=2) + "\n")
