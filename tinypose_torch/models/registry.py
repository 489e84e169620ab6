"""The catalogue: one entry per model.

Addresses and accuracies are those that PaddleDetection documents (keypoints on COCO val2017 with ground-truth boxes,
detectors as box mAP). A new variant of a known network is one new entry.
"""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
from typing import Any

from tinypose_torch.checkpoints.errors import shown
from tinypose_torch.checkpoints.limits import MAX_NAME_LENGTH
from tinypose_torch.geometry.matrix_nms import MatrixNMSConfig
from tinypose_torch.geometry.nms import (
    GRAPH_NMS,
    NO_NMS,
    NUMPY_NMS,
    NMSConfig,
)
from tinypose_torch.geometry.skeletons import COCO17, MPII16, Skeleton
from tinypose_torch.models import FairMOT, HigherHRNet, HRNet, LiteHRNet, PicoDet, PPYOLOv2
from tinypose_torch.models.config import BottomUpConfig, DetectorConfig, Entry, TopDownConfig, WeightsFile
from tinypose_torch.models.fairmot import STRIDE as FAIRMOT_STRIDE
from tinypose_torch.models.ppyolov2 import STRIDES as YOLO_STRIDES


class UnknownModelError(KeyError):
    """A model name that is not in the catalogue."""

    def __str__(self) -> str:
        return str(self.args[0])


COCO_CLASSES = tuple(
    """person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter,
bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,skis,
snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,
knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,potted plant,bed,
dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,
vase,scissors,teddy bear,hair drier,toothbrush""".replace("\n", "").split(",")
)

_KEYPOINT_HOST = "https://bj.bcebos.com/v1/paddledet/models/keypoint/"
_MODEL_HOST = "https://paddledet.bj.bcebos.com/models/"


def _official(url: str) -> dict[str, WeightsFile]:
    return {"official": WeightsFile(url, url.rsplit("/", 1)[-1])}


def _tinypose(height: int, width: int, sigma: float, coco_ap: float, coco_ap_2021: float) -> TopDownConfig:
    name = f"tinypose_{height}x{width}"
    file = f"{name}.pdparams"
    return TopDownConfig(
        name=name,
        network=LiteHRNet,
        arguments={"variant": "wider_naive"},
        input_size=(height, width),
        weights={
            "2022": WeightsFile(f"{_KEYPOINT_HOST}tinypose_enhance/{file}", file),
            "2021": WeightsFile(f"{_KEYPOINT_HOST}{file}", f"{name}_2021.pdparams", coco_ap_2021),
        },
        coco_ap=coco_ap,
        udp=True,
        sigma=sigma,
    )


def _lite_hrnet(
    name: str, variant: str, size: tuple[int, int], sigma: float, coco_ap: float, dark_ap: float | None = None
) -> TopDownConfig:
    return TopDownConfig(
        name=name,
        network=LiteHRNet,
        arguments={"variant": variant},
        input_size=size,
        weights=_official(f"{_KEYPOINT_HOST}{name}_coco.pdparams"),
        coco_ap=coco_ap,
        decoding="plain",
        sigma=sigma,
        dark_ap=dark_ap,
    )


def _hrnet(
    name: str,
    size: tuple[int, int],
    coco_ap: float | None,
    skeleton: Skeleton = COCO17,
    pckh: float | None = None,
    strict_pckh: float | None = None,
) -> TopDownConfig:
    return TopDownConfig(
        name=name,
        network=HRNet,
        arguments={"width": 32},
        input_size=size,
        weights=_official(f"{_MODEL_HOST}keypoint/{name}.pdparams"),
        coco_ap=coco_ap,
        skeleton=skeleton,
        pckh=pckh,
        strict_pckh=strict_pckh,
    )


def _higher_hrnet(name: str, size: int, coco_ap: float, *, scale_maps: bool = False) -> BottomUpConfig:
    file = name.replace("higherhrnet_", "higherhrnet_hrnet_")
    return BottomUpConfig(
        name=name,
        network=HigherHRNet,
        arguments={"width": 32, "scale_maps": scale_maps},
        input_size=(size, size),
        weights=_official(f"{_MODEL_HOST}keypoint/{file}.pdparams"),
        coco_ap=coco_ap,
    )


def _narrow_higher_hrnet(width: int, size: int) -> BottomUpConfig:
    """This project's own, for small pictures and quick training; nobody published weights of it."""
    return BottomUpConfig(
        name=f"higherhrnet_w{width}_{size}",
        network=HigherHRNet,
        arguments={"width": width, "stem": 2 * width},
        input_size=(size, size),
        weights={},
        coco_ap=None,
    )


# Width of the backbone, width of neck and head, depth of the head's towers.
_PICODET_SIZES = {"xs": (0.35, 96, 2), "s": (0.75, 96, 2), "m": (1.5, 128, 4), "l": (2.0, 160, 4)}
_LEGACY_SIZES = {"s": (0.75, 96, 2), "m": (1.0, 128, 4), "l": (1.25, 160, 4)}
_SMALL_RATIO = (0.875, 0.5, 0.5, 0.5, 0.625, 0.5, 0.625, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5)
_LARGE_RATIO = (0.875, 0.5, 1.0, 0.625, 0.5, 0.75, 0.625, 0.625, 0.5, 0.625, 1.0, 0.625, 0.75)


# The 2021 pedestrian detectors are deployed without post-processing in the network, with these thresholds.
_PEDESTRIAN_2021 = dataclasses.replace(NUMPY_NMS, score_threshold=0.3, iou_threshold=0.5)


def _picodet(
    name: str,
    backbone: str,
    letter: str,
    size: int,
    url: str,
    coco_ap: float,
    classes: tuple[str, ...],
    suppression: NMSConfig = GRAPH_NMS,
) -> DetectorConfig:
    scale, channels, num_convs = (_PICODET_SIZES if backbone == "lcnet" else _LEGACY_SIZES)[letter]
    arguments: dict[str, Any] = {
        "backbone": backbone,
        "scale": scale,
        "channels": channels,
        "num_convs": num_convs,
    }
    if backbone == "esnet":
        arguments["channel_ratio"] = _SMALL_RATIO if letter == "s" else _LARGE_RATIO
    return DetectorConfig(
        name=name,
        network=PicoDet,
        arguments=arguments,
        input_size=(size, size),
        weights=_official(url),
        coco_ap=coco_ap,
        class_names=classes,
        suppression=suppression,
    )


def _pedestrian(backbone: str, size: int, coco_ap: float) -> DetectorConfig:
    name = f"picodet_s_{size}_{'lcnet_' if backbone == 'lcnet' else ''}pedestrian"
    folder = "tinypose_enhance/" if backbone == "lcnet" else ""
    url = f"{_KEYPOINT_HOST}{folder}{name}.pdparams"
    rule = GRAPH_NMS if backbone == "lcnet" else _PEDESTRIAN_2021
    return _picodet(name, backbone, "s", size, url, coco_ap, ("person",), rule)


def _coco(backbone: str, letter: str, size: int, coco_ap: float) -> DetectorConfig:
    if backbone == "lcnet":
        name = f"picodet_{letter}_{size}_coco_lcnet"
        url = f"{_MODEL_HOST}{name}.pdparams"
    else:
        name = f"picodet_legacy_{letter}_{size}_coco"
        url = f"{_MODEL_HOST}picodet_{letter}_{size}_coco.pdparams"
    return _picodet(name, backbone, letter, size, url, coco_ap, COCO_CLASSES)


def _ppyolov2(coco_ap: float) -> DetectorConfig:
    return DetectorConfig(
        name="ppyolov2_r50vd_dcn",
        network=PPYOLOv2,
        arguments={},
        input_size=(640, 640),
        weights=_official(f"{_MODEL_HOST}ppyolov2_r50vd_dcn_365e_coco.pdparams"),
        coco_ap=coco_ap,
        class_names=COCO_CLASSES,
        strides=YOLO_STRIDES,
        suppression=MatrixNMSConfig(),
    )


def _fairmot() -> DetectorConfig:
    return DetectorConfig(
        name="fairmot_dla34",
        network=FairMOT,
        arguments={},
        input_size=(608, 1088),
        weights=_official(f"{_MODEL_HOST}mot/fairmot_dla34_30e_1088x608.pdparams"),
        coco_ap=None,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        strides=(FAIRMOT_STRIDE,),
        suppression=NO_NMS,
        person_threshold=0.4,
        letterbox=True,
        embeddings=True,
    )


CATALOGUE: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        _tinypose(128, 96, sigma=1, coco_ap=58.4, coco_ap_2021=58.1),
        _tinypose(256, 192, sigma=2, coco_ap=68.3, coco_ap_2021=68.8),
        _lite_hrnet("lite_hrnet_18_256x192", "lite_18", (256, 192), sigma=2, coco_ap=66.5),
        _lite_hrnet("lite_hrnet_18_384x288", "lite_18", (384, 288), sigma=3, coco_ap=69.7),
        _lite_hrnet("lite_hrnet_30_256x192", "lite_30", (256, 192), sigma=2, coco_ap=69.4),
        _lite_hrnet("lite_hrnet_30_384x288", "lite_30", (384, 288), sigma=3, coco_ap=72.5),
        _lite_hrnet("wider_naive_hrnet_18_256x192", "wider_naive", (256, 192), 2, coco_ap=67.6, dark_ap=68.4),
        _hrnet("hrnet_w32_256x192", (256, 192), coco_ap=76.9),
        _hrnet("hrnet_w32_384x288", (384, 288), coco_ap=77.8),
        _hrnet("dark_hrnet_w32_256x192", (256, 192), coco_ap=78.0),
        _hrnet("dark_hrnet_w32_384x288", (384, 288), coco_ap=78.3),
        _hrnet("hrnet_w32_256x256_mpii", (256, 256), None, MPII16, pckh=90.6, strict_pckh=38.5),
        _higher_hrnet("higherhrnet_w32_512", 512, coco_ap=67.1),
        _higher_hrnet("higherhrnet_w32_640", 640, coco_ap=68.3),
        _higher_hrnet("higherhrnet_w32_512_swahr", 512, coco_ap=68.9, scale_maps=True),
        _narrow_higher_hrnet(16, 192),
        _pedestrian("esnet", 192, coco_ap=29.0),
        _pedestrian("esnet", 320, coco_ap=38.5),
        _pedestrian("lcnet", 192, coco_ap=31.7),
        _pedestrian("lcnet", 320, coco_ap=41.6),
        _coco("lcnet", "xs", 320, coco_ap=23.5),
        _coco("lcnet", "xs", 416, coco_ap=26.2),
        _coco("lcnet", "s", 320, coco_ap=29.1),
        _coco("lcnet", "s", 416, coco_ap=32.5),
        _coco("lcnet", "m", 320, coco_ap=34.4),
        _coco("lcnet", "m", 416, coco_ap=37.5),
        _coco("lcnet", "l", 320, coco_ap=36.1),
        _coco("lcnet", "l", 416, coco_ap=39.4),
        _coco("lcnet", "l", 640, coco_ap=42.6),
        _coco("esnet", "s", 320, coco_ap=27.1),
        _coco("esnet", "s", 416, coco_ap=30.7),
        _coco("esnet", "m", 320, coco_ap=30.9),
        _coco("esnet", "m", 416, coco_ap=34.8),
        _coco("esnet", "l", 320, coco_ap=32.9),
        _coco("esnet", "l", 416, coco_ap=36.6),
        _coco("esnet", "l", 640, coco_ap=40.9),
        _ppyolov2(coco_ap=49.5),
        _fairmot(),
    )
}


def list_models(pattern: str = "*") -> list[str]:
    """Names in the catalogue that match a shell pattern, for example ``"tinypose*"``."""
    return [name for name in CATALOGUE if fnmatch.fnmatch(name, pattern)]


def get_config(name: str) -> Entry:
    """The catalogue entry of a model.

    Raises:
        UnknownModelError: No such model; the message suggests the nearest names.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    near = difflib.get_close_matches(name[:MAX_NAME_LENGTH], CATALOGUE, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "list_models() lists all"
    raise UnknownModelError(f"unknown model {shown(name)}; {hint}")


def get_config(name: str) -> TopDownConfig:
    """The catalogue entry of a pose network.

    Raises:
        UnknownModelError: No such model.
        ValueError: Another kind of network.
    """
    entry = get_config(name)
    if not isinstance(entry, TopDownConfig):
        kind = "a detector" if isinstance(entry, DetectorConfig) else "a bottom-up network"
        raise ValueError(f"{name} is {kind}; a pose network for the people in boxes is needed")
    return entry
