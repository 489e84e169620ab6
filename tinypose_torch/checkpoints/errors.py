"""What can be wrong with a weight file."""


class CheckpointError(ValueError):
    """A weight file that is damaged, hostile, or made for another network. Nothing of it was used."""


class DamagedCheckpointError(CheckpointError):
    """A weight file of the right kind whose contents are broken: cut short or altered."""
