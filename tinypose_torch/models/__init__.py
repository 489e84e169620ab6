"""The networks, one file or folder per family. They know nothing of files, names or images.

Importing this package registers the models of every family, in the order in which `list_models` names them.
"""

from tinypose_torch.models.lite_hrnet import LiteHRNet  # isort: skip
from tinypose_torch.models.hrnet import HRNet  # isort: skip
from tinypose_torch.models.higher_hrnet import HigherHRNet  # isort: skip
from tinypose_torch.models.picodet import PicoDet  # isort: skip
from tinypose_torch.models.ppyolov2 import PPYOLOv2  # isort: skip
from tinypose_torch.models.fairmot import FairMOT  # isort: skip

__all__ = ["FairMOT", "HRNet", "HigherHRNet", "LiteHRNet", "PPYOLOv2", "PicoDet"]
