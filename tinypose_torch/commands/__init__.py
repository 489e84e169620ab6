"""The subcommands of `tinypose`, one module each."""
