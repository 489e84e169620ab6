"""The registered models with Lite-HRNet."""

from __future__ import annotations

from tinypose_torch.models.config import TopDownConfig
from tinypose_torch.models.lite_hrnet.network import LiteHRNet
from tinypose_torch.models.registry import register_model
from tinypose_torch.models.weights import KEYPOINT_HOST, WeightsFile, official_weights


def _tinypose(height: int, width: int, sigma: float, coco_ap: float, coco_ap_2021: float) -> TopDownConfig:
    name = f"tinypose_{height}x{width}"
    file = f"{name}.pdparams"
    return TopDownConfig(
        name=name,
        network=LiteHRNet,
        arguments={"variant": "wider_naive"},
        input_size=(height, width),
        weights={
            "2022": WeightsFile(f"{KEYPOINT_HOST}tinypose_enhance/{file}", file),
            "2021": WeightsFile(f"{KEYPOINT_HOST}{file}", f"{name}_2021.pdparams", coco_ap_2021),
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
        weights=official_weights(f"{KEYPOINT_HOST}{name}_coco.pdparams"),
        coco_ap=coco_ap,
        decoding="plain",
        sigma=sigma,
        dark_ap=dark_ap,
    )


@register_model
def lite_hrnet() -> list[TopDownConfig]:
    """PP-TinyPose and Lite-HRNet, trained on COCO."""
    return [
        _tinypose(128, 96, sigma=1, coco_ap=58.4, coco_ap_2021=58.1),
        _tinypose(256, 192, sigma=2, coco_ap=68.3, coco_ap_2021=68.8),
        _lite_hrnet("lite_hrnet_18_256x192", "lite_18", (256, 192), sigma=2, coco_ap=66.5),
        _lite_hrnet("lite_hrnet_18_384x288", "lite_18", (384, 288), sigma=3, coco_ap=69.7),
        _lite_hrnet("lite_hrnet_30_256x192", "lite_30", (256, 192), sigma=2, coco_ap=69.4),
        _lite_hrnet("lite_hrnet_30_384x288", "lite_30", (384, 288), sigma=3, coco_ap=72.5),
        _lite_hrnet("wider_naive_hrnet_18_256x192", "wider_naive", (256, 192), 2, coco_ap=67.6, dark_ap=68.4),
    ]
