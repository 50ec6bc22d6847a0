"""Rows of a bulk enrolment: persons with vectors, and lines of an export, which keep ids, times and whose vectors they
are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from visage_client.answers import Exported, Recogniser
from visage_client.calls import content, given
from visage_client.errors import BadAnswer, shown
from visage_client.reading import read
from visage_client.vectors import VectorLike, listed, packed

Metadata = Mapping[str, Any]
Model: TypeAlias = Recogniser | str | Mapping[str, Any]
"""Whose vectors are given: `collection.model`, `exported.model`, or `found.models["rec"]`."""


@dataclass(frozen=True, slots=True)
class Row:
    """A person of a bulk enrolment. Without an id one is made; a person who is there gets the faces that are not.
    `model`: whose the vectors are; the service refuses those of another recogniser than the collection's.
    """

    vectors: Sequence[VectorLike]
    id: str | None = None
    name: str | None = None
    metadata: Metadata | None = None
    model: Model | None = None

    def written(self) -> bytes:
        """Raises TypeError, ValueError."""
        values = {"id": self.id, "name": self.name, "metadata": self.metadata, "model": told(self.model)}
        return content({**given(values), "vectors": [packed(vector) for vector in listed(self.vectors)]}, "msgpack")


def told(model: Model | None) -> str | dict[str, Any] | None:
    """As requests say it. Raises TypeError."""
    if isinstance(model, Recogniser):
        return given({"name": model.name, "sha256": model.sha256, "preprocess": model.preprocess})
    if model is None or isinstance(model, str):
        return model
    if isinstance(model, Mapping):
        return dict(model)
    raise TypeError(f"a model is a Recogniser, or text as name@sha256, and not {type(model).__name__}: {shown(model)}")


def exported(line: Exported | Mapping[str, Any]) -> bytes:
    """A face of an export, or its line as JSON has it, as a row. Raises ValueError where it has no vector."""
    if isinstance(line, Mapping):
        try:
            line = read(Exported, line)
        except BadAnswer as exc:
            raise ValueError(f"a row with a person is a line of an export: {exc.__cause__}") from exc
    if line.vector is None:
        raise ValueError(f"the face {line.face.id!r} has no vector: it was exported without (vectors=False)")
    person, face = line.person, line.face
    values = {
        "person": {
            "id": person.id,
            "name": person.name,
            "metadata": person.metadata,
            "created": person.created.isoformat(),
            "updated": person.updated.isoformat(),
        },
        "face": {"id": face.id, "about": face.about, "created": face.created.isoformat()},
        "vector": packed(line.vector),
        "model": told(line.model),
    }
    return content(given(values), "msgpack")
