"""Annotated people, and how they become training samples. The transforms need the `train` extra."""
