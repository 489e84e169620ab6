"""Published weights of models."""

from __future__ import annotations

from dataclasses import dataclass

KEYPOINT_HOST = "https://bj.bcebos.com/v1/paddledet/models/keypoint/"
MODEL_HOST = "https://paddledet.bj.bcebos.com/models/"


@dataclass(frozen=True)
class WeightsFile:
    """A published checkpoint.

    Attributes:
        url: Its official address.
        filename: Its name on a mirror and in the download folder; unique among all models.
        coco_ap: Documented accuracy, percent, where it differs from the config's.
    """

    url: str
    filename: str
    coco_ap: float | None = None


def official_weights(url: str) -> dict[str, WeightsFile]:
    """The only release of a model."""
    return {"official": WeightsFile(url, url.rsplit("/", 1)[-1])}
