"""What the subcommands of `tinypose` do, one module each. Their arguments stand in `tinypose_torch.cli`."""
