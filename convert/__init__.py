"""The porting workbench: converts checkpoints and checks them against PaddleDetection."""

from pathlib import Path

DEFAULT_FOLDER = Path("weights")  # of converted weights and receipts
