"""Conversions of checkpoints to safetensors, and their verification."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from tqdm import tqdm

from convert import DEFAULT_FOLDER
from convert.receipt import format_receipt, make_receipt, receipt_paths, write_receipt
from convert.verify import Verification, verify_against_export, verify_against_recording
from tinypose_torch.checkpoints.download import fetch_pretrained
from tinypose_torch.checkpoints.files import describe_changes, save_safetensors
from tinypose_torch.checkpoints.identity import resolve_model
from tinypose_torch.checkpoints.load import load_weights
from tinypose_torch.factory import build_network
from tinypose_torch.models.config import config_of
from tinypose_torch.models.registry import get_config, list_models
from tinypose_torch.utils.atomic import OutputError, replacing
from tinypose_torch.utils.messages import one_line
from tinypose_torch.utils.outputs import check_output_folder, check_outputs
from tinypose_torch.utils.table import format_table

_FAILED = "FAILED"


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
