"""Gender and age as InsightFace's networks tell them; the side of their crops says which of two they are.

* 112, genderage_v1: the aligned face. One output (N, 202): two scores for the gender, female first, then a hundred
  pairs; pair i asks whether the face is older than i years, so that the age is the number of pairs whose second
  score is the greater.
* 96, `genderage` of the buffalo packs: the upright square of 1.5 times the box. One output (N, 3): two scores for the
  gender, female first, and the age in hundreds of years (insightface, model_zoo/attribute.py).
"""

import numpy as np
from numpy.typing import NDArray

from visage.backends.base import Preprocess, Session, run_in_batches
from visage.errors import GraphRejected, InferenceFailed
from visage.faces import Floats, GenderAge, Pixels
from visage.families.base import ALIGNED, Crop, Family, Params

_YEARS = 100
_SQUARE = Crop(96, 1.5)
# How many numbers a network of each crop answers for a face.
_COLUMNS = {ALIGNED: 2 + 2 * _YEARS, _SQUARE: 3}


class GenderAgeModel:
    """Reads gender and age off faces cut out as `crop` says."""

    def __init__(self, session: Session, crop: Crop) -> None:
        self._session = session
        self.crop = crop
        self.max_batch: int = session.max_batch
        self.streams: int = session.streams

    def predict(self, crops: Pixels, /) -> list[GenderAge]:
        return [face for outputs in run_in_batches(self._session, crops) for face in self._answers(outputs)]

    def _answers(self, outputs: tuple[Floats, ...]) -> list[GenderAge]:
        columns = _COLUMNS[self.crop]
        if len(outputs) != 1 or outputs[0].shape[1:] != (columns,):
            raise GraphRejected(
                f"a gender and age network of {self.crop.size}×{self.crop.size} crops has one output (N, {columns}), "
                f"this one {[out.shape for out in outputs]}"
            )
        scores = outputs[0]
        if not np.isfinite(scores).all():
            raise InferenceFailed("the gender and age network returned numbers that are not finite")
        genders = scores[:, :2].argmax(axis=1)
        ages = _counted(scores[:, 2:]) if self.crop == ALIGNED else np.rint(scores[:, 2] * np.float32(_YEARS))
        return [GenderAge(int(gender), int(age)) for gender, age in zip(genders, ages, strict=True)]


def _counted(pairs: Floats) -> NDArray[np.int64]:
    """(N, 200) → years (N,)."""
    years: NDArray[np.int64] = pairs.reshape(-1, _YEARS, 2).argmax(axis=2).sum(axis=1)
    return years


def build(session: Session, params: Params) -> GenderAgeModel:
    """Where the file takes any size, the parameter `side` says which of the two it is."""
    side = int(params.get("side", ALIGNED.size))
    width, height = session.sizes.fixed or (side, side)
    for crop in _COLUMNS:
        if (width, height) == (crop.size, crop.size):
            return GenderAgeModel(session, crop)
    raise GraphRejected(f"a gender and age network takes crops of 112×112 or 96×96, this one of {width}×{height}")


FAMILY = Family("genderage", "attributes-gender-age", Preprocess(0.0, 1.0, "rgb"), build)
