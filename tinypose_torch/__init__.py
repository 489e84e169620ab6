"""PP-TinyPose and its family, in PyTorch."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinypose_torch.checkpoints.download import DownloadError
    from tinypose_torch.checkpoints.errors import CheckpointError
    from tinypose_torch.checkpoints.load import load_weights
    from tinypose_torch.estimators.results import Detections, Poses
    from tinypose_torch.estimators.top_down import PoseEstimator
    from tinypose_torch.factory import create_model
    from tinypose_torch.geometry.skeletons import COCO17, Skeleton
    from tinypose_torch.models.registry import UnknownModelError, list_models
    from tinypose_torch.utils.images import ImageError

try:
    __version__ = version("tinypose-torch")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0.0.0"

# Imported at first use: `tinypose --help` and a wrong flag need not wait for torch.
_HOMES = {
    "BottomUpEstimator": "estimators.bottom_up",
    "COCO17": "geometry.skeletons",
    "CheckpointError": "checkpoints.errors",
    "Detections": "estimators.results",
    "DownloadError": "checkpoints.download",
    "ImageError": "utils.images",
    "PoseEstimator": "estimators.top_down",
    "Poses": "estimators.results",
    "Skeleton": "geometry.skeletons",
    "UnknownModelError": "models.registry",
    "create_model": "factory",
    "list_models": "models.registry",
    "load_weights": "checkpoints.load",
}

__all__ = [
    "COCO17",
    "BottomUpEstimator",
    "CheckpointError",
    "Detections",
    "DownloadError",
    "ImageError",
    "PoseEstimator",
    "Poses",
    "Skeleton",
    "UnknownModelError",
    "create_model",
    "list_models",
    "load_weights",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tinypose_torch' has no attribute {name!r}")
    return getattr(import_module(f"tinypose_torch.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
