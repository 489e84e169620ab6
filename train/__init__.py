"""The training application, `python -m train RECIPE [key=value ...]`. It stands on the library, never the other way."""
