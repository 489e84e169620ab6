"""Running a network, whatever it was made into. The pipeline knows networks only through this interface."""

from tinypose_torch.runtime.base import Runner
from tinypose_torch.runtime.eager import EagerRunner
from tinypose_torch.runtime.load import load_runner
from tinypose_torch.runtime.metadata import ExportMetadata

__all__ = ["EagerRunner", "ExportMetadata", "Runner", "load_runner"]
