"""What an inference costs on ARM, counted under emulation: `python -m benchmarks.arm`."""
