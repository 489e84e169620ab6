"""Readers of annotations, training samples and their transforms. The transforms need the `train` extra."""
