"""Boxes and landmarks on a picture, as the reference service draws them."""

import cv2
import numpy as np

from visage.faces import Face, ImageFaces, Pixels
from visage.options import DrawOptions

# BGR
_GREEN, _RED = (0, 255, 0), (0, 0, 255)
_POINTS = ((0, 0, 255), (0, 255, 255), (255, 0, 255), (0, 255, 0), (255, 0, 0))
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw(pixels: Pixels, found: ImageFaces, options: DrawOptions, detector: str) -> Pixels:
    """A copy of `pixels` (H, W, 3) BGR with each face marked, and how many there are written at the bottom."""
    canvas = pixels.copy()
    for face in found.faces:
        _face(canvas, face, options)
    text = f"faces: {len(found.faces)} ({detector})"
    _text(canvas, text, (5, canvas.shape[0] - 8), _WHITE, 0.5)
    return canvas


def _face(canvas: Pixels, face: Face, options: DrawOptions) -> None:
    left, top, right, bottom = (int(x) for x in np.clip(np.trunc(face.box), -(2**15), 2**15))
    colour = _RED if face.mask is not None and not face.mask.worn else _GREEN
    cv2.rectangle(canvas, (left, top), (right, bottom), colour, 1)
    if options.landmarks:
        thickness = max(1, int(0.05 * (right - left)))
        for point, shade in zip(np.clip(face.landmarks, -(2**15), 2**15).astype(int), _POINTS, strict=True):
            cv2.circle(canvas, (int(point[0]), int(point[1])), 1, shade, thickness)
    if face.landmarks_106 is not None:
        for x, y in np.clip(face.landmarks_106, -(2**15), 2**15).astype(int).tolist():
            cv2.circle(canvas, (x, y), 1, _WHITE, cv2.FILLED)
    scale = float(np.clip((right - left) / 120, 0.3, 1.0))
    if options.scores:
        _text(canvas, f"{face.score:.3f}", (left, max(10, top - 4)), colour, scale)
    if options.sizes:
        _text(
            canvas,
            f"w:{int(face.box[2] - face.box[0])}",
            (left, min(canvas.shape[0] - 2, bottom + int(24 * scale))),
            colour,
            scale,
        )


def _text(canvas: Pixels, text: str, place: tuple[int, int], colour: tuple[int, int, int], scale: float) -> None:
    """With a dark rim, so that it can be read on any picture."""
    cv2.putText(canvas, text, place, _FONT, scale, _BLACK, 2, cv2.LINE_AA)
    cv2.putText(canvas, text, place, _FONT, scale, colour, 1, cv2.LINE_AA)
