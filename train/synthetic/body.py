"""Articulated figures: proportions, poses and joint positions in space.

Body coordinates: x to the person's left, y up, z forwards; lengths in units of the person's height.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray

# Share of the height, after the usual artists' proportions; every person varies around them.
LENGTHS = {
    "neck": 0.06,
    "head": 0.115,  # radius of the skull's ellipsoid, along the height
    "torso": 0.285,
    "shoulder": 0.105,
    "hip": 0.055,
    "upper_arm": 0.165,
    "forearm": 0.145,
    "hand": 0.075,
    "thigh": 0.235,
    "shin": 0.225,
    "foot": 0.115,
}
# Directions on the head, in units of its radii: x to the left, y up, z forwards.
FACE = {
    "nose": (0.0, -0.1, 1.12),
    "left_eye": (0.38, 0.12, 0.92),
    "right_eye": (-0.38, 0.12, 0.92),
    "left_ear": (0.98, 0.0, -0.05),
    "right_ear": (-0.98, 0.0, -0.05),
}
SIDES = (("left", 1.0), ("right", -1.0))


@dataclass(frozen=True)
class Body:
    """Proportions of one person.

    Attributes:
        lengths: Lengths of the limbs, in the units of ``LENGTHS``.
        girth: Thickness of the limbs relative to the default.
    """

    lengths: dict[str, float]
    girth: float

    @classmethod
    def sample(cls, generator: np.random.Generator) -> Body:
        """A body of random proportions."""
        lengths = {name: value * generator.uniform(0.9, 1.1) for name, value in LENGTHS.items()}
        return cls(lengths, generator.uniform(1.0, 1.5))


@dataclass(frozen=True)
class Pose:
    """Joint angles in degrees; pairs are (left, right).

    Attributes:
        yaw: Of the whole body; 0 faces the camera, 90 shows the left side turned away.
        pitch: Of the whole body towards the camera; 90 lies.
        roll: Of the whole body in the picture.
        lean: Of the torso forwards.
        head_yaw, head_pitch: Against the torso.
        raise_, spread: Of the upper arms, forwards from hanging, and sideways.
        elbow: 0 is straight.
        thigh, straddle: Of the thighs, forwards from standing, and sideways.
        knee: 0 is straight.
    """

    yaw: float
    pitch: float
    roll: float
    lean: float
    head_yaw: float
    head_pitch: float
    raise_: tuple[float, float]
    spread: tuple[float, float]
    elbow: tuple[float, float]
    thigh: tuple[float, float]
    straddle: tuple[float, float]
    knee: tuple[float, float]


def sample_pose(generator: np.random.Generator) -> Pose:
    """Sample a pose around one of several activities."""
    uniform, normal = generator.uniform, generator.normal
    swing, side = uniform(10, 45), generator.choice([-1, 1])
    arms = {"raise_": (normal(5, 12), normal(5, 12)), "spread": (uniform(4, 30), uniform(4, 30))}
    arms["elbow"] = (uniform(0, 50), uniform(0, 50))
    legs = {"thigh": (normal(3, 6), normal(3, 6)), "straddle": (uniform(2, 12), uniform(2, 12))}
    legs["knee"] = (uniform(0, 12), uniform(0, 12))
    lean = normal(2, 5)
    activity = generator.choice(["stand", "walk", "run", "wave", "sit", "squat", "jump", "reach"])
    if activity in ("walk", "run"):
        quick = 1.7 if activity == "run" else 1.0
        legs["thigh"] = (side * swing * quick + 10, -side * swing * quick + 10)
        legs["knee"] = (uniform(5, 35) * quick, uniform(5, 55) * quick)
        arms["raise_"] = (-side * swing * quick, side * swing * quick)
        arms["elbow"] = (uniform(20, 60) * quick, uniform(20, 60) * quick)
        lean += 8 * quick
    elif activity == "wave":
        raised = int(side > 0)
        for name, value in (("raise_", uniform(-10, 60)), ("spread", uniform(90, 160)), ("elbow", uniform(0, 80))):
            arms[name] = (arms[name][0], value) if raised else (value, arms[name][1])
    elif activity == "sit":
        legs["thigh"] = (uniform(70, 95), uniform(70, 95))
        legs["knee"] = (uniform(65, 110), uniform(65, 110))
        arms["raise_"], arms["elbow"] = (uniform(10, 60), uniform(10, 60)), (uniform(20, 100), uniform(20, 100))
    elif activity == "squat":
        bend = uniform(50, 110)
        legs["thigh"] = (bend + normal(0, 8), bend + normal(0, 8))
        legs["knee"] = (bend * 1.25, bend * 1.25)
        legs["straddle"] = (uniform(5, 30), uniform(5, 30))
        arms["raise_"] = (uniform(0, 90), uniform(0, 90))
        lean += uniform(10, 40)
    elif activity == "jump":
        arms["spread"] = (uniform(60, 165), uniform(60, 165))
        legs["straddle"] = (uniform(10, 45), uniform(10, 45))
        legs["knee"] = (uniform(0, 60), uniform(0, 60))
    elif activity == "reach":
        arms["raise_"] = (uniform(30, 170), uniform(30, 170))
        arms["elbow"] = (uniform(0, 90), uniform(0, 90))
    yaw = normal(0, 35) if generator.random() < 0.8 else uniform(-180, 180)
    pitch = normal(0, 8) if generator.random() < 0.95 else uniform(-45, 45)
    return Pose(yaw, pitch, normal(0, 7), lean, normal(0, 22), normal(0, 12), **arms, **legs)


def joints_in_space(body: Body, pose: Pose) -> dict[str, Array]:
    """Joints by their COCO names, and ``neck``, ``head`` (centre), ``crown``, hands and toes: camera axes.

    Returns:
        Points (3,): x to the right of the picture, y up, z towards the camera; the pelvis is the origin.
    """
    lengths = body.lengths
    torso = rotation_x(pose.lean)
    neck = torso @ np.array([0, lengths["torso"], 0])
    head_turn = torso @ rotation_y(pose.head_yaw) @ rotation_x(pose.head_pitch)
    head = neck + head_turn @ np.array([0, lengths["neck"] + 0.75 * lengths["head"], 0.02])
    points = {"pelvis": np.zeros(3), "neck": neck, "head": head}
    points["crown"] = head + head_turn @ np.array([0, lengths["head"], 0])
    for name, direction in FACE.items():
        points[name] = head + head_turn @ (np.array(direction) * head_radii(body))
    for index, (side, sign) in enumerate(SIDES):
        shoulder = neck + torso @ np.array([sign * lengths["shoulder"], -0.02, 0])
        arm = torso @ rotation_z(sign * pose.spread[index]) @ rotation_x(-pose.raise_[index])
        elbow = shoulder + arm @ np.array([0, -lengths["upper_arm"], 0])
        forearm = arm @ rotation_x(-pose.elbow[index])
        wrist = elbow + forearm @ np.array([0, -lengths["forearm"], 0])
        points |= {f"{side}_shoulder": shoulder, f"{side}_elbow": elbow, f"{side}_wrist": wrist}
        points[f"{side}_hand"] = wrist + forearm @ np.array([0, -lengths["hand"], 0])
        hip = np.array([sign * lengths["hip"], 0, 0])
        leg = rotation_z(sign * pose.straddle[index]) @ rotation_x(-pose.thigh[index])
        knee = hip + leg @ np.array([0, -lengths["thigh"], 0])
        shin = leg @ rotation_x(pose.knee[index])
        ankle = knee + shin @ np.array([0, -lengths["shin"], 0])
        points |= {f"{side}_hip": hip, f"{side}_knee": knee, f"{side}_ankle": ankle}
        points[f"{side}_toes"] = ankle + shin @ np.array([0, -0.035, lengths["foot"] * 0.8])
    turn = rotation_z(pose.roll) @ rotation_x(pose.pitch) @ rotation_y(pose.yaw)
    return {name: turn @ point for name, point in points.items()}


def head_radii(body: Body) -> Array:
    """Radii of the skull: sideways, up, forwards."""
    return body.lengths["head"] * np.array([0.68, 1.0, 0.85])


def rotation_x(degrees: float) -> Array:
    """About the sideways axis: positive turns up towards forwards."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def rotation_y(degrees: float) -> Array:
    """About the upright axis: positive turns forwards towards the left."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def rotation_z(degrees: float) -> Array:
    """About the forwards axis: positive turns left towards up."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
