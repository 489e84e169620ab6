"""`python -m convert`: convert PaddleDetection checkpoints to safetensors and verify them."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from convert.receipt import format_receipt, make_receipt, receipt_paths, write_receipt
from convert.verify import Verification, verify_against_export, verify_against_recording
from tinypose_torch.checkpoints.download import fetch_pretrained
from tinypose_torch.checkpoints.files import describe_changes, save_safetensors
from tinypose_torch.checkpoints.identity import resolve_model
from tinypose_torch.checkpoints.load import load_weights
from tinypose_torch.factory import build_network
from tinypose_torch.models.config import config_of
from tinypose_torch.models.registry import get_config, list_models
from tinypose_torch.utils.arguments import ArgumentParser, add_overwrite, run_program
from tinypose_torch.utils.atomic import OutputError, replacing
from tinypose_torch.utils.hints import command_line
from tinypose_torch.utils.messages import one_line
from tinypose_torch.utils.outputs import check_output_folder, check_outputs
from tinypose_torch.utils.table import format_table

DEFAULT_FOLDER = Path("weights")
_FAILED = "FAILED"


def build_parser() -> argparse.ArgumentParser:
    """The parser of `python -m convert`."""
    parser = ArgumentParser(
        prog="python -m convert",
        description="Convert PaddleDetection checkpoints to safetensors, and check them against PaddleDetection.",
        epilog="Exit status: 0; 1 if port and PaddleDetection differ, some models failed, or an output cannot be written; 2 for "
        "wrong arguments or files.",
    )
    add = parser.add_argument
    add("file", nargs="?", type=Path, metavar="FILE", help=".pdparams, or a deployed model (folder, file, .tar, .zip)")
    add(
        "--model",
        metavar="NAME",
        help=f"the model that the checkpoint belongs to; {command_line('tinypose models')} lists them "
        "(default: the model that FILE names)",
    )
    add("--all", action="store_true", help="fetch and convert every published release of every model")
    add(
        "--output",
        metavar="FILE",
        help="what to write (default: weights/MODEL.safetensors); with --all a folder",
    )
    add_overwrite(parser, "converted official weights or receipts")
    add("--num-keypoints", type=int, metavar="K", help="keypoints of a pose checkpoint trained on another skeleton")
    add("--num-classes", type=int, metavar="C", help="classes of a detector trained on other classes")
    add("--verify", action="store_true", help="compare with --paddle-model and --reference, and write a receipt")
    add("--paddle-model", type=Path, metavar="DIR", help="the exported Paddle model, to run on PaddlePaddle")
    add("--reference", type=Path, metavar="DIR", help="recorded activations: manifest.json and io.npz")
    add("--images", type=Path, metavar="DIR", help="photos to run PaddleDetection on (default: seeded noise)")
    add(
        "--receipt", type=Path, default=DEFAULT_FOLDER, metavar="DIR", help="folder for receipts (default: %(default)s)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; see the parser's epilog for the exit status."""
    return run_program("convert", lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    parser = build_parser()
    options = parser.parse_args(arguments)
    _check(parser, options)
    if options.all:
        return convert_all(Path(options.output or DEFAULT_FOLDER), options.overwrite)
    return convert_file(options)


def convert_file(options: argparse.Namespace) -> int:
    """Convert one checkpoint and verify it if asked."""
    source = resolve_model(options.model, options.file, usage="--model NAME")
    if source.path is None:
        raise FileNotFoundError(f"no weight file {str(options.file)!r}")
    output = Path(options.output or DEFAULT_FOLDER / f"{source.name}.safetensors")
    receipts = receipt_paths(source.name, options.receipt) if options.verify else ()
    outputs = {"--output": options.output or output, **{f"the receipt {path.suffix}": path for path in receipts}}
    check_outputs(outputs, [options.file, options.paddle_model, options.reference], options.images, options.overwrite)
    network = build_network(source, num_keypoints=options.num_keypoints, num_classes=options.num_classes)
    report = load_weights(network, source.checkpoint or source.path)
    verifications: list[Verification] = []
    if options.paddle_model:
        verifications.append(verify_against_export(network, options.paddle_model, options.images))
    if options.reference:
        verifications.append(verify_against_recording(network, options.reference))
    save_safetensors(network, output, {**describe_changes(config_of(network)), "source": options.file.name})
    receipt = make_receipt(source.name, options.file, output, report, verifications)
    print(format_receipt(receipt))
    print(f"\nwrote {output}")
    if options.verify:
        for path in write_receipt(receipt, options.receipt):
            print(f"wrote {path}")
    return 0 if all(verification.equal for verification in verifications) else 1


def convert_all(folder: Path, overwrite: bool = False) -> int:
    """Fetch and convert every official release of every model; failures do not stop the others.

    The first release of a model is written to ``MODEL.safetensors``, another one to ``MODEL_TAG.safetensors``.

    Args:
        overwrite: Whether files that are no earlier results may be replaced.

    Returns:
        0; 1 if a published release could not be converted.
    """
    check_output_folder("--output", folder)
    targets = {f"the weights of {name} {tag},": path for name in list_models() for tag, path in _targets(name, folder)}
    check_outputs(targets, overwrite=overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in tqdm(list_models(), unit="model", disable=None):
        rows += _convert_releases(name, folder, overwrite) or [(name, "-", "skipped", "no published weights")]
    print(format_table(("model", "release", "result", "file or reason"), rows))
    return 1 if any(row[2] == _FAILED for row in rows) else 0


def _convert_releases(name: str, folder: Path, overwrite: bool) -> list[tuple[str, str, str, str]]:
    """Rows of the table, one per release."""
    rows = []
    for tag, target in _targets(name, folder):
        try:
            official = fetch_pretrained(get_config(name), tag)
            check_outputs({"--output": target}, [official], overwrite=overwrite)
            with replacing(target) as temporary:
                shutil.copyfile(official, temporary)
            rows.append((name, tag, "converted", str(target)))
        except OutputError:
            raise  # concerns all
        except (ValueError, OSError, RuntimeError) as error:  # RuntimeError: a package that is not installed
            rows.append((name, tag, _FAILED, one_line(error)))
    return rows


def _targets(name: str, folder: Path) -> list[tuple[str, Path]]:
    """Tag and output file of every release of a model."""
    return [
        (tag, folder / (f"{name}_{tag}.safetensors" if index else f"{name}.safetensors"))
        for index, tag in enumerate(get_config(name).weights)
    ]


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.all:
        if options.file or options.model or options.verify:
            parser.error("--all takes no FILE, --model or --verify")
        return
    if options.file is None:
        parser.error("FILE is needed (or --all)")
    if options.verify and not (options.paddle_model or options.reference):
        parser.error("--verify needs --paddle-model or --reference to compare with")
    if (options.paddle_model or options.reference) and not options.verify:
        parser.error("--paddle-model and --reference go with --verify")


if __name__ == "__main__":
    sys.exit(main())
