"""Errors of datasets."""


class DatasetError(ValueError):
    """A dataset that cannot be used; the message names the file, the value and the remedy."""
