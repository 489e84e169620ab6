"""What a finished run tells the user: accuracy, pictures, and the commands that use the weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinypose_torch.models.config import ModelConfig, config_of
from tinypose_torch.models.registry import get_config
from tinypose_torch.utils.hints import print_next
from train.config import Config
from train.curves import draw_curves
from train.lightning_module import Job
from train.live_report import write_run_report
from train.predictions import draw_predictions, first_image
from train.trainer import Run


def print_report(run: Run, receipt: dict[str, Any]) -> None:
    """Print accuracy, files and commands, and draw the pictures."""
    accuracy, config = receipt["accuracy"], run.config
    if accuracy:
        numbers = "  ".join(f"{name} {value:.3f}" for name, value in accuracy.items() if name != "step")
        print(f"best evaluation, after step {accuracy['step']}: {numbers}")
    print(f"wrote {run.weights}")
    commands = next_commands(config, run.job, run.weights)
    draw_pictures(run, receipt, commands[0] if config.data.val is not None else None)
    print_next(*commands)


def draw_pictures(run: Run, receipt: dict[str, Any], evaluate: list[str] | None) -> None:
    """Draw the run's curves and some predictions into its folder, and write its report.

    Args:
        evaluate: See `write_run_report`.
    """
    config, device = run.config, str(run.trainer.strategy.root_device)
    _draw("picture of the curves", lambda: draw_curves(Path(config.output), run.training.metric))
    _draw("picture of the predictions", lambda: draw_predictions(config, run.job, run.weights, device))
    _draw("report", lambda: write_run_report(run, receipt, evaluate))


def _draw(name: str, draw: Callable[[], Path]) -> None:
    """Draw a picture; the weights are worth more, so that no error there ends the run."""
    try:
        print(f"wrote {draw()}", flush=True)
    except Exception as error:
        print(f"no {name}: {error}")


def next_commands(config: Config, job: Job, weights: Path) -> list[list[str]]:
    """Commands that evaluate, export and run the weights."""
    data, name = config.data, config.model
    option = get_config(name).option
    commands = []
    if data.val is not None:
        words = ["tinypose", "evaluate", f"--{option}", name, "--weights", str(weights), "--annotations", data.val]
        words += ["--images", str(data.val_images or data.images), *_evaluation_options(config)]
        commands.append(words)
    exported = weights.with_name(f"{name}.pte")
    commands.append(["tinypose", "export", name, "--weights", str(weights), "--output", str(exported)])
    words = ["tinypose", "predict", str(first_image(job)), f"--{option}", name, f"--{option}-weights", str(weights)]
    commands.append(words + _class_options(config_of(job.network)))
    return commands


def _class_options(entry: ModelConfig) -> list[str]:
    """Options with which `tinypose predict` finds the boxes of a detector with several classes but no ``person``."""
    if not entry.gives_boxes or "person" in entry.head_names or len(entry.head_names) == 1:
        return []
    return ["--person-class", entry.head_names[0]]


def _evaluation_options(config: Config) -> list[str]:
    """Options with which `tinypose evaluate` measures as the run did."""
    data = config.data
    options = ["--flip"] if config.flip_test else []
    for key, value in (("--format", data.format), ("--detections", data.detections), ("--truth", data.truth)):
        options += [key, value] if value is not None else []
    if data.sigmas is not None:
        options += ["--sigmas", *map(str, data.sigmas)]
    return options
