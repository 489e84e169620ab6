"""The training itself, on Lightning: loss, optimizer, rate, evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from tinypose_torch.checkpoints.catalogue import PoseEntry
from tinypose_torch.data.dataset import Sample
from tinypose_torch.evaluation.coco import KeypointPrediction, keypoint_accuracy, keypoint_results
from tinypose_torch.evaluation.mpii import MpiiTruth, pckh_of_predictions
from tinypose_torch.evaluation.topdown import average_with_flipped, to_predictions
from tinypose_torch.factory import entry_of
from tinypose_torch.geometry.heatmaps import decode_heatmaps
from tinypose_torch.losses.heatmaps import HeatmapLoss
from train.config import Config
from train.samples import People
from train.schedule import rate_factor
from train.start import keep_frozen_still

METRICS = {"coco": "AP", "mpii": "PCKh"}


class PoseTraining(LightningModule):
    """Trains a pose network on heatmaps.

    Args:
        steps_per_epoch, total_steps: Optimizer steps.
    """

    def __init__(
        self, network: nn.Module, config: Config, people: People, steps_per_epoch: int, total_steps: int
    ) -> None:
        super().__init__()
        self.network, self.config, self.people = network, config, people
        self.steps_per_epoch, self.total_steps = steps_per_epoch, total_steps
        self.loss = HeatmapLoss(config.loss_scale, config.hardest_keypoints)
        # In a list, where it is not taken for a second network with tensors of its own.
        self._callable = [torch.compile(network) if config.compile else network]
        self._predictions: list[KeypointPrediction] = []
        self.accuracy: dict[str, float] = {}
        if config.channels_last:
            network.to(memory_format=torch.channels_last)
        self.train()

    def train(self, mode: bool = True) -> PoseTraining:
        """Training mode but for what is frozen."""
        super().train(mode)
        if mode:
            keep_frozen_still(self.network, self.config.freeze)
        return self

    def forward(self, images: Tensor) -> Tensor:
        if self.config.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        (network,) = self._callable
        return network(images)

    def training_step(self, batch: Sample, batch_idx: int) -> Tensor:
        loss = self.loss(self(batch["image"]), batch["heatmaps"], batch["weights"])
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {float(loss)} in step {self.global_step}; a smaller optimisation.learning_rate, "
                "optimisation.clip=1 or precision=32 may help"
            )
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        options = self.config.optimisation
        learning = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        rate = base_rate(self.config, self.trainer.world_size)
        optimizer = torch.optim.Adam(learning, lr=rate, weight_decay=options.weight_decay)

        def factor(step: int) -> float:
            return rate_factor(options, step, self.steps_per_epoch, self.total_steps)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_validation_epoch_start(self) -> None:
        self._predictions = []

    def validation_step(self, batch: Sample, batch_idx: int) -> None:
        entry = entry_of(self.network)
        assert isinstance(entry, PoseEntry)
        heatmaps = self(batch["image"]).float().cpu().numpy()
        if self.config.flip_test:
            mirrored = self(batch["image"].flip(3)).float().cpu().numpy()
            heatmaps = average_with_flipped(heatmaps, mirrored, entry.skeleton)
        coordinates, scores = decode_heatmaps(heatmaps, entry.decoding)
        assert self.people.val is not None
        records = [self.people.val.items[index] for index in batch["index"].tolist()]
        self._predictions += to_predictions(coordinates, scores, records, entry)

    def on_validation_epoch_end(self) -> None:
        predictions = self._predictions
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            gathered: list[list[KeypointPrediction]] = [[] for _ in range(dist.get_world_size())]
            dist.all_gather_object(gathered, predictions)
            predictions = [prediction for part in gathered for prediction in part]
        self.accuracy = accuracy_of(predictions, self.people)
        for name, value in self.accuracy.items():
            self.log(
                name, value, prog_bar=name == METRICS[self.config.data.format], rank_zero_only=False, sync_dist=False
            )


def base_rate(config: Config, processes: int) -> float:
    """The learning rate for the samples that make a step here."""
    options = config.optimisation
    if options.reference_batch is None:
        return options.learning_rate
    return options.learning_rate * config.batch_size * config.accumulate * processes / options.reference_batch


def accuracy_of(predictions: Sequence[KeypointPrediction], people: People) -> dict[str, float]:
    """COCO's ten numbers, or MPII's PCKh."""
    if isinstance(people.truth, MpiiTruth):
        return pckh_of_predictions(predictions, people.truth)
    assert people.truth is not None
    sigmas = people.skeleton.sigmas
    records = keypoint_results(predictions, sigmas, category_id=people.truth.category_id)
    return keypoint_accuracy(people.truth.path, records, sigmas)
