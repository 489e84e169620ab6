"""Readers of annotations, training samples and their transforms. The transforms need the `train` extra."""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # importing albumentations would look for updates in the network
