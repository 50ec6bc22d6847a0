"""ArcFace and all that is fed and read like it (Deng et al., 2019): SFace and AdaFace are parameter sets.

One output, the raw embedding (N, D); its direction is the face, its length a hint of quality.
"""

import numpy as np

from visage.backends.base import Preprocess, Session, run_in_batches
from visage.errors import GraphRejected, InferenceFailed
from visage.faces import Embedding, Pixels
from visage.families.base import ALIGNED, Family, Params


class ArcFace:
    """An embedder of aligned 112×112 crops."""

    crop = ALIGNED

    def __init__(self, session: Session) -> None:
        self._session = session
        self.max_batch: int = session.max_batch
        self.streams: int = session.streams

    def predict(self, crops: Pixels, /) -> list[Embedding]:
        return [face for outputs in run_in_batches(self._session, crops) for face in _embeddings(outputs)]


def _embeddings(outputs: tuple[np.ndarray, ...]) -> list[Embedding]:
    if len(outputs) != 1 or outputs[0].ndim != 2:
        raise GraphRejected(f"an embedder has one output (N, D), this one {[out.shape for out in outputs]}")
    raw = outputs[0].astype(np.float32, copy=False)
    norms = np.linalg.norm(raw, axis=1)
    if not np.isfinite(norms).all():
        raise InferenceFailed("the embedder returned numbers that are not finite")
    unit = raw / np.maximum(norms, np.float32(1e-12))[:, None]
    return [Embedding(vector, float(norm)) for vector, norm in zip(unit, norms, strict=True)]


def build(session: Session, params: Params) -> ArcFace:
    return ArcFace(session)


FAMILY = Family("arcface", "recognition", Preprocess(127.5, 127.5, "rgb"), build)
