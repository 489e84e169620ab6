"""`python -m train RECIPE [key=value ...]`: train or fine-tune a pose network."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinypose_torch.checkpoints.errors import CheckpointError
from tinypose_torch.utils.arguments import ERRORS, ArgumentParser, fail, run_program, say_last
from tinypose_torch.utils.atomic import OutputError, as_disc_full
from tinypose_torch.utils.hints import command_line, install_hint, print_next

try:
    from train.config import Config, load_config, recipe_names
    from train.devices import check_devices
    from train.locking import OutputLock
    from train.preflight import CHECK_FILES, LAST, RUN_FILES, check_inputs, check_output, find_checkpoint
except ImportError as missing:
    raise SystemExit(f"train: error: {missing}; {install_hint('train')}") from None
except KeyboardInterrupt:
    print("train: interrupted before training began", file=sys.stderr)
    raise SystemExit(130) from None

if TYPE_CHECKING:
    from train.trainer import Run

_EPILOG = """
keys that most runs need:
  data.train=FILE data.val=FILE data.images=DIR   COCO keypoint files, and where their images lie
  weights=official | imagenet | RELEASE | FILE    what to start from (random weights unless the recipe says otherwise)
  output=DIR                                      weights, checkpoint, logs, pictures, receipt
  max_steps=N  seed=N  batch_size=N
  resume=true                                     continue the run in output
Ctrl-C saves a checkpoint and stops.
exit status: 0; 1 for an error during training; 2 for one before; 130 after Ctrl-C, 143 after SIGTERM
all keys and their meanings: train/config.py
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Train.

    Returns:
        0; 1 for an error during training, 2 for one before it; 128 plus the number of the signal that stopped it.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    return run_program("train", lambda: _run(words))


def _run(arguments: Sequence[str]) -> int:
    with contextlib.ExitStack() as stack:
        try:
            options = _parse(arguments)
            config = load_config(options.recipe, options.overrides)
            check_inputs(config)
            check_devices(config)
            if options.check:
                return _check(config, arguments)
            if not config.resume:  # before the folder is created and locked
                find_checkpoint(config)
                check_output(config, RUN_FILES)
            run = _prepare(config, stack.enter_context(OutputLock(Path(config.output))))
        except ImportError as error:
            return fail("train", ImportError(f"{error}; {install_hint('train')}"))
        except KeyboardInterrupt:
            return _stop("interrupted before training began", 130)
        return _train(run, arguments)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="python -m train",
        description="Train or fine-tune a pose network.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", metavar="RECIPE", help=f"a .yaml file, or one of: {', '.join(recipe_names())}")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--check", action="store_true", help="say what would be used, draw samples, train nothing")
    return parser.parse_intermixed_args(arguments)  # --check may stand anywhere


def _check(config: Config, arguments: Sequence[str]) -> int:
    check_output(config, CHECK_FILES)
    from train.check import check_data

    status = check_data(config)
    if status == 0:
        print_next(["python", "-m", "train", *(word for word in arguments if word != "--check")])
    return status


def _prepare(config: Config, lock: OutputLock) -> Run:
    checkpoint = find_checkpoint(config)  # again, since another run may have ended before the folder was locked
    check_output(config, RUN_FILES)
    from train.trainer import configure_lightning_logging, prepare

    configure_lightning_logging()
    return prepare(config, checkpoint, lock)


def _train(run: Run, arguments: Sequence[str]) -> int:
    from train.checkpoints import Interrupted
    from train.report import print_report

    try:
        receipt = run.train()
        if run.trainer.is_global_zero:
            print_report(run, receipt)
    except Interrupted as stopped:
        if not run.trainer.is_global_zero:
            return 0  # Lightning kills the first process when another one fails
        return _stop(f"{stopped}; {_continuation(run.config, arguments)}", 128 + stopped.signum)
    except KeyboardInterrupt:
        return _stop(f"interrupted; {_continuation(run.config, arguments)}", 130)
    except BrokenPipeError:
        raise
    except CheckpointError as error:  # the checkpoint to continue does not fit; training has not begun
        return fail("train", error)
    except ERRORS as error:
        return fail("train", _with_remedy(_cause(error), run.config), 1)
    return 0


def _with_remedy(error: BaseException, config: Config) -> BaseException:
    """The error; one about a full disc with what to do."""
    full = as_disc_full(error, Path(config.output))
    if full is None:
        return error
    can_continue = (Path(config.output) / LAST).is_file()
    how = "continue the run with resume=true" if can_continue else "start the run again"
    return OutputError(f"{full}; make space, then {how}")


def _continuation(config: Config, arguments: Sequence[str]) -> str:
    """How the run is continued."""
    checkpoint = Path(config.output) / LAST
    if not checkpoint.is_file():
        return f"there is no checkpoint yet in {config.output}"
    words = [word for word in arguments if not word.startswith("resume=")]
    command = command_line(shlex.join(["python", "-m", "train", *words, "resume=true"]))
    return f"continue from {checkpoint} with:\n  {command}"


def _cause(error: BaseException) -> BaseException:
    """The error of a process that loads samples, without its traceback."""
    text = str(error)
    return ValueError(text.rstrip().splitlines()[-1].partition(": ")[2]) if text.startswith("Caught ") else error


def _stop(text: str, status: int) -> int:
    """Print why the run was stopped, unless another process of it does."""
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        say_last(f"train: {text}")
    return status


if __name__ == "__main__":
    sys.exit(main())
