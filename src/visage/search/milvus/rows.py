"""Values of a gallery as rows of Milvus, and back."""

import base64
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from visage.errors import SearchError
from visage.faces import Floats
from visage.search.base import Collection, Metadata, NewCollection, NewFace, Person, Recogniser, StoredFace
from visage.search.milvus.schema import LONGEST_ID, LONGEST_JSON, LONGEST_TEXT, NO_VECTOR

Row = Mapping[str, Any]

PERSON = ("id", "key", "metadata", "told")
FACE = ("id", "owner", "person", "created", "cropped", "about")
CROP = ("id", "owner", "parts", "text")
# The row among the persons that tells of the collection.
ABOUT = ""
# The key of rows among the persons that are none.
NOBODY = 0
# What the id of a row begins with that says that a life was ended. It names nothing but the life.
_ENDED = "ended "


@dataclass(frozen=True, slots=True)
class Life:
    """A person from enrolment to forgetting; `key` is negative while they are being forgotten. `person.faces` is 0:
    they are counted elsewhere.
    """

    key: int
    person: Person

    @property
    def there(self) -> bool:
        return self.key > 0


def life_of(row: Row) -> Life:
    told = row["told"]
    person = Person(row["id"], told["name"], row["metadata"], told["created"], told["updated"], 0)
    return Life(int(row["key"]), person)


def person_row(key: int, person: Person) -> dict[str, Any]:
    hold_id(person.id)
    _hold_json(f"the metadata of {person.id!r}", person.metadata)
    told = {"name": person.name, "created": person.created, "updated": person.updated}
    return {"id": person.id, "key": key, "metadata": dict(person.metadata), "told": told, "nothing": list(NO_VECTOR)}


def ended_id(key: int) -> str:
    return f"{_ENDED}{key}"


def ended_row(key: int) -> dict[str, Any]:
    return {
        "id": ended_id(key),
        "key": NOBODY,
        "metadata": {},
        "told": {"life": key, "at": time.time()},
        "nothing": list(NO_VECTOR),
    }


def face_of(row: Row) -> StoredFace:
    return StoredFace(row["id"], row["person"], row["about"], row["created"], row["cropped"])


def face_row(owner: int, person: str, new: NewFace, created: float) -> dict[str, Any]:
    hold_id(new.id)
    _hold_json(f"what is told of the face {new.id!r}", new.about)
    return {
        "id": new.id,
        "owner": owner,
        "person": person,
        "created": created,
        "cropped": new.crop is not None,
        "about": dict(new.about),
        "vector": np.ascontiguousarray(new.vector, np.float32),
    }


def vectors_of(rows: Sequence[Row], dimension: int) -> Floats:
    """float32 (n, dimension)"""
    vectors = [np.asarray(row["vector"], np.float32) for row in rows]
    return np.stack(vectors) if vectors else np.empty((0, dimension), np.float32)


def crop_rows(owner: int, face: str, png: bytes) -> list[dict[str, Any]]:
    """A text of Milvus holds less than some PNG does: so many as it takes."""
    whole = base64.b64encode(png).decode()
    parts = [whole[start : start + LONGEST_TEXT] for start in range(0, len(whole), LONGEST_TEXT)] or [""]
    return [
        {"id": crop_id(face, n), "owner": owner, "parts": len(parts), "text": part, "nothing": list(NO_VECTOR)}
        for n, part in enumerate(parts)
    ]


def crop_id(face: str, part: int) -> str:
    return f"{part}:{face}"


def crop_of(rows: Iterable[Row]) -> bytes:
    """Of all its pieces."""
    in_order = sorted(rows, key=lambda row: int(row["id"].split(":", 1)[0]))
    return base64.b64decode("".join(row["text"] for row in in_order))


def about_row(new: NewCollection, created: float, vectors: str, crops: str) -> dict[str, Any]:
    r = new.recogniser
    told = {
        "name": new.name,
        "recogniser": [r.name, r.sha256, r.preprocess, r.dimension],
        "precision": new.precision,
        "index": new.index,
        "description": new.description,
        "created": created,
        "vectors": vectors,
        "crops": crops,
    }
    return {"id": ABOUT, "key": NOBODY, "metadata": dict(new.metadata), "told": told, "nothing": list(NO_VECTOR)}


def collection_of(row: Row, persons: int, faces: int) -> Collection:
    told, metadata = row["told"], row["metadata"]
    recogniser = Recogniser(*told["recogniser"])
    said, made = told["description"], told["created"]
    return Collection(told["name"], recogniser, told["precision"], told["index"], said, metadata, made, persons, faces)


def described(row: Row, description: str | None, metadata: Metadata | None) -> dict[str, Any]:
    told = dict(row["told"]) if description is None else {**row["told"], "description": description}
    return {
        **row,
        "told": told,
        "metadata": row["metadata"] if metadata is None else dict(metadata),
        "nothing": list(NO_VECTOR),
    }


def hold_id(one: str) -> None:
    """Raises SearchError."""
    if not one or len(one.encode()) > LONGEST_ID:
        raise SearchError(f"the id {one[:40]!r}: at least one and at most {LONGEST_ID} bytes")


def _hold_json(what: str, value: Metadata) -> None:
    """Raises SearchError."""
    if len(orjson.dumps(dict(value))) > LONGEST_JSON:
        raise SearchError(f"{what}: at most {LONGEST_JSON} bytes of JSON")
