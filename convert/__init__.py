"""The porting workbench: converts checkpoints and checks them against PaddleDetection."""
