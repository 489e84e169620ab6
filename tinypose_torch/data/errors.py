"""Errors of datasets."""


def malformation(error: Exception) -> str:
    """What is wrong with JSON whose use raised an error of Python's own."""
    if isinstance(error, KeyError):
        return f"{error} is missing"
    if isinstance(error, (TypeError, AttributeError, IndexError)):
        return f"a value is of the wrong type or length ({error})"
    return str(error)


class DatasetError(ValueError):
    """A dataset that cannot be used; the message names the file, the value and the remedy."""
