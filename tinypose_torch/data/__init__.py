"""Annotated people and boxes, and how they become training samples. The transforms need the `train` extra."""
