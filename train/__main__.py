"""`python -m train RECIPE [key=value ...]`: train or fine-tune a pose network."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tinypose_torch.collection import collection_paused
from tinypose_torch.hints import install_hint

try:
    from train.config import Config, ConfigError, load_config, recipe_names
except ImportError as missing:
    raise SystemExit(f"train: error: {missing}; {install_hint('train')}") from None

_EPILOG = """
keys that most runs need:
  data.train=FILE data.val=FILE data.images=DIR   COCO keypoint files, and where their images lie
  weights=official | imagenet | FILE              what to start from (random weights unless the recipe says otherwise)
  output=DIR                                      checkpoints, logs, weights.safetensors, receipt.json
  max_steps=N  seed=N  batch_size=N  resume=true
all keys and their meanings: docs/train.md
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; returns 0, 2 for what is wrong before training starts, 1 for what goes wrong later."""
    parser = argparse.ArgumentParser(
        prog="python -m train",
        description="Train or fine-tune a pose network.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", metavar="RECIPE", help=f"a .yaml file, or one of: {', '.join(recipe_names())}")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--check", action="store_true", help="say what would be used, draw samples, train nothing")
    options = parser.parse_intermixed_args(arguments)  # --check may stand anywhere
    try:
        config = load_config(options.recipe, options.overrides)
        return _run(config, options.check)
    except (ConfigError, ValueError, KeyError, OSError, RuntimeError) as error:
        print(f"train: error: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        print(f"train: error: {error}; {install_hint('train')}", file=sys.stderr)
        return 2
    except FloatingPointError as error:
        print(f"train: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"train: interrupted; resume=true continues {config.output}", file=sys.stderr)
        return 130


def _run(config: Config, check: bool) -> int:
    if check:
        from train.check import check_data

        return check_data(config)
    with collection_paused():
        from train.fit import quiet_lightning, run

    quiet_lightning()
    receipt = run(config)
    accuracy = receipt["accuracy"]
    if accuracy:
        print("  ".join(f"{name} {value:.3f}" for name, value in accuracy.items() if name != "step"))
    print(f"wrote {config.output}/{receipt['weights']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
