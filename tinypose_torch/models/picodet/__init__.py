"""PicoDet, the person detector in front of the pose network (Yu et al., arXiv:2111.00902)."""

from tinypose_torch.models.picodet.detector import DecodedBoxes, PicoDet, decode_levels
from tinypose_torch.models.picodet.heads import LevelOutput
from tinypose_torch.models.picodet.variants import picodet

__all__ = ["DecodedBoxes", "LevelOutput", "PicoDet", "decode_levels", "picodet"]
