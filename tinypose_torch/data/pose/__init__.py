"""Top-down poses: annotations, samples, transforms."""
