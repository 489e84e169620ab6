"""The networks, one file or folder per family. They know nothing of files, names or images."""

from tinypose_torch.models.fairmot import FairMOT
from tinypose_torch.models.higher_hrnet import HigherHRNet
from tinypose_torch.models.hrnet import HRNet
from tinypose_torch.models.lite_hrnet import LiteHRNet
from tinypose_torch.models.picodet import PicoDet
from tinypose_torch.models.ppyolov2 import PPYOLOv2

__all__ = ["FairMOT", "HRNet", "HigherHRNet", "LiteHRNet", "PPYOLOv2", "PicoDet"]
