"""The training application, `python -m train RECIPE [key=value ...]`. It stands on the library, never the other way."""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # importing albumentations would look for updates in the network
