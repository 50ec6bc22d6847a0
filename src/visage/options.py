"""What a caller may ask of the service: one object, handed over whole."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExtractOptions:
    """Options of one extraction.

    `threshold`: lower limit for a score, 0 < t <= 1. `limit_faces`: keep the largest so many (0: all).
    `min_face_size`: least box width in pixels of the picture. `max_size`: width and height that the picture
    is fitted into for detection (None: the service's own). `detector`, `recogniser`: names of loaded networks
    (None: the service's own).
    """

    threshold: float = 0.6
    limit_faces: int = 0
    min_face_size: int = 0
    max_size: tuple[int, int] | None = None
    embedding: bool = True
    gender_age: bool = False
    masks: bool = False
    crops: bool = False
    landmarks_106: bool = False
    detector: str | None = None
    recogniser: str | None = None


@dataclass(frozen=True, slots=True)
class DrawOptions:
    """What is drawn onto a picture besides the boxes."""

    landmarks: bool = True
    scores: bool = True
    sizes: bool = True
