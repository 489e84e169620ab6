"""What a model declares beside its network: everything that is needed to use its weights rightly."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar, cast

from torch import nn

from tinypose_torch.codecs.associative_embedding import GroupingConfig
from tinypose_torch.codecs.calibration import KeypointCalibration
from tinypose_torch.codecs.heatmap import HEATMAP_STRIDE
from tinypose_torch.geometry.matrix_nms import MatrixNMSConfig
from tinypose_torch.geometry.nms import GRAPH_NMS, NMSConfig
from tinypose_torch.geometry.skeletons import COCO17, Skeleton
from tinypose_torch.models.base import BottomUpNetwork, Detector, Network, TopDownNetwork
from tinypose_torch.models.constants import IMAGENET_MEAN, IMAGENET_STD
from tinypose_torch.models.weights import WeightsFile
from tinypose_torch.utils.defaults import VISIBLE


@dataclass(frozen=True)
class ModelConfig:
    """What every model declares. Use one of the classes for a task below.

    Attributes:
        name: The name that `create_model` takes.
        network: The network's class.
        input_size: (height, width) of the network's input, pixels.
        arguments: What the class is built with, apart from the number of keypoints or classes.
        weights: Published checkpoints by tag; the first is what ``pretrained=True`` means.
        coco_ap: Documented accuracy, percent, of the first checkpoint.
        mean, std: Normalisation of RGB values scaled to [0, 1].
        licence: Licence of the published weights.
        task: ``"pose"`` (of the people in given boxes), ``"bottom-up pose"`` or ``"detection"``.
        kind: The task's networks in words.
        takes_boxes: Whether the network finds the keypoints of the people in given boxes.
        network_base: What the network's class must subclass.
        head_kind: What the network has one output of: ``"keypoints"`` or ``"classes"``.
        option: Option of the commands that takes the name: ``"pose"`` or ``"detector"``.
        gives_boxes: Whether the network finds boxes, not keypoints.
        output_names: Names and units of the first tensors that the network's `decode` returns.
    """

    name: str
    network: type[Network]
    input_size: tuple[int, int]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, WeightsFile] = field(default_factory=dict)
    coco_ap: float | None = None
    mean: tuple[float, float, float] = field(default=IMAGENET_MEAN, kw_only=True)
    std: tuple[float, float, float] = field(default=IMAGENET_STD, kw_only=True)
    colour_order: str = field(default="RGB", kw_only=True)
    licence: str = field(default="Apache-2.0", kw_only=True)

    task: ClassVar[str]
    kind: ClassVar[str]
    takes_boxes: ClassVar[bool] = False
    network_base: ClassVar[type[nn.Module]]
    head_kind: ClassVar[str]
    option: ClassVar[str] = "pose"
    gives_boxes: ClassVar[bool] = False
    output_names: ClassVar[tuple[str, ...]]

    @property
    def head_names(self) -> tuple[str, ...]:
        """Names of the keypoints or classes, one per output."""
        raise NotImplementedError

    def build(self) -> Network:
        """The network, with random weights."""
        raise NotImplementedError

    def with_head(
        self,
        *,
        num_keypoints: int | None = None,
        skeleton: Skeleton | None = None,
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
    ) -> ModelConfig:
        """The config with other keypoints or classes, as far as any are given.

        Raises:
            ValueError: Arguments that contradict each other or are for another task.
        """
        raise NotImplementedError

    def describe_head(self) -> dict[str, Any]:
        """Arguments of `with_head` for this head, ready for JSON."""
        raise NotImplementedError

    def documented_accuracy(self) -> tuple[str, float | None]:
        """Name and value, percent, of the documented accuracy of the first checkpoint."""
        return "AP", self.coco_ap

    def other_accuracies(self) -> dict[str, float | None]:
        """Documented accuracies of the first checkpoint that are measured otherwise, percent."""
        return {}


@dataclass(frozen=True)
class KeypointConfig(ModelConfig):
    """What top-down and bottom-up networks have in common.

    Attributes:
        skeleton: Meaning of the heatmaps.
        keypoint_threshold: Score from which a keypoint is worth drawing.
    """

    skeleton: Skeleton = COCO17
    keypoint_threshold: float = VISIBLE

    head_kind: ClassVar[str] = "keypoints"

    @property
    def head_names(self) -> tuple[str, ...]:
        return self.skeleton.keypoint_names

    def build(self) -> Network:
        return self.network(**self.arguments, num_keypoints=len(self.skeleton))

    def with_head(
        self,
        *,
        num_keypoints: int | None = None,
        skeleton: Skeleton | None = None,
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
    ) -> ModelConfig:
        if num_classes is not None or class_names is not None:
            raise ValueError(f"{self.name} is a pose network; it has keypoints, not classes")
        if skeleton is None:
            if num_keypoints is None or num_keypoints == len(self.skeleton):
                return self
            if num_keypoints < 1:
                raise ValueError(f"num_keypoints={num_keypoints}; at least 1 is needed")
            skeleton = Skeleton.unnamed(num_keypoints)
        elif num_keypoints not in (None, len(skeleton)):
            raise ValueError(f"num_keypoints={num_keypoints}, but the skeleton has {len(skeleton)}")
        return dataclasses.replace(self, skeleton=skeleton)

    def describe_head(self) -> dict[str, Any]:
        return {"skeleton": dataclasses.asdict(self.skeleton)}


@dataclass(frozen=True)
class TopDownConfig(KeypointConfig):
    """A top-down pose network.

    Attributes:
        decoding: ``"dark"`` or ``"plain"``: how PaddleDetection's evaluation decodes the heatmaps.
        udp: Whether evaluation and training cut persons out with the unbiased (UDP) transform.
        sigma, heatmap_stride: Standard deviation of the training heatmaps, cells; input pixels per cell.
        pckh, strict_pckh: Documented PCKh@0.5 and PCKh@0.1 on MPII's validation part, percent.
        dark_ap: Documented accuracy, percent, with DARK decoding, of networks whose ``coco_ap`` is of plain decoding.
        calibration: Errors of these weights' keypoints by score; ``None`` if they are unknown.
    """

    decoding: str = "dark"
    udp: bool = False
    sigma: float = 2.0
    heatmap_stride: int = HEATMAP_STRIDE
    pckh: float | None = None
    strict_pckh: float | None = None
    dark_ap: float | None = None
    calibration: KeypointCalibration | None = None

    task: ClassVar[str] = "pose"
    kind: ClassVar[str] = "a top-down pose network"
    takes_boxes: ClassVar[bool] = True
    network_base: ClassVar[type[nn.Module]] = TopDownNetwork
    output_names: ClassVar[tuple[str, ...]] = ("heatmap",)

    @property
    def heatmap_size(self) -> tuple[int, int]:
        """(height, width) of the heatmaps, cells."""
        return self.input_size[0] // self.heatmap_stride, self.input_size[1] // self.heatmap_stride

    def documented_accuracy(self) -> tuple[str, float | None]:
        return super().documented_accuracy() if self.pckh is None else ("PCKh", self.pckh)

    def other_accuracies(self) -> dict[str, float | None]:
        return {"DARK": self.dark_ap, "@0.1": self.strict_pckh}


@dataclass(frozen=True)
class BottomUpConfig(KeypointConfig):
    """A network that finds the keypoints of all people in an image at once.

    ``input_size`` is (s, s), where s is what the image's shorter side is resized to.

    Attributes:
        grouping: How the peaks become people.
    """

    grouping: GroupingConfig = field(default_factory=GroupingConfig)

    task: ClassVar[str] = "bottom-up pose"
    kind: ClassVar[str] = "a bottom-up network"
    network_base: ClassVar[type[nn.Module]] = BottomUpNetwork
    output_names: ClassVar[tuple[str, ...]] = ("heatmap", "tag")


@dataclass(frozen=True)
class DetectorConfig(ModelConfig):
    """A detector.

    Attributes:
        class_names: Meaning of the class scores.
        person_class: Index of the class whose boxes go to the pose network; ``None`` if there is none.
        strides: Input pixels per cell of every pyramid level; needed by an ``nms`` with candidates per level.
        nms: How PaddleDetection's deployed detector removes overlapping boxes.
        person_threshold: Score from which a person's box goes to the pose network.
        letterbox: Images keep their aspect ratio, with grey beside them; else they are stretched to the input size.
        embeddings: The network also gives an embedding per box, by which people are tracked.
    """

    class_names: tuple[str, ...] = ("person",)
    person_class: int | None = 0
    strides: tuple[int, ...] = ()
    nms: NMSConfig | MatrixNMSConfig = GRAPH_NMS
    person_threshold: float = 0.5
    letterbox: bool = False
    embeddings: bool = False

    task: ClassVar[str] = "detection"
    kind: ClassVar[str] = "a detector"
    network_base: ClassVar[type[nn.Module]] = Detector
    head_kind: ClassVar[str] = "classes"
    option: ClassVar[str] = "detector"
    gives_boxes: ClassVar[bool] = True
    output_names: ClassVar[tuple[str, ...]] = ("score", "box, pixels")

    def __post_init__(self) -> None:
        if isinstance(self.nms, NMSConfig) and self.nms.candidates_per_level is not None and not self.strides:
            raise ValueError(f"{self.name}: nms has candidates per level, so strides must be given")

    @property
    def head_names(self) -> tuple[str, ...]:
        return self.class_names

    def build(self) -> Network:
        return self.network(**self.arguments, num_classes=len(self.class_names))

    def with_head(
        self,
        *,
        num_keypoints: int | None = None,
        skeleton: Skeleton | None = None,
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
    ) -> ModelConfig:
        if num_keypoints is not None or skeleton is not None:
            raise ValueError(f"{self.name} is a detector; it has classes, not keypoints")
        if class_names is None:
            if num_classes is None or num_classes == len(self.class_names):
                return self
            if num_classes < 1:
                raise ValueError(f"num_classes={num_classes}; at least 1 is needed")
            class_names = [f"class_{i}" for i in range(num_classes)]
        elif num_classes not in (None, len(class_names)):
            raise ValueError(f"num_classes={num_classes}, but {len(class_names)} class names")
        names = tuple(class_names)
        person = names.index("person") if "person" in names else None
        return dataclasses.replace(self, class_names=names, person_class=person)

    def describe_head(self) -> dict[str, Any]:
        return {"class_names": list(self.class_names)}

    def documented_accuracy(self) -> tuple[str, float | None]:
        return "mAP", self.coco_ap


Config = TypeVar("Config", bound=ModelConfig)


def of_task(config: ModelConfig, kind: type[Config]) -> Config:
    """The config, if it is for the task of a config class.

    Raises:
        ValueError: It is for another task.
    """
    if config.task != kind.task:
        raise ValueError(f"{config.name} is {config.kind}; {kind.kind} is needed")
    return cast(Config, config)


def config_of(network: nn.Module) -> ModelConfig:
    """The config that a network from `create_model` carries.

    Raises:
        TypeError: It carries none.
    """
    config = getattr(network, "config", None)
    if not isinstance(config, ModelConfig):
        raise TypeError(f"{type(network).__name__} carries no model config; build it with create_model")
    return config
