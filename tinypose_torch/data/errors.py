"""What can be wrong with a dataset."""


class DatasetError(ValueError):
    """A dataset that cannot be used; the message names the file, the value and the remedy."""
