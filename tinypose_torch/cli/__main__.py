"""Run the `tinypose` command: `python -m tinypose_torch.cli`."""

import sys

from tinypose_torch.cli.parser import main

sys.exit(main())
