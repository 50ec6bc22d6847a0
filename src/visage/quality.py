"""Is this face good enough to be remembered by? Its size, its sharpness, where it looks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from visage.faces import Face, Floats, Pixels
from visage.geometry.alignment import align

Mode = Literal["off", "standard", "strict"]

# Eyes, nose tip and mouth corners of MediaPipe's canonical face model (Apache-2.0, canonical_face_model.obj), the
# viewer's left first; an eye is the middle of its corners (33, 133; 362, 263), the nose 1, the mouth 61 and 291.
# Centimetres; here y points down and z away from the viewer.
_MODEL: NDArray[np.float64] = np.array(
    [
        [-3.1511455, -2.624618, -3.465663],
        [3.1511455, -2.624618, -3.465663],
        [0.0, 1.126865, -7.475604],
        [-2.456206, 4.342621, -4.283884],
        [2.456206, 4.342621, -4.283884],
    ]
)
# (3, 5): landmarks about their centre, times this transposed, are the camera's two rows.
_FIT: NDArray[np.float64] = np.linalg.pinv(_MODEL - _MODEL.mean(axis=0))


@dataclass(frozen=True, slots=True)
class Pose:
    """Degrees: `yaw` above 0 looks to the right side of the picture, `pitch` above 0 looks up, `roll` above 0 is
    turned clockwise.
    """

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True, slots=True)
class Quality:
    """`score` of the detector, `size` of the box's shorter side in pixels, `sharpness` of the aligned crop."""

    score: float
    size: float
    sharpness: float
    pose: Pose


@dataclass(frozen=True, slots=True)
class Limits:
    """What a face needs at the least; of angles, at the most, in degrees either way."""

    score: float
    size: float
    sharpness: float
    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a face is not enrolled. `kind`: of a figure its name in `Quality` or `Pose`; then `value` misses `limit`."""

    kind: str
    said: str
    value: float | None = None
    limit: float | None = None


# Of 58 portraits at hand the largest faces have sharpness 180…3500, yaw within ±25°, pitch within ±16°: standard takes
# all of them. Faces in their backgrounds, out of focus, have sharpness 3…9.
LIMITS: Mapping[Mode, Limits | None] = {
    "off": None,
    "standard": Limits(score=0.6, size=40, sharpness=20, yaw=60, pitch=45, roll=90),
    "strict": Limits(score=0.8, size=80, sharpness=60, yaw=30, pitch=25, roll=30),
}


def measured(face: Face, pixels: Pixels | None = None) -> Quality:
    """The quality of a face whose aligned crop is at hand (`Face.crop`), or is cut out of `pixels` (H, W, 3)."""
    if face.crop is None and pixels is None:
        raise ValueError("sharpness is measured on an aligned crop: ask for crops, or hand over the picture")
    crop = face.crop if face.crop is not None else align(np.asarray(pixels), face.landmarks[None])[0]
    width, height = float(face.box[2] - face.box[0]), float(face.box[3] - face.box[1])
    return Quality(face.score, min(width, height), sharpness(crop), pose(face.landmarks))


def sharpness(crop: Pixels) -> float:
    """The variance of the Laplacian of the grey aligned crop (112, 112, 3): blur leaves no edges.

    LAPV of Pertuz et al., Analysis of focus measure operators, Pattern Recognition 46(5), 2013; first by Pech-Pacheco
    et al., ICPR 2000. The crop has one size, so that faces of any size compare.
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def pose(landmarks: Floats) -> Pose:
    """Where a face looks, from its five landmarks (5, 2).

    Scaled orthography fitted by least squares to a rigid model (the POS step of DeMenthon & Davis, Model-based object
    pose in 25 lines of code, IJCV 15, 1995), the rotation nearest to it by SVD. Only the nose tells depth, and all
    persons have the model's nose: a few degrees off is usual. Landmarks that all coincide look straight ahead.
    """
    points = landmarks.astype(np.float64)
    rows = (_FIT @ (points - points.mean(axis=0))).T  # (2, 3): the camera's x and y axes, scaled
    if not np.isfinite(rows).all() or np.linalg.norm(rows) < 1e-9:
        return Pose(0.0, 0.0, 0.0)
    u, _, v = np.linalg.svd(rows, full_matrices=False)
    x, y = u @ v
    forward = np.cross(x, y)  # (3,) the camera's z axis in the model's; columns of the rotation are the model's axes
    gaze = -np.array([x[2], y[2], forward[2]])  # where the model's -z, its nose, points
    yaw = np.arctan2(gaze[0], -gaze[2])
    pitch = np.arcsin(np.clip(-gaze[1], -1, 1))
    right = np.array([x[0], y[0]])  # the model's x axis in the picture
    roll = np.arctan2(right[1], right[0])
    return Pose(*(round(float(np.degrees(angle)), 2) for angle in (yaw, pitch, roll)))


def shortcomings(quality: Quality, mode: Mode) -> list[Cause]:
    """What keeps a face from being enrolled in this mode; empty where nothing does."""
    limits = LIMITS[mode]
    if limits is None:
        return []
    least = (
        ("score", quality.score, limits.score),
        ("size", quality.size, limits.size),
        ("sharpness", quality.sharpness, limits.sharpness),
    )
    most = (
        ("yaw", quality.pose.yaw, limits.yaw),
        ("pitch", quality.pose.pitch, limits.pitch),
        ("roll", quality.pose.roll, limits.roll),
    )
    found = [
        Cause(name, f"{name} {value:.3g} is below {limit:g}", round(value, 3), limit)
        for name, value, limit in least
        if value < limit
    ]
    return found + [
        Cause(name, f"{name} {value:.0f}° is beyond ±{limit:g}°", value, limit)
        for name, value, limit in most
        if abs(value) > limit
    ]
