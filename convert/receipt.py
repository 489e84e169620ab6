"""The receipt of a conversion: what was mapped, and how far the port is from PaddleDetection."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

from convert.verify import Verification
from tinypose_torch.checkpoints.files import hash_weights
from tinypose_torch.checkpoints.matching import LoadReport
from tinypose_torch.utils.atomic import replacing
from tinypose_torch.utils.table import format_table
from tinypose_torch.utils.versions import installed_versions

WORST_LAYERS = 15
_PACKAGES = ("tinypose-torch", "torch", "numpy", "opencv-python-headless", "safetensors")


def make_receipt(
    model: str, source: Path, converted: Path, report: LoadReport, verifications: list[Verification]
) -> dict[str, Any]:
    """Everything that a receipt says, ready for JSON."""
    return {
        "model": model,
        "source": {"name": source.name, "sha256": hash_weights(source)},
        "converted": {"name": converted.name, "sha256": hash_weights(converted)},
        "tensors_mapped": len(report.sources),
        "names": report.sources,
        "dropped": report.dropped,
        "batch_norms_unfolded": report.unfolded,
        "verifications": [_verification(verification) for verification in verifications],
        "versions": {**installed_versions(_PACKAGES), "python": platform.python_version()},
    }


def write_receipt(receipt: dict[str, Any], folder: Path) -> list[Path]:
    """Write ``MODEL.receipt.json`` and ``MODEL.receipt.txt``, each atomically."""
    paths = receipt_paths(receipt["model"], folder)
    for path, text in zip(paths, (json.dumps(receipt, indent=1), format_receipt(receipt)), strict=True):
        with replacing(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    return paths


def receipt_paths(model: str, folder: Path) -> list[Path]:
    """The files of a receipt: JSON and text."""
    return [folder / f"{model}.receipt.{suffix}" for suffix in ("json", "txt")]


def format_receipt(receipt: dict[str, Any]) -> str:
    """The receipt as a text that a person reads."""
    lines = [
        f"{receipt['model']}",
        "",
        f"source     {receipt['source']['name']}  sha256 {receipt['source']['sha256']}",
        f"converted  {receipt['converted']['name']}  sha256 {receipt['converted']['sha256']}",
        f"tensors    {receipt['tensors_mapped']} mapped one to one, {len(receipt['dropped'])} without a counterpart",
        "versions   " + ", ".join(f"{name} {number}" for name, number in receipt["versions"].items()),
    ]
    for verification in receipt["verifications"]:
        lines += ["", *_format_verification(verification)]
    if not receipt["verifications"]:
        lines += ["", "Not compared with PaddleDetection (--verify was not given)."]
    return "\n".join(lines)


def _verification(verification: Verification) -> dict[str, Any]:
    first = verification.first_difference
    return {
        "against": verification.against,
        "input": verification.input,
        "equal": verification.equal,
        "tolerance": verification.tolerance,
        "first_difference": first.name if first else None,
        "answers": verification.pixels,
        "layers": [
            {"name": layer.name, "largest": layer.largest, "relative": layer.relative} for layer in verification.layers
        ],
        "versions": verification.versions,
    }


def _format_verification(verification: dict[str, Any]) -> list[str]:
    verdict = "equal" if verification["equal"] else f"DIFFERENT, from layer {verification['first_difference']} on"
    runner = "".join(f", {name} {number}" for name, number in verification["versions"].items())
    worst = sorted(verification["layers"], key=lambda layer: -layer["relative"])[:WORST_LAYERS]
    rows = [(layer["name"], f"{layer['largest']:.2e}", f"{layer['relative']:.2e}") for layer in worst]
    return [
        f"Against {verification['against']}, on {verification['input']}{runner}: {verdict}",
        *(f"  {name}: {value:.3g}" for name, value in verification["answers"].items()),
        "",
        f"The {len(worst)} of {len(verification['layers'])} layers that differ most "
        f"(tolerance {verification['tolerance']:g} of the layer's largest value):",
        "",
        format_table(("layer", "largest", "relative"), rows, right=(1, 2)),
    ]
