"""PP-TinyPose and its family, in PyTorch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinypose_torch.checkpoints.download import DownloadError
    from tinypose_torch.checkpoints.errors import CheckpointError
    from tinypose_torch.checkpoints.load import load_weights
    from tinypose_torch.data.formats.registry import AnnotationFormat, register_annotation_format
    from tinypose_torch.estimators.app import AppTracker
    from tinypose_torch.estimators.pose_estimator import AppEstimator, BottomUpEstimator, PoseEstimator
    from tinypose_torch.estimators.results import Detections, Poses
    from tinypose_torch.export.api import ExportOptions, export_model
    from tinypose_torch.export.app.api import export_app
    from tinypose_torch.factory import create_model
    from tinypose_torch.geometry.skeletons import COCO17, Skeleton
    from tinypose_torch.hub import ModelCard
    from tinypose_torch.models.base import BottomUpNetwork, Detector, TopDownNetwork
    from tinypose_torch.models.config import BottomUpConfig, DetectorConfig, TopDownConfig
    from tinypose_torch.models.registry import UnknownModelError, list_models, register_model
    from tinypose_torch.runtime.base import FileRunner
    from tinypose_torch.runtime.formats import ExportFormat, register_export_format
    from tinypose_torch.runtime.metadata import ExportMetadata
    from tinypose_torch.tracking.pose_tracker import PoseTracker
    from tinypose_torch.tracking.smoothing import Smoothing
    from tinypose_torch.utils.atomic import OutputError
    from tinypose_torch.utils.images import ImageError
    from tinypose_torch.video.files import VideoError, VideoReader

    __version__: str

# Imported at first use, so that `tinypose --help` and errors in options do not wait for torch.
_MODULES = {
    "AnnotationFormat": "data.formats.registry",
    "AppEstimator": "estimators.pose_estimator",
    "AppTracker": "estimators.app",
    "BottomUpConfig": "models.config",
    "BottomUpEstimator": "estimators.pose_estimator",
    "BottomUpNetwork": "models.base",
    "COCO17": "geometry.skeletons",
    "CheckpointError": "checkpoints.errors",
    "Detections": "estimators.results",
    "Detector": "models.base",
    "DetectorConfig": "models.config",
    "DownloadError": "checkpoints.download",
    "ExportFormat": "runtime.formats",
    "ExportMetadata": "runtime.metadata",
    "ExportOptions": "export.api",
    "FileRunner": "runtime.base",
    "ImageError": "utils.images",
    "ModelCard": "hub",
    "OutputError": "utils.atomic",
    "PoseEstimator": "estimators.pose_estimator",
    "PoseTracker": "tracking.pose_tracker",
    "Poses": "estimators.results",
    "Skeleton": "geometry.skeletons",
    "Smoothing": "tracking.smoothing",
    "TopDownConfig": "models.config",
    "TopDownNetwork": "models.base",
    "UnknownModelError": "models.registry",
    "VideoError": "video.files",
    "VideoReader": "video.files",
    "create_model": "factory",
    "export_app": "export.app.api",
    "export_model": "export.api",
    "list_models": "models.registry",
    "load_weights": "checkpoints.load",
    "register_annotation_format": "data.formats.registry",
    "register_export_format": "runtime.formats",
    "register_model": "models.registry",
}

__all__ = [
    "COCO17",
    "AnnotationFormat",
    "AppEstimator",
    "AppTracker",
    "BottomUpConfig",
    "BottomUpEstimator",
    "BottomUpNetwork",
    "CheckpointError",
    "Detections",
    "Detector",
    "DetectorConfig",
    "DownloadError",
    "ExportFormat",
    "ExportMetadata",
    "ExportOptions",
    "FileRunner",
    "ImageError",
    "ModelCard",
    "OutputError",
    "PoseEstimator",
    "PoseTracker",
    "Poses",
    "Skeleton",
    "Smoothing",
    "TopDownConfig",
    "TopDownNetwork",
    "UnknownModelError",
    "VideoError",
    "VideoReader",
    "create_model",
    "export_app",
    "export_model",
    "list_models",
    "load_weights",
    "register_annotation_format",
    "register_export_format",
    "register_model",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _installed_version()
    if name not in _MODULES:
        raise AttributeError(f"module 'tinypose_torch' has no attribute {name!r}")
    return getattr(import_module(f"tinypose_torch.{_MODULES[name]}"), name)


def _installed_version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # takes as long as everything else here

    try:
        return version("tinypose-torch")
    except PackageNotFoundError:  # a checkout that is not installed
        return "0.0.0"


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
