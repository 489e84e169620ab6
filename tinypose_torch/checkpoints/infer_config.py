"""Reader of ``infer_cfg.yml``, in which PaddleDetection's exporter describes a deployed model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from tinypose_torch.checkpoints.descriptions import check_input_size, check_text
from tinypose_torch.checkpoints.errors import CheckpointError, plain
from tinypose_torch.checkpoints.limits import MAX_CONFIG_BYTES


@dataclass(frozen=True)
class InferConfig:
    """What is read of it.

    Attributes:
        arch: The exporter's name of the architecture, for example ``"HRNet"``.
        input_size: (height, width) of the network's input, pixels, if it is fixed.
    """

    arch: str
    input_size: tuple[int, int] | None


class _Loader(yaml.SafeLoader):
    """Builds plain values. Merge keys (``<<``) are refused: a short file could multiply them without end."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        pass


def read_infer_config(data: bytes) -> InferConfig:
    """Read an ``infer_cfg.yml``.

    Raises:
        CheckpointError: It is damaged, hostile, or another kind of file.
    """
    if len(data) > MAX_CONFIG_BYTES:
        raise CheckpointError(f"infer_cfg.yml of more than {MAX_CONFIG_BYTES} bytes")
    try:
        facts = yaml.load(data, _Loader)  # noqa: S506  # a SafeLoader
        arch = check_text(facts["arch"], "arch")
        return InferConfig(arch, _input_size(facts.get("Preprocess") or []))
    except CheckpointError as error:
        raise CheckpointError(f"damaged infer_cfg.yml: {error}") from None
    except (
        yaml.YAMLError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        reason = plain(" ".join(str(error).split()))
        raise CheckpointError(f"damaged infer_cfg.yml: {type(error).__name__}: {reason}") from None


def _input_size(steps: list[dict[str, Any]]) -> tuple[int, int] | None:
    """Of the step that resizes: ``trainsize`` is (width, height), ``target_size`` (height, width), ``size`` a side."""
    for step in steps:
        for key, reverse in (("trainsize", True), ("target_size", False), ("size", False)):
            if key in step:
                sides = step[key] if isinstance(step[key], list) else [step[key]] * 2
                return check_input_size(sides[::-1] if reverse else sides)
    return None
