"""Gender and age as InsightFace's genderage_v1 tells them.

One output (N, 202): two scores for the gender, female first, then a hundred pairs; pair i asks whether the face is
older than i years, so that the age is the number of pairs whose second score is the greater.
"""

import numpy as np

from visage.backends.base import Preprocess, Session, run_in_batches
from visage.errors import GraphRejected, InferenceFailed
from visage.faces import Floats, GenderAge, Pixels
from visage.families.base import Family, Params

_YEARS = 100


class GenderAgeModel:
    """Reads gender and age off aligned 112×112 crops."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.max_batch: int = session.max_batch

    def predict(self, crops: Pixels, /) -> list[GenderAge]:
        return [face for outputs in run_in_batches(self._session, crops) for face in _answers(outputs)]


def _answers(outputs: tuple[Floats, ...]) -> list[GenderAge]:
    if len(outputs) != 1 or outputs[0].shape[1:] != (2 + 2 * _YEARS,):
        raise GraphRejected(f"a gender and age network has one output (N, 202), this one {[o.shape for o in outputs]}")
    scores = outputs[0]
    if not np.isfinite(scores).all():
        raise InferenceFailed("the gender and age network returned numbers that are not finite")
    genders = scores[:, :2].argmax(axis=1)
    ages = scores[:, 2:].reshape(-1, _YEARS, 2).argmax(axis=2).sum(axis=1)
    return [GenderAge(int(gender), int(age)) for gender, age in zip(genders, ages, strict=True)]


def build(session: Session, params: Params) -> GenderAgeModel:
    return GenderAgeModel(session)


FAMILY = Family("genderage", "attributes-gender-age", Preprocess(0.0, 1.0, "rgb"), build)
