"""PaddleDetection's parameter names, translated one to one into this project's.

The rules are applied in order and serve parameters and module paths alike. Nothing is matched by position.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from tinypose_torch.checkpoints.errors import CheckpointError, shown
from tinypose_torch.models.picodet.heads import BINS

_Rule = tuple[str, str | Callable[[re.Match[str]], str]]


def _counted_from_0(pattern: str) -> Callable[[re.Match[str]], str]:
    """A replacement by a pattern with the numbers matched, which PaddleDetection counts from 1."""
    return lambda match: pattern.format(*(int(group) - 1 for group in match.groups()))


_HRNET: tuple[_Rule, ...] = (
    (r"\bbackbone\.la1\.block_layer2_(\d+)", _counted_from_0("backbone.layer1.{}")),
    (r"\bbackbone\.tr(\d)\.transition_tr\d_layer_(\d)", lambda m: f"backbone.transition{m[1]}.{int(m[2]) - 1}"),
    (r"\bstage_st\d_(\d)\b", _counted_from_0("{}")),
    (r"\bbranches_func\.bb_st\d_\d_branch_layer_(\d)_(\d)", _counted_from_0("branches.{}.{}")),
    (r"\bfuse_func\.residual_st\d_\d_layer_(\d)_(\d)_(\d)", _counted_from_0("fuse_layers.{}.{}.{}")),
    (r"\bfuse_func\.residual_st\d_\d_layer_(\d)_(\d)", _counted_from_0("fuse_layers.{}.{}")),
    (r"\bconv(\d)\.conv\b", r"conv\1"),
    (r"\bconv(\d)\.norm\b", r"bn\1"),
    (r"\bconv_down\.conv\b", "downsample.0"),
    (r"\bconv_down\.norm\b", "downsample.1"),
    (r"(fuse_layers[.\d]*)\.conv\b", r"\1.0"),
    (r"(fuse_layers[.\d]*)\.norm\b", r"\1.1"),
    (r"\bbackbone\.conv_layer1_(\d)", r"backbone.conv\1"),
    # whole stages, which have no parameters of their own
    (r"\bbackbone\.la1\b", "backbone.layer1"),
    (r"\bbackbone\.tr(\d)\b", r"backbone.transition\1"),
    (r"\bbackbone\.st(\d)\b", r"backbone.stage\1"),
)
_PLACE = {"a": 1, "b": 2, "c": 3}
_SIDE = {"1": "left", "2": "right", "3": "merge"}
_PPYOLOV2: tuple[_Rule, ...] = (
    (r"\bbackbone\.conv1\.conv1_(\d)\.conv\b", lambda m: f"backbone.stem.0.{3 * int(m[1]) - 3}"),
    (r"\bbackbone\.conv1\.conv1_3\.norm\b", "backbone.stem.1"),
    (r"\bbackbone\.conv1\.conv1_(\d)\.norm\b", lambda m: f"backbone.stem.0.{3 * int(m[1]) - 2}"),
    (r"\bbackbone\.conv1\b", "backbone.stem"),
    (r"\bbackbone\.res(\d)\b", lambda m: f"backbone.stages.{int(m[1]) - 2}"),
    (r"\bres\d([a-f])\b", lambda m: str(ord(m[1]) - ord("a"))),
    (r"\bshort\.(?:conv\.)?norm\b", "downsample.2"),
    (r"\bshort\.(?:conv\.)?conv\b", "downsample.1"),
    (r"\bbranch2b\.conv_offset\b", "conv2.offset"),
    (r"(stages\.3\.\d)\.branch2b\.conv\b", r"\1.conv2.conv"),
    (r"\bbranch2([abc])\.conv\b", lambda m: f"conv{_PLACE[m[1]]}"),
    (r"\bbranch2([abc])\.norm\b", lambda m: f"bn{_PLACE[m[1]]}"),
    (r"\bbranch2([abc])\b", lambda m: f"act{_PLACE[m[1]]}"),
    (r"\bneck\.(fpn|pan)\.(\d)\.[01]$", r"neck.\1.\2"),  # a block of PaddleDetection returns its result twice
    (r"(\bneck\.\w+\.\d)\.conv(\d)\b", lambda m: f"{m[1]}.{_SIDE[m[2]]}"),
    (r"\bconv_module\.spp\.conv\b", "pairs.1.1.mix"),
    (r"\bconv_module\.spp\b", "pairs.1.1"),
    (r"\bconv_module\b", "pairs"),
    (r"\bbatch_norm\b", "norm"),
    (r"\bneck\.fpn\b", "neck.down"),
    (r"\bneck\.pan\b", "neck.up"),
    (r"\bneck\.fpn_transition\b", "neck.narrow"),
    (r"\bneck\.pan_transition\b", "neck.halve"),
    (r"\byolo_head\.yolo_output\b", "outputs"),
)


def _aggregated(match: re.Match[str]) -> str:
    """An entry of the list of six levels that PaddleDetection's steps overwrite: untouched ones are the backbone's."""
    step, level = int(match[1]), int(match[2])
    first = 4 - step
    return f"backbone.level{level}" if level < first else f"neck.steps.{step}.{level - first}"


_FAIRMOT: tuple[_Rule, ...] = (
    (r"^detector\.(?:head\.)?", ""),
    (r"^reid\.classifier\b", "classifier"),
    (r"^reid\.reid\b", "appearance"),
    (r"^loss\.det_weight$", "detection_weight"),
    (r"^loss\.reid_weight$", "appearance_weight"),
    (r"^((?:heatmap|size|offset|appearance)\.\d)\.conv\b", r"\1"),
    (r"\b((?:base_layer|level[01])\.0)\.conv\b", r"\1"),
    (r"\b(base_layer|level[01])\.0\.norm\b", r"\1.1"),
    (r"\bconv(\d)\.conv\b", r"conv\1"),
    (r"\bconv(\d)\.norm\b", r"bn\1"),
    (r"\broot\.conv\.conv\b", "root.conv"),
    (r"\broot\.conv\.norm\b", "root.bn"),
    (r"\bproject\.conv\b", "project.0"),
    (r"\bproject\.norm\b", "project.1"),
    (r"\bneck\.dla_up\.ida_(\d)\.(\d)$", _aggregated),
    (r"\bneck\.dla_up\.ida_(\d)\b", r"neck.steps.\1"),
    (r"\bneck\.ida_up\b", "neck.last"),
    (r"\bproj_(\d)(?:\.0)?\b", _counted_from_0("project.{}")),
    (r"\bup_(\d)\b", _counted_from_0("enlarge.{}")),
    (r"\bnode_(\d)(?:\.0)?\b", _counted_from_0("merge.{}")),
    (r"\bconv_offset\b", "offset"),
    (r"\bconv_dcn\b", "conv"),
)
_RULES: dict[str, tuple[_Rule, ...]] = {
    "LiteHRNet": (),
    "HRNet": _HRNET,
    "HigherHRNet": (
        *_HRNET,
        (r"\bhrhrnet_head\.conv1\b", "coarse"),
        (r"\bhrhrnet_head\.conv2\b", "fine"),
        (r"\bhrhrnet_head\.deconv\b", "upsample"),
        (r"\bhrhrnet_head\.blocks\b", "blocks"),
        (r"\bhrhrnet_head\.scalelayer0\b", "coarse_scale"),
        (r"\bhrhrnet_head\.scalelayer1\b", "fine_scale"),
    ),
    "PicoDet": (
        # ESNet
        (r"backbone\._conv1\b", "backbone.stem"),
        (r"backbone\._max_pool\b", "backbone.max_pool"),
        (r"backbone\.(\d)_(\d)\b", lambda m: f"backbone.stage{m[1]}.{int(m[2]) - 1}"),
        (r"\b_conv_dw_mv1\b", "mix_depthwise"),
        (r"\b_conv_pw_mv1\b", "mix_pointwise"),
        (r"\b_conv_dw_(\d)\b", r"depthwise\1"),
        (r"\b_conv_linear_(\d)\b", r"pointwise\1"),
        (r"\b_conv_pw_2\b", "expand2"),
        (r"\b_conv_dw\b", "depthwise"),
        (r"\b_conv_linear\b", "pointwise"),
        (r"\b_conv_pw\b", "expand"),
        (r"\b_se\b", "se"),
        (r"\b_conv\b", "conv"),
        (r"\b_batch_norm\b", "norm"),
        # necks
        (r"neck\.conv_t\.(?:convs\.)?", "neck.laterals."),
        (r"neck\.downsamples\.(\d)", r"neck.bottom_up.\1.downsample"),
        (r"neck\.bottom_up_blocks\.(\d)", r"neck.bottom_up.\1.block"),
        (r"\bblocks\.0\.conv1\b", "bottleneck.0"),
        (r"\bblocks\.0\.conv2\b", "bottleneck.1"),
        # heads
        (r"head\.conv_feat\.cls_conv_dw(\d)\.(\d)", r"head.towers.\1.convs.\2.depthwise"),
        (r"head\.conv_feat\.cls_conv_pw(\d)\.(\d)", r"head.towers.\1.convs.\2.pointwise"),
        (r"head\.conv_feat\.se\.(\d)", r"head.towers.\1.gate"),
        (r"head\.head_cls_list\.(\d)", r"head.predictors.\1.cls"),
        (r"head\.head_reg_list\.(\d)", r"head.predictors.\1.reg"),
        (r"head\.head_cls(\d)", r"head.predictors.\1.output"),
        (r"head\.cls_align\.(\d)\.dwconv", r"head.predictors.\1.align.0.conv"),
        (r"head\.cls_align\.(\d)\.bn1", r"head.predictors.\1.align.0.norm"),
        (r"head\.cls_align\.(\d)\.pwconv", r"head.predictors.\1.align.1.conv"),
        (r"head\.cls_align\.(\d)\.bn2", r"head.predictors.\1.align.1.norm"),
        # depthwise separable layers, under both of their spellings
        (r"\bdw_conv\b", "depthwise"),
        (r"\bpw_conv\b", "pointwise"),
        (r"\bdwconv\b", "depthwise.conv"),
        (r"\bbn1\b", "depthwise.norm"),
        (r"\bpwconv\b", "pointwise.conv"),
        (r"\bbn2\b", "pointwise.norm"),
        (r"\bbn\b", "norm"),
    ),
    "PPYOLOv2": _PPYOLOV2,
    "FairMOT": _FAIRMOT,
}
_STATISTICS = ((r"\._mean$", ".running_mean"), (r"\._variance$", ".running_var"))


@dataclass
class Renamed:
    """A state dict under this project's names.

    Attributes:
        state: Name to array.
        sources: This project's name to PaddleDetection's.
        dropped: PaddleDetection's names without a counterpart here, each with the reason.
    """

    state: dict[str, np.ndarray] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)


def rename_path(family: str, name: str) -> str:
    """This project's name of one of PaddleDetection's parameters or modules."""
    if family not in _RULES:
        raise CheckpointError(f"there are no rules for tensor names of {family!r}; there are for {', '.join(_RULES)}")
    for pattern, replacement in (*_RULES[family], *_STATISTICS):
        name = re.sub(pattern, replacement, name)
    return name


def rename_state(family: str, tensors: Mapping[str, np.ndarray]) -> Renamed:
    """Translate a whole state dict.

    Args:
        family: `Network.paddle_names`.
        tensors: PaddleDetection's names to arrays.

    Raises:
        CheckpointError: Unknown family; two names fall together, or a tensor that must be constant is not.
    """
    renamed = Renamed()
    kept = dict(tensors)
    for step in _STEPS.get(family, ()):
        step(kept, renamed.dropped)
    for name, array in kept.items():
        target = rename_path(family, name)
        if target in renamed.state:
            raise CheckpointError(f"{renamed.sources[target]!r} and {name!r} are both called {target!r} here")
        renamed.state[target] = array
        renamed.sources[target] = name
    return renamed


def _drop_constants(tensors: dict[str, np.ndarray], dropped: dict[str, str]) -> None:
    for name in [n for n in tensors if re.fullmatch(r"head\.p\d_feat\.scale_reg", n)]:
        del tensors[name]
        dropped[name] = "saved by PaddleDetection, but not used"
    project = "head.distribution_project.project"
    if project in tensors:
        value = tensors.pop(project)
        if value.shape != (BINS,) or not np.array_equal(value, np.arange(BINS)):
            raise CheckpointError(f"{project} should hold 0 to {BINS - 1}, but is {shown(value.tolist())}")
        dropped[project] = "a constant of the network"


def _merge_double_names(tensors: dict[str, np.ndarray], dropped: dict[str, str]) -> None:
    """The 2022 head saves each output convolution under two names; keep the one in the list."""
    if not any(name.startswith(("head.head_reg", "head.cls_align")) for name in tensors):
        return
    for name in list(tensors):
        match = re.fullmatch(r"head\.head_(cls|reg)(\d)\.(weight|bias)", name)
        if not match:
            continue
        array = tensors.pop(name)
        listed = f"head.head_{match[1]}_list.{match[2]}.{match[3]}"
        if not np.array_equal(array, tensors.setdefault(listed, array)):
            raise CheckpointError(f"{name!r} and {listed!r} should be one tensor, but differ")
        dropped[name] = f"second name of {listed}"


def _drop_projections(tensors: dict[str, np.ndarray], dropped: dict[str, str]) -> None:
    """The outer projections of the trees of two levels."""
    for name in [n for n in tensors if re.match(r"detector\.backbone\.level[34]\.project\.", n)]:
        del tensors[name]
        dropped[name] = "saved by PaddleDetection, but not used"


def _transpose_classifier(tensors: dict[str, np.ndarray], dropped: dict[str, str]) -> None:
    """PaddleDetection's linear layers hold their weight as (in, out)."""
    name = "reid.classifier.weight"
    if name in tensors:
        tensors[name] = np.ascontiguousarray(tensors[name].T)


# What changes tensors before they are renamed, by family.
_STEPS: dict[str, tuple[Callable[[dict[str, np.ndarray], dict[str, str]], None], ...]] = {
    "PicoDet": (_drop_constants, _merge_double_names),
    "FairMOT": (_drop_projections, _transpose_classifier),
}
