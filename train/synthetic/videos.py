"""Rendered videos of people with known identities, who walk, cross, leave and return; one stands still."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from train.synthetic.body import Pose
from train.synthetic.painting import Canvas
from train.synthetic.scenes import Annotation, Figure, annotate, paint_figure, render_background, sample_light

Array = np.ndarray
_STEPS = 1.6  # cycles of the legs per second
_OUTSIDE = 0.2  # widths beyond the image at which people turn around
_SPEEDS = (0.08, 0.22)  # widths per second


@dataclass(frozen=True)
class _Walker:
    """A walking person.

    Attributes:
        start: Position on the way there and back, from 0 to 2.
        speed: Widths per second; 0 stands still.
    """

    figure: Figure
    height: float
    start: float
    speed: float

    def at(self, time: float) -> tuple[Figure, float]:
        """Figure and horizontal position, in image widths, at a time in seconds."""
        if self.speed == 0:
            return self.figure, self.start
        way = 1 + 2 * _OUTSIDE
        along = (self.start + self.speed * time / way) % 2
        place = min(along, 2 - along) * way - _OUTSIDE
        return dataclasses.replace(self.figure, pose=_walking(time + self.start, to_the_right=along < 1)), place


def render_video(
    generator: np.random.Generator, size: tuple[int, int], people: int, frames: int, fps: float = 30.0
) -> Iterator[tuple[Array, dict[int, Annotation]]]:
    """Frames ``(H, W, 3)`` uint8 RGB of the given (height, width), with the visible people by identity.

    The first person stands still in front of the others, who walk.
    """
    background, light = render_background(generator, size), sample_light(generator)
    walkers = [_sample_walker(generator) for _ in range(people - 1)]
    walkers.sort(key=lambda walker: walker.height)
    still = _Walker(_standing(Figure.sample(generator)), 0.75, generator.uniform(0.3, 0.7), 0.0)
    people_by_id = {**dict(enumerate(walkers, start=2)), 1: still}  # the last one is painted in front
    noise = generator.uniform(1, 4)
    for index in range(frames):
        canvas = Canvas(background.copy(), light)
        painted = {}
        for owner, (identity, walker) in enumerate(people_by_id.items()):
            figure, place = walker.at(index / fps)
            painted[identity] = (owner, paint_figure(canvas, figure, owner, walker.height * size[0], place))
        seen = {identity: annotate(canvas, owner, person) for identity, (owner, person) in painted.items()}
        grain = generator.normal(0, noise, (*size, 1))
        image = np.clip(canvas.image + grain, 0, 255).astype(np.uint8)
        yield image, {identity: person for identity, person in seen.items() if person is not None}


def _sample_walker(generator: np.random.Generator) -> _Walker:
    figure = dataclasses.replace(Figure.sample(generator), ground=generator.uniform(0.86, 0.98))
    return _Walker(figure, generator.uniform(0.5, 0.7), generator.uniform(0, 2), generator.uniform(*_SPEEDS))


def _walking(time: float, to_the_right: bool) -> Pose:
    """Pose of a walking person at a time, in half profile."""
    swing = np.sin(2 * np.pi * _STEPS * time)
    forward, back = 28 * swing, -28 * swing
    knees = (12 + 22 * max(0.0, -swing), 12 + 22 * max(0.0, swing))
    return Pose(
        yaw=55 if to_the_right else -55,
        pitch=0,
        roll=0,
        lean=6,
        head_yaw=0,
        head_pitch=0,
        raise_=(back, forward),
        spread=(8, 8),
        elbow=(25, 25),
        thigh=(forward + 6, back + 6),
        straddle=(4, 4),
        knee=knees,
    )


def _standing(figure: Figure) -> Figure:
    pose = Pose(0, 0, 0, 2, 0, 0, (5, 5), (14, 14), (15, 15), (3, 3), (6, 6), (4, 4))
    return dataclasses.replace(figure, pose=pose, ground=0.97)
