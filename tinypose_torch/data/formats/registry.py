"""The registry of annotation formats: how a file is recognised and read.

Every format is read as the content of a COCO file, from which all tasks take their samples. Others register theirs with
`register_annotation_format` in a plug-in: see `tinypose_torch.utils.plugins`.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from tinypose_torch.data.errors import DatasetError, malformation
from tinypose_torch.data.formats.ai_challenger import convert_ai_challenger
from tinypose_torch.data.formats.coco import read_json
from tinypose_torch.data.formats.coco_content import Category, ImageAnnotations, to_coco
from tinypose_torch.data.formats.cvat import is_cvat, read_cvat, write_cvat
from tinypose_torch.data.formats.label_studio import is_label_studio, read_label_studio, write_label_studio
from tinypose_torch.data.formats.mpii import load_mpii_annotations
from tinypose_torch.data.formats.yolo_pose import is_yolo, read_yolo, write_yolo
from tinypose_torch.data.pose.annotations import PoseAnnotations
from tinypose_torch.utils.atomic import replacing
from tinypose_torch.utils.messages import escaped
from tinypose_torch.utils.plugins import Registry
from tinypose_torch.utils.provenance import SOFTWARE

METRICS = ("AP", "PCKh")
_START = 1 << 16  # bytes


class AnnotationFormat(ABC):
    """A format of annotation files.

    Attributes:
        name: What ``data.format`` and ``tinypose evaluate --format`` take.
        metric: How poses are evaluated: ``"AP"``, as COCO's, or ``"PCKh"``, as MPII's. For PCKh people are read with their own
            centres and scales, by `read_people`.
    """

    name: ClassVar[str]
    metric: ClassVar[str] = "AP"

    @abstractmethod
    def recognises(self, path: Path, start: bytes) -> bool:
        """Whether a file or folder is of this format.

        Args:
            start: The first 64 KiB of a file; empty for a folder.
        """

    @abstractmethod
    def read(self, path: Path, images: Path) -> dict[str, Any]:
        """The annotations as the content of a COCO file: ``images``, ``annotations`` and ``categories``.

        Args:
            images: Folder of the images, for formats without image sizes.

        Raises:
            DatasetError, KeyError, TypeError, ValueError: Not such a file.
        """

    def write(self, images: list[ImageAnnotations], category: Category, path: Path) -> list[str]:
        """Write annotations, for `tinypose convert-annotations --to`.

        Returns:
            What the format cannot express of these annotations, in words.

        Raises:
            OutputError: The file cannot be written.
        """
        raise NotImplementedError(f"format {self.name} cannot be written")

    def read_people(self, path: Path) -> PoseAnnotations:
        """The people in the order of MPII's ``gt_valid.mat``; for the metric ``"PCKh"``.

        Raises:
            DatasetError: Not such a file.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement read_people to be evaluated by PCKh")


_FORMATS: Registry[AnnotationFormat] = Registry("annotation format")
Format = TypeVar("Format", bound=type[AnnotationFormat])


def register_annotation_format(format_class: Format) -> Format:
    """Decorator: register a class of annotation files.

    Raises:
        ValueError: The name is taken, or the metric is unknown.
        TypeError: A method or the name is missing.
    """
    if format_class.metric not in METRICS:
        raise ValueError(f"{format_class.__name__}: metric {format_class.metric!r}; choose one of {', '.join(METRICS)}")
    if not isinstance(getattr(format_class, "name", None), str):
        raise TypeError(f"{format_class.__name__} must have a `name`")
    _FORMATS.add(format_class.name, format_class())
    return format_class


def find_annotation_format(path: str | os.PathLike[str], name: str | None = None) -> AnnotationFormat:
    """The format of a file: the named one, else the one registered last that recognises it.

    Raises:
        ValueError: No format has the name.
        DatasetError: No such file, or no format recognises it.
        OSError: The file cannot be read.
    """
    if name is not None:
        return _FORMATS.find(name)
    path = Path(path)
    if not (path.is_file() or path.is_dir()):  # a pipe would block
        raise DatasetError(f"no annotation file {str(path)!r}")
    start = b""
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(_START)
        if not start:
            raise DatasetError(f"{path}: empty file")
    known = list(_FORMATS)
    found = next((candidate for candidate in reversed(known) if candidate.recognises(path, start)), None)
    if found is None:
        names = ", ".join(candidate.name for candidate in known)
        raise DatasetError(f"{path}: no annotation format recognises it; name its format, one of {names}")
    return found


def read_annotations(
    path: str | os.PathLike[str], images: str | os.PathLike[str], name: str | None = None
) -> dict[str, Any]:
    """The annotations of a file as the content of a COCO file.

    Args:
        images: Folder of the images.
        name: Of the format; recognised unless given.

    Raises:
        ValueError: No format has the name.
        DatasetError: No such file, no format recognises it, or it is not of the format.
    """
    path = Path(path)
    found = find_annotation_format(path, name)
    try:
        return found.read(path, Path(images))
    except DatasetError:
        raise
    except OSError as error:
        raise DatasetError(f"{error.filename or path}: {error.strerror or error}") from None
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        reason = escaped(malformation(error))
        raise DatasetError(f"{path}: not an annotation file of format {found.name}: {reason}") from None


def list_annotation_formats() -> list[AnnotationFormat]:
    """All formats, those of plug-ins included."""
    return list(_FORMATS)


def _text(start: bytes) -> str:
    """The beginning of a JSON file as text."""
    return start.decode(json.detect_encoding(start), "ignore").lstrip()


@register_annotation_format
class CocoFormat(AnnotationFormat):
    """COCO's JSON object."""

    name = "coco"

    def recognises(self, path: Path, start: bytes) -> bool:
        return _text(start).startswith("{")

    def read(self, path: Path, images: Path) -> dict[str, Any]:
        return read_json(path)

    def write(self, images: list[ImageAnnotations], category: Category, path: Path) -> list[str]:
        content = {"info": {"software": SOFTWARE}, **to_coco(images, category)}
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")
        return []


@register_annotation_format
class AIChallengerFormat(AnnotationFormat):
    """AI Challenger's JSON list of images."""

    name = "ai_challenger"

    def recognises(self, path: Path, start: bytes) -> bool:
        return _text(start).startswith("[") and '"keypoint_annotations"' in _text(start)

    def read(self, path: Path, images: Path) -> dict[str, Any]:
        return convert_ai_challenger(path, images)


@register_annotation_format
class MpiiFormat(AnnotationFormat):
    """MPII's JSON list of people; see `tinypose_torch.data.formats.mpii`."""

    name = "mpii"
    metric = "PCKh"

    def recognises(self, path: Path, start: bytes) -> bool:
        return _text(start).startswith("[") and '"joints_vis"' in _text(start)

    def read(self, path: Path, images: Path) -> dict[str, Any]:
        raise DatasetError(f"{path}: MPII annotations are for top-down networks")

    def read_people(self, path: Path) -> PoseAnnotations:
        return load_mpii_annotations(path)


@register_annotation_format
class YoloPoseFormat(AnnotationFormat):
    """Ultralytics' folder of labels; see `tinypose_torch.data.formats.yolo_pose`."""

    name = "yolo"

    def recognises(self, path: Path, start: bytes) -> bool:
        return is_yolo(path)

    def read(self, path: Path, images: Path) -> dict[str, Any]:
        return read_yolo(path, images)

    def write(self, images: list[ImageAnnotations], category: Category, path: Path) -> list[str]:
        return write_yolo(images, category, path)


@register_annotation_format
class CvatFormat(AnnotationFormat):
    """CVAT's XML for images; see `tinypose_torch.data.formats.cvat`."""

    name = "cvat"

    def recognises(self, path: Path, start: bytes) -> bool:
        return is_cvat(start)

    def read(self, path: Path, images: Path) -> dict[str, Any]:
        return read_cvat(path)

    def write(self, images: list[ImageAnnotations], category: Category, path: Path) -> list[str]:
        return write_cvat(images, category, path)


@register_annotation_format
class LabelStudioFormat(AnnotationFormat):
    """Label Studio's JSON list of tasks; see `tinypose_torch.data.formats.label_studio`."""

    name = "label_studio"

    def recognises(self, path: Path, start: bytes) -> bool:
        return is_label_studio(_text(start))

    def read(self, path: Path, images: Path) -> dict[str, Any]:
        return read_label_studio(path)

    def write(self, images: list[ImageAnnotations], category: Category, path: Path) -> list[str]:
        return write_label_studio(images, category, path)
