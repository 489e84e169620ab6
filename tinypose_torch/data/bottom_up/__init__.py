"""Bottom-up poses: samples, transforms."""
