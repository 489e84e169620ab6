"""The porting workbench: converts checkpoints and checks them against the running original."""
