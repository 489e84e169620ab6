"""Apps: the whole pipeline as one exported file."""
