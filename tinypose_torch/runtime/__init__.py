"""Running a network, whatever it was made into. The pipeline knows networks only through this interface."""

from tinypose_torch.runtime.base import Runner
from tinypose_torch.runtime.eager import EagerRunner, load_runner

__all__ = ["EagerRunner", "Runner", "load_runner"]
