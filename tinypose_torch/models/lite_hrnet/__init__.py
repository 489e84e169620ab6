"""Lite-HRNet and PP-TinyPose: the network, its registered models, and its form in exported files."""

from tinypose_torch.models.lite_hrnet.network import LiteHRNet
from tinypose_torch.models.lite_hrnet.variants import lite_hrnet

__all__ = ["LiteHRNet", "lite_hrnet"]
