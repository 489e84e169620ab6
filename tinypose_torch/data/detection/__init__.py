"""Detection: annotations, samples, transforms."""
