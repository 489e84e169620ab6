"""Learning-rate schedules by step."""

from __future__ import annotations

import math

from train.config import Optimisation


def rate_factor(options: Optimisation, step: int, steps_per_epoch: int, total_steps: int) -> float:
    """Factor of the base learning rate in a step, from 0.

    The rate climbs linearly over the warm-up, then falls by ``decay`` at every milestone, which takes effect with the
    first step of that epoch; or along a cosine to 0 at ``total_steps``, or at the end of epoch ``cosine_epochs``.
    """
    if step < options.warmup_steps:
        done = step / options.warmup_steps
        return options.warmup_factor * (1 - done) + done
    if options.schedule == "cosine":
        last = total_steps if options.cosine_epochs is None else options.cosine_epochs * steps_per_epoch
        done = (step - options.warmup_steps) / max(1, last - options.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    passed = sum(step >= round(milestone * steps_per_epoch) for milestone in options.milestones)
    return options.decay**passed
