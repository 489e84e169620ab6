"""What all training here has in common, on Lightning: optimizer, rate, evaluation; and the job that a configuration makes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import Dataset

from tinypose_torch.data.pose.dataset import Sample
from tinypose_torch.models.base import Network
from train.config import Config
from train.init_model import keep_frozen_still
from train.preflight import CONFIGURATION_KEY
from train.schedule import rate_factor


class Training(LightningModule):
    """Trains a network.

    Args:
        steps_per_epoch, total_steps: Optimizer steps.

    Attributes:
        metric: The number of an evaluation that says which one is best.
        accuracy: All numbers of the last evaluation.
        restoring: Whether a checkpoint is being restored.
    """

    metric = "AP"

    def __init__(self, network: Network, config: Config, steps_per_epoch: int, total_steps: int) -> None:
        super().__init__()
        self.network, self.config = network, config
        self.steps_per_epoch, self.total_steps = steps_per_epoch, total_steps
        # In a list, where it is not taken for a second network with its own tensors.
        self._callable = [torch.compile(network) if config.compile else network]
        self._no_decay = frozenset(network.no_weight_decay())
        self._found: list[Any] = []
        self.accuracy: dict[str, float] = {}
        self.restoring = False
        if config.channels_last:
            network.to(memory_format=torch.channels_last)
        self.train()

    @abstractmethod
    def losses(self, batch: Sample) -> dict[str, Tensor]:
        """The loss of a batch as ``loss``, and its parts."""

    @abstractmethod
    def find(self, batch: Sample) -> list[Any]:
        """What the network finds in a batch of the evaluation."""

    @abstractmethod
    def accuracy_of(self, found: Sequence[Any]) -> dict[str, float]:
        """The accuracy of everything that was found."""

    @property
    def epoch(self) -> int:
        """How often every sample has come already."""
        return self.global_step // self.steps_per_epoch

    def train(self, mode: bool = True) -> Training:
        """Training mode but for what is frozen."""
        super().train(mode)
        if mode:
            keep_frozen_still(self.network, self.config.freeze)
        return self

    def forward(self, images: Tensor) -> Any:
        if self.config.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        (network,) = self._callable
        return network(images)

    def training_step(self, batch: Sample, batch_idx: int) -> Tensor:
        losses = self.losses(batch)
        loss = losses["loss"]
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} in step {self.global_step}; a smaller optimisation.learning_rate, "
                "optimisation.clip=1 or precision=32 may help"
            )
        for name, value in losses.items():
            self.log(name, value, prog_bar=name == "loss")
        return loss

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the configuration, with which a resumed run is compared."""
        checkpoint[CONFIGURATION_KEY] = self.config.model_dump(mode="json")

    def on_train_start(self) -> None:
        self.restoring = False

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let a run that had reached its end go on when it is resumed with more steps."""
        self.restoring = True
        checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"] = False

    def configure_optimizers(self) -> Any:
        options = self.config.optimisation
        rate = base_rate(self.config, self.trainer.world_size)
        groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
        for name, parameter in self.network.named_parameters():
            if parameter.requires_grad:
                groups[self.decays(name)].append(parameter)
        parameters = [
            {"params": members, "weight_decay": options.weight_decay if decays else 0.0}
            for decays, members in groups.items()
            if members
        ]
        fused = self.config.precision in ("32", "64")  # mixed precision unscales gradients in between
        optimizer: torch.optim.Optimizer
        if options.optimizer == "adam":
            optimizer = torch.optim.Adam(parameters, lr=rate, fused=fused)
        else:
            optimizer = torch.optim.SGD(parameters, lr=rate, momentum=options.momentum, fused=fused)

        def factor(step: int) -> float:
            return rate_factor(options, step, self.steps_per_epoch, self.total_steps)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def decays(self, name: str) -> bool:
        """Whether a parameter decays."""
        return name not in self._no_decay

    def on_validation_epoch_start(self) -> None:
        self._found = []

    def validation_step(self, batch: Sample, batch_idx: int) -> None:
        self._found += self.find(batch)

    def on_validation_epoch_end(self) -> None:
        found = self._found
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            gathered: list[list[Any]] = [[] for _ in range(dist.get_world_size())]
            dist.all_gather_object(gathered, found)
            found = [item for part in gathered for item in part]
        self.accuracy = self.accuracy_of(found)
        for name, value in self.accuracy.items():
            self.log(name, value, prog_bar=name == self.metric, rank_zero_only=False, sync_dist=False)


@dataclass(frozen=True)
class Job:
    """Everything that a configuration asks for, read and checked.

    Attributes:
        network: Ready to train.
        training: Makes the module, from the numbers of steps per epoch and in all.
        samples: To train on; its items take (epoch, index).
        collate: Samples to a batch.
        evaluation: Samples to evaluate on, with ``image`` and ``index``.
        rows: What to tell the user, in pairs.
        evaluation_batch: Samples of the evaluation at a time; as many as in training unless given.
    """

    network: Network
    training: Callable[[int, int], Training]
    samples: Dataset[Sample]
    count: int
    collate: Callable[[Sequence[Sample]], Any]
    evaluation: Dataset[Sample] | None
    rows: list[tuple[str, str]]
    evaluation_batch: int | None = None


def samples_per_step(config: Config, processes: int) -> int:
    """Samples of all processes that make an optimizer step."""
    return config.batch_size * config.accumulate * processes


def base_rate(config: Config, processes: int) -> float:
    """The learning rate for the samples per step of this run (Goyal et al., "Accurate, Large Minibatch SGD", 2017)."""
    options = config.optimisation
    if options.reference_batch is None:
        return options.learning_rate
    return options.learning_rate * samples_per_step(config, processes) / options.reference_batch


def describe_rate(config: Config, processes: int) -> str:
    """`base_rate`, and what it was scaled from."""
    options, samples = config.optimisation, samples_per_step(config, processes)
    rate = f"{base_rate(config, processes):.3g}"
    if options.reference_batch in (None, samples):
        return rate
    return f"{rate} ({options.learning_rate:.3g} at {options.reference_batch} samples per step, scaled to {samples})"
