"""PP-TinyPose and its family, in PyTorch."""

from importlib.metadata import PackageNotFoundError, version

from tinypose_torch.checkpoints.catalogue import UnknownModelError, list_models
from tinypose_torch.checkpoints.download import DownloadError
from tinypose_torch.checkpoints.errors import CheckpointError
from tinypose_torch.checkpoints.load import load_weights
from tinypose_torch.factory import create_model
from tinypose_torch.geometry.skeletons import COCO17, Skeleton
from tinypose_torch.images import ImageError
from tinypose_torch.pipeline import PoseEstimator
from tinypose_torch.results import Detections, Poses

try:
    __version__ = version("tinypose-torch")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0.0.0"

__all__ = [
    "COCO17",
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
