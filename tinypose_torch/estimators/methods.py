"""Builds the way from images to poses of a network of each task."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tinypose_torch.codecs.calibration import KeypointCalibration
from tinypose_torch.estimators.arguments import EstimatorArguments, Weights
from tinypose_torch.estimators.base import PoseMethod
from tinypose_torch.estimators.bottom_up import BottomUp
from tinypose_torch.estimators.detection import PersonDetector
from tinypose_torch.estimators.top_down import TopDown
from tinypose_torch.models.config import BottomUpConfig, DetectorConfig, ModelConfig, TopDownConfig, of_task
from tinypose_torch.runtime import Runner
from tinypose_torch.utils import defaults
from tinypose_torch.utils.hints import command_line

Load = Callable[[str, Weights, Sequence[str], str], Runner]


def _named(config: ModelConfig) -> str:
    return f"{config.name}, {config.kind}"


def _build_top_down(runner: Runner, options: EstimatorArguments, load: Load) -> PoseMethod:
    options.refuse(("flip",), _named(runner.metadata.config))
    calibration = _calibration_of(runner) if options.uncertainty else None
    detector, resize = None, options.resize or defaults.RESIZES[0]
    if options.detector is not None:
        detection = load(options.detector, options.detector_weights, (DetectorConfig.task,), "detector=NAME")
        detector = PersonDetector(detection, options.detection_threshold, options.person_class, resize)
    return TopDown(
        runner,
        detector,
        crop=options.crop or defaults.CROP_RULES[0],
        decoding=options.decoding or "dark",
        batch_size=options.batch_size,
        resize=resize,
        calibration=calibration,
    )


def _calibration_of(runner: Runner) -> KeypointCalibration:
    """The calibration that the weights carry.

    Raises:
        ValueError: They carry none.
    """
    config = of_task(runner.metadata.config, TopDownConfig)
    if config.calibration is None and not runner.metadata.decodes:
        raise ValueError(
            f"uncertainty=True: the weights of {config.name} have no calibration; write them with one with: "
            + command_line("tinypose evaluate ... --calibrate FILE.safetensors")
        )
    return config.calibration or KeypointCalibration.uncalibrated(len(config.skeleton))


def _build_bottom_up(runner: Runner, options: EstimatorArguments, load: Load) -> PoseMethod:
    names = ("detector_weights", "detection_threshold", "person_class", "crop", "decoding", "resize", "uncertainty")
    given = options.detector not in (None, defaults.AUTO)
    options.refuse(("detector", *names) if given else names, _named(runner.metadata.config))
    return BottomUp(runner, flip=options.flip is not False)


_BUILD: dict[str, Callable[[Runner, EstimatorArguments, Load], PoseMethod]] = {
    TopDownConfig.task: _build_top_down,
    BottomUpConfig.task: _build_bottom_up,
}


def build_method(runner: Runner, options: EstimatorArguments, load: Load) -> PoseMethod:
    """The way from images to poses by the network of a runner.

    Args:
        load: Opens another network: its name, its weights, the tasks that it may have, and how messages call it.

    Raises:
        ValueError: Arguments that have no effect on the network; see `load_runner` for others.
    """
    return _BUILD[runner.metadata.config.task](runner, options, load)
