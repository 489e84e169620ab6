"""The registered models with PicoDet."""

from __future__ import annotations

import dataclasses
from typing import Any

from tinypose_torch.geometry.nms import GRAPH_NMS, NUMPY_NMS, NMSConfig
from tinypose_torch.models.config import DetectorConfig
from tinypose_torch.models.constants import COCO_CLASSES
from tinypose_torch.models.picodet.detector import STRIDES, PicoDet
from tinypose_torch.models.registry import register_model
from tinypose_torch.models.weights import KEYPOINT_HOST, MODEL_HOST, official_weights

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
    nms: NMSConfig = GRAPH_NMS,
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
        weights=official_weights(url),
        coco_ap=coco_ap,
        class_names=classes,
        strides=STRIDES,
        nms=nms,
    )


def _pedestrian(backbone: str, size: int, coco_ap: float) -> DetectorConfig:
    name = f"picodet_s_{size}_{'lcnet_' if backbone == 'lcnet' else ''}pedestrian"
    folder = "tinypose_enhance/" if backbone == "lcnet" else ""
    url = f"{KEYPOINT_HOST}{folder}{name}.pdparams"
    rule = GRAPH_NMS if backbone == "lcnet" else _PEDESTRIAN_2021
    return _picodet(name, backbone, "s", size, url, coco_ap, ("person",), rule)


def _coco(backbone: str, letter: str, size: int, coco_ap: float) -> DetectorConfig:
    if backbone == "lcnet":
        name = f"picodet_{letter}_{size}_coco_lcnet"
        url = f"{MODEL_HOST}{name}.pdparams"
    else:
        name = f"picodet_legacy_{letter}_{size}_coco"
        url = f"{MODEL_HOST}picodet_{letter}_{size}_coco.pdparams"
    return _picodet(name, backbone, letter, size, url, coco_ap, COCO_CLASSES)


@register_model
def picodet() -> list[DetectorConfig]:
    """PicoDet for pedestrians and for COCO's classes, of 2022 (LCNet) and 2021 (ESNet)."""
    return [
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
    ]
