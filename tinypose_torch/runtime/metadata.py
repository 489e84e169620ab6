"""What an exported file says of itself, so that a runtime needs nothing else."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from tinypose_torch.checkpoints.catalogue import get_entry
from tinypose_torch.checkpoints.entries import BottomUpEntry, DetectorEntry, Entry, PoseEntry
from tinypose_torch.checkpoints.errors import CheckpointError
from tinypose_torch.geometry.grouping import Grouping
from tinypose_torch.geometry.skeletons import Skeleton

FORMAT = "tinypose-torch export 1"


@dataclasses.dataclass(frozen=True)
class ExportMetadata:
    """Description of an exported file.

    Attributes:
        entry: The model's catalogue entry as it was exported.
        takes_images: uint8 ``(N, H, W, 3)`` RGB in; else normalised float32 ``(N, 3, H, W)``.
        decodes: Keypoints ``(N, K, 3)`` in input pixels out; else heatmaps. Bottom-up networks give heatmaps and tags,
            detectors scores and boxes.
        batch: Images per call; ``None`` for any number.
        precision: ``"fp32"``, ``"fp16"`` or ``"int8"``.
        versions: Of the packages that made the file.
    """

    entry: Entry
    takes_images: bool
    decodes: bool
    batch: int | None
    precision: str
    versions: dict[str, str]

    def to_json(self) -> str:
        """The description as JSON; readable for other programs too."""
        entry = self.entry
        facts: dict[str, Any] = {
            "format": FORMAT,
            "model": entry.name,
            "task": entry.task,
            "input": {
                "kind": "uint8 NHWC RGB" if self.takes_images else "float32 NCHW RGB, normalised",
                "size": list(entry.input_size),
                "batch": self.batch,
                "mean": list(entry.mean),
                "std": list(entry.std),
            },
            "precision": self.precision,
            "versions": self.versions,
        }
        if isinstance(entry, PoseEntry):
            facts["output"] = "keypoints: x, y (input pixels), score" if self.decodes else "heatmaps, stride 4"
            facts["decodes"] = self.decodes
            facts["keypoint_threshold"] = entry.keypoint_threshold
            facts["skeleton"] = dataclasses.asdict(entry.skeleton)
        elif isinstance(entry, BottomUpEntry):
            facts["output"] = "heatmaps and tags, stride 2, to be grouped"
            facts["keypoint_threshold"] = entry.keypoint_threshold
            facts["skeleton"] = dataclasses.asdict(entry.skeleton)
            facts["grouping"] = dataclasses.asdict(entry.grouping)
        elif isinstance(entry, DetectorEntry):
            facts["output"] = "scores (N, A, C); boxes (N, A, 4), input pixels, before suppression"
            if entry.appearances:
                facts["output"] += "; appearances (N, A, 128)"
            facts["letterbox"] = entry.letterbox
            facts["class_names"] = list(entry.class_names)
            facts["person_class"] = entry.person_class
            facts["person_threshold"] = entry.person_threshold
            facts["suppression"] = dataclasses.asdict(entry.suppression)
        return json.dumps(facts)

    @classmethod
    def from_json(cls, text: str) -> ExportMetadata:
        """The inverse of `to_json`.

        Raises:
            CheckpointError: Not such a description, or one of another version.
        """
        try:
            facts = json.loads(text)
            if facts["format"] != FORMAT:
                raise CheckpointError(f"was made for {facts['format']!r}; this is {FORMAT!r}. Export it again")
            entry = dataclasses.replace(
                get_entry(facts["model"]),
                input_size=tuple(facts["input"]["size"]),
                mean=tuple(facts["input"]["mean"]),
                std=tuple(facts["input"]["std"]),
                **_task_facts(facts),
            )
            images = facts["input"]["kind"].startswith("uint8")
            batch = facts["input"]["batch"]
            return cls(entry, images, facts.get("decodes", False), batch, facts["precision"], facts["versions"])
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(
                f"carries no description that can be read ({type(error).__name__}: {error})"
            ) from None


def describe_methods(methods: dict[str, ExportMetadata]) -> str:
    """The description of a file with one network per method."""
    facts = {name: json.loads(metadata.to_json()) for name, metadata in methods.items()}
    return json.dumps({"format": FORMAT, "methods": facts})


def read_methods(text: str) -> dict[str, ExportMetadata]:
    """The inverse of `describe_methods`.

    Raises:
        CheckpointError: Not such a description, or one of another version.
    """
    try:
        methods = json.loads(text)["methods"].items()
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise CheckpointError(f"carries no description that can be read ({type(error).__name__}: {error})") from None
    if not methods:
        raise CheckpointError("carries no description that can be read (no methods)")
    return {str(name): ExportMetadata.from_json(json.dumps(facts)) for name, facts in methods}


def _task_facts(facts: dict[str, Any]) -> dict[str, Any]:
    if facts["task"] != "detection":
        shared = {"skeleton": Skeleton.from_json(facts["skeleton"]), "keypoint_threshold": facts["keypoint_threshold"]}
        return shared if facts["task"] == "pose" else {**shared, "grouping": Grouping(**facts["grouping"])}
    official = get_entry(facts["model"])
    assert isinstance(official, DetectorEntry)
    return {
        "class_names": tuple(facts["class_names"]),
        "person_class": facts["person_class"],
        "person_threshold": facts["person_threshold"],
        "suppression": type(official.suppression)(**facts["suppression"]),
    }
