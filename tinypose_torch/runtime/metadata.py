"""What an exported file says of itself, so that a runtime needs nothing else."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tinypose_torch.checkpoints.descriptions import (
    check_class_names,
    check_count,
    check_flag,
    check_input_size,
    check_mapping,
    check_number,
    check_settings,
    check_skeleton,
    check_text,
    check_triple,
    parse_description,
    required,
)
from tinypose_torch.checkpoints.errors import CheckpointError, plain, shown
from tinypose_torch.checkpoints.limits import MAX_BATCH, MAX_METHODS, MAX_PEOPLE
from tinypose_torch.codecs.associative_embedding import GroupingConfig
from tinypose_torch.models.config import BottomUpConfig, DetectorConfig, KeypointConfig, ModelConfig, TopDownConfig
from tinypose_torch.models.registry import UnknownModelError, get_config
from tinypose_torch.utils.hints import command_line

FORMAT = "tinypose-torch export 1"
APP_KEY = "app"  # of descriptions of app files; see `tinypose_torch.runtime.app_metadata`
_GROUPING_KEYS = {"max_people": "most_people", "score_threshold": "heat_threshold", "tag_threshold": "tag_threshold"}


@dataclasses.dataclass(frozen=True)
class ExportMetadata:
    """Description of an exported file.

    Attributes:
        config: The model's config as it was exported.
        takes_images: uint8 ``(N, H, W, 3)`` RGB in; else normalised float32 ``(N, 3, H, W)``.
        decodes: Keypoints ``(N, K, 3)`` in input pixels out; else heatmaps. Bottom-up networks give heatmaps and tags,
            detectors scores and boxes.
        batch: Images per call; ``None`` for any number.
        precision: ``"fp32"``, ``"fp16"`` or ``"int8"``.
        versions: Of the packages that made the file.
    """

    config: ModelConfig
    takes_images: bool
    decodes: bool
    batch: int | None
    precision: str
    versions: dict[str, str]

    def to_json(self) -> str:
        """The description as JSON; readable for other programs too."""
        config = self.config
        facts: dict[str, Any] = {
            "format": FORMAT,
            "model": config.name,
            "task": config.task,
            "input": {
                "kind": "uint8 NHWC RGB" if self.takes_images else "float32 NCHW RGB, normalised",
                "size": list(config.input_size),
                "batch": self.batch,
                "mean": list(config.mean),
                "std": list(config.std),
            },
            "precision": self.precision,
            "versions": self.versions,
        }
        return json.dumps(facts | _DESCRIBE[config.task](config, self.decodes))

    @classmethod
    def from_json(cls, text: str) -> ExportMetadata:
        """The inverse of `to_json`.

        Raises:
            CheckpointError: Not such a description, or one of another version.
        """
        with readable():
            facts = parse_description(text)
        _refuse_app(facts)
        check_format(facts)
        with readable():
            return cls._from_facts(facts)

    @classmethod
    def _from_facts(cls, facts: dict[str, Any]) -> ExportMetadata:
        given = check_mapping(required(facts, "input"), "input")
        official = get_config(check_text(required(facts, "model"), "model"))
        config = dataclasses.replace(
            official,
            input_size=check_input_size(required(given, "size")),
            mean=check_triple(required(given, "mean"), "mean", -1e6),
            std=check_triple(required(given, "std"), "std", 1e-6),
            **_task_facts(facts, official),
        )
        batch = required(given, "batch")
        versions = check_mapping(required(facts, "versions"), "versions")
        return cls(
            config,
            takes_images=check_text(required(given, "kind"), "input kind").startswith("uint8"),
            decodes=check_flag(facts.get("decodes", False), "decodes"),
            batch=None if batch is None else check_count(batch, "batch", 1, MAX_BATCH),
            precision=check_text(required(facts, "precision"), "precision"),
            versions={check_text(name, "package"): check_text(text, "version") for name, text in versions.items()},
        )


def describe_methods(methods: dict[str, ExportMetadata]) -> str:
    """The description of a file with one network per method."""
    facts = {name: json.loads(metadata.to_json()) for name, metadata in methods.items()}
    return json.dumps({"format": FORMAT, "methods": facts})


def read_methods(text: str) -> dict[str, ExportMetadata]:
    """The inverse of `describe_methods`.

    Raises:
        CheckpointError: Not such a description, or one of another version.
    """
    with readable():
        facts = parse_description(text)
    _refuse_app(facts)
    with readable():
        methods = check_mapping(required(facts, "methods"), "methods")
        if not methods:
            raise CheckpointError("no methods")
        if len(methods) > MAX_METHODS:
            raise CheckpointError(f"{len(methods)} methods; at most {MAX_METHODS} are accepted")
    return {name: ExportMetadata.from_json(json.dumps(facts)) for name, facts in methods.items()}


def check_format(facts: dict[str, Any]) -> None:
    """Refuse a description of another version.

    Raises:
        CheckpointError: It is one, or does not say.
    """
    with readable():
        version = required(facts, "format")
    if version != FORMAT:
        raise CheckpointError(f"was made for {shown(version)}; this program reads {FORMAT!r}. Export it again")


def _refuse_app(facts: dict[str, Any]) -> None:
    if APP_KEY in facts:
        predict = command_line("tinypose predict PHOTO --app FILE")
        raise CheckpointError(f"holds an app, not a network; run it with: {predict}")


@contextmanager
def readable() -> Iterator[None]:
    """Errors in a description say that they are about the description."""
    try:
        yield
    except (CheckpointError, UnknownModelError) as error:
        raise CheckpointError(f"carries no description that can be read ({plain(error, 1000)})") from None


def _task_facts(facts: dict[str, Any], official: ModelConfig) -> dict[str, Any]:
    """What a description says beside the input, of the model's task."""
    if required(facts, "task") != official.task:
        raise CheckpointError(f"task {shown(facts['task'])}; {official.name} is for {official.task}")
    return _READ[official.task](facts, official)


def _describe_keypoints(config: KeypointConfig) -> dict[str, Any]:
    return {"keypoint_threshold": config.keypoint_threshold, "skeleton": dataclasses.asdict(config.skeleton)}


def _describe_top_down(config: TopDownConfig, decodes: bool) -> dict[str, Any]:
    heatmaps = f"heatmaps, stride {config.heatmap_stride}"
    output = "keypoints: x, y (input pixels), score" if decodes else heatmaps
    return {"output": output, "decodes": decodes, **_describe_keypoints(config)}


def _describe_bottom_up(config: BottomUpConfig, decodes: bool) -> dict[str, Any]:
    output = "heatmaps and tags, stride 2, to be grouped"
    grouping = {key: getattr(config.grouping, name) for name, key in _GROUPING_KEYS.items()}
    return {"output": output, **_describe_keypoints(config), "grouping": grouping}


def _describe_detector(config: DetectorConfig, decodes: bool) -> dict[str, Any]:
    output = "scores (N, A, C); boxes (N, A, 4), input pixels, before NMS"
    return {
        "output": output + ("; embeddings (N, A, 128)" if config.embeddings else ""),
        "letterbox": config.letterbox,
        "class_names": list(config.class_names),
        "person_class": config.person_class,
        "person_threshold": config.person_threshold,
        "suppression": dataclasses.asdict(config.nms),
    }


def _read_keypoints(facts: dict[str, Any], official: ModelConfig) -> dict[str, Any]:
    return {
        "skeleton": check_skeleton(required(facts, "skeleton")),
        "keypoint_threshold": check_number(required(facts, "keypoint_threshold"), "keypoint_threshold"),
    }


def _read_bottom_up(facts: dict[str, Any], official: ModelConfig) -> dict[str, Any]:
    shared = _read_keypoints(facts, official)
    names = {key: name for name, key in _GROUPING_KEYS.items()}
    settings = check_mapping(required(facts, "grouping"), "grouping")
    grouping = check_settings(
        GroupingConfig, {names.get(key, key): value for key, value in settings.items()}, "grouping"
    )
    check_count(grouping.max_people, "grouping.most_people", 1, MAX_PEOPLE)
    return {**shared, "grouping": grouping}


def _read_detector(facts: dict[str, Any], official: DetectorConfig) -> dict[str, Any]:
    names, person = check_class_names(required(facts, "class_names")), required(facts, "person_class")
    return {
        "class_names": names,
        "person_class": None if person is None else check_count(person, "person_class", 0, len(names) - 1),
        "person_threshold": check_number(required(facts, "person_threshold"), "person_threshold"),
        "nms": check_settings(type(official.nms), required(facts, "suppression"), "suppression"),
    }


_DESCRIBE: dict[str, Callable[[Any, bool], dict[str, Any]]] = {
    "pose": _describe_top_down,
    "bottom-up pose": _describe_bottom_up,
    "detection": _describe_detector,
}
_READ: dict[str, Callable[[dict[str, Any], Any], dict[str, Any]]] = {
    "pose": _read_keypoints,
    "bottom-up pose": _read_bottom_up,
    "detection": _read_detector,
}
