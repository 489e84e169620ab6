"""The networks, one file or folder per family. They know nothing of files, names or images."""

from tinypose_torch.models.higher_hrnet import HigherHRNet
from tinypose_torch.models.hrnet import HRNet
from tinypose_torch.models.lite_hrnet import LiteHRNet
from tinypose_torch.models.picodet import PicoDet

__all__ = ["HRNet", "HigherHRNet", "LiteHRNet", "PicoDet"]
