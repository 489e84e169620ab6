"""Poses of very many images: `tinypose batch`, and what reads its Parquet data sets."""

from tinypose_torch.batch.dataset import BatchResults, read
from tinypose_torch.batch.mapper import PoseMapper
from tinypose_torch.batch.parts import Row

__all__ = ["BatchResults", "PoseMapper", "Row", "read"]
