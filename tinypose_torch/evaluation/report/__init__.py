"""Reports of an evaluation: one HTML file with figures, charts and images."""
