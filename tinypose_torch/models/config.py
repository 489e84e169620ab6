"""What a catalogue entry tells of a model: everything that is needed to use its weights rightly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from tinypose_torch.codecs.associative_embedding import GroupingConfig
from tinypose_torch.geometry.matrix_nms import MatrixNMSConfig
from tinypose_torch.geometry.nms import GRAPH_NMS, NMSConfig
from tinypose_torch.geometry.skeletons import COCO17, Skeleton
from tinypose_torch.models.picodet.detector import STRIDES
from tinypose_torch.utils.defaults import VISIBLE

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class WeightsFile:
    """A published checkpoint.

    Attributes:
        url: Its official address.
        filename: Its name on a mirror and in the download folder; unique in the catalogue.
        coco_ap: Documented accuracy, percent, where it differs from the entry's.
    """

    url: str
    filename: str
    coco_ap: float | None = None


@dataclass(frozen=True)
class ModelConfig:
    """What every model of the catalogue declares.

    Attributes:
        name: The name that `create_model` takes.
        network: The network's class.
        arguments: What the class is built with, apart from the number of keypoints or classes.
        input_size: (height, width) of the network's input, pixels.
        weights: Published checkpoints by tag; the first is what ``pretrained=True`` means.
        coco_ap: Documented accuracy, percent, of the first checkpoint.
        mean, std: Normalisation of RGB values scaled to [0, 1].
        licence: Licence of the published weights.
    """

    name: str
    network: type[nn.Module]
    arguments: Mapping[str, Any]
    input_size: tuple[int, int]
    weights: Mapping[str, WeightsFile]
    coco_ap: float | None
    mean: tuple[float, float, float] = field(default=IMAGENET_MEAN, kw_only=True)
    std: tuple[float, float, float] = field(default=IMAGENET_STD, kw_only=True)
    colour_order: str = field(default="RGB", kw_only=True)
    licence: str = field(default="Apache-2.0", kw_only=True)

    @property
    def task(self) -> str:
        """``"pose"`` (of the people in given boxes), ``"bottom-up pose"`` or ``"detection"``."""
        raise NotImplementedError

    def build(self) -> nn.Module:
        """The network, with random weights."""
        raise NotImplementedError


@dataclass(frozen=True)
class TopDownConfig(ModelConfig):
    """A top-down pose network.

    Attributes:
        skeleton: Meaning of the heatmaps.
        decoding: ``"dark"`` or ``"plain"``: how PaddleDetection's evaluation decodes the heatmaps.
        udp: Whether evaluation and training cut persons out with the unbiased (UDP) transform.
        sigma: Standard deviation of the training heatmaps, cells.
        keypoint_threshold: Score from which a keypoint is worth drawing.
        pckh: Documented PCKh@0.5 on MPII's validation part, percent, of networks that are made for it.
        strict_pckh: The same for PCKh@0.1.
        dark_ap: Documented accuracy, percent, with DARK decoding, of networks whose ``coco_ap`` is of plain decoding.
    """

    skeleton: Skeleton = COCO17
    decoding: str = "dark"
    udp: bool = False
    sigma: float = 2.0
    keypoint_threshold: float = VISIBLE
    pckh: float | None = None
    strict_pckh: float | None = None
    dark_ap: float | None = None

    @property
    def task(self) -> str:
        return "pose"

    def build(self) -> nn.Module:
        return self.network(**self.arguments, num_keypoints=len(self.skeleton))


@dataclass(frozen=True)
class BottomUpConfig(ModelConfig):
    """A network that finds the keypoints of everybody in an image at once.

    ``input_size`` is (s, s), where s is what the image's shorter side is resized to.

    Attributes:
        skeleton: Meaning of the heatmaps.
        grouping: How the peaks become people.
        keypoint_threshold: Score from which a keypoint is worth drawing.
    """

    skeleton: Skeleton = COCO17
    grouping: GroupingConfig = field(default_factory=GroupingConfig)
    keypoint_threshold: float = VISIBLE

    @property
    def task(self) -> str:
        return "bottom-up pose"

    def build(self) -> nn.Module:
        return self.network(**self.arguments, num_keypoints=len(self.skeleton))


@dataclass(frozen=True)
class DetectorConfig(ModelConfig):
    """A detector.

    Attributes:
        class_names: Meaning of the class scores.
        person_class: Index of the class whose boxes go to the pose network; ``None`` if there is none.
        strides: Input pixels per cell of every pyramid level.
        suppression: How PaddleDetection's deployment removes overlapping boxes.
        person_threshold: Score from which a person's box goes to the pose network.
        letterbox: Images keep their aspect ratio, with grey beside them; else they are stretched to the input size.
        embeddings: The network also gives an embedding per box, by which people are followed.
    """

    class_names: tuple[str, ...] = ("person",)
    person_class: int | None = 0
    strides: tuple[int, ...] = STRIDES
    suppression: NMSConfig | MatrixNMSConfig = GRAPH_NMS
    person_threshold: float = 0.5
    letterbox: bool = False
    embeddings: bool = False

    @property
    def task(self) -> str:
        return "detection"

    def build(self) -> nn.Module:
        return self.network(**self.arguments, num_classes=len(self.class_names))


Entry = TopDownConfig | BottomUpConfig | DetectorConfig


def config_of(network: nn.Module) -> Entry:
    """The catalogue entry that a network from `create_model` carries."""
    entry = getattr(network, "entry", None)
    if not isinstance(entry, Entry):
        raise TypeError(f"{type(network).__name__} carries no catalogue entry; build it with create_model")
    return entry
