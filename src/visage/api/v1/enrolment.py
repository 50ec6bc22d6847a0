"""From pictures and vectors to faces that are kept: which are good enough, which are there already."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from visage.api.answers import png
from visage.api.idempotency import Ids
from visage.api.problems import described
from visage.api.v1 import answers
from visage.api.v1.recognisers import check_length
from visage.errors import ImageError, NothingEnrolled
from visage.faces import Floats, ImageFaces, Outcome
from visage.quality import Cause, Mode, measured, shortcomings
from visage.search.base import (
    Collection,
    Enrolment,
    NewFace,
    NewPerson,
    Person,
    PersonIs,
    Question,
    Store,
    StoredFace,
)

# From this cosine on two faces are the same picture's, or two of one moment. With SFace, copies of 58 portraits, saved
# anew at JPEG quality 50 or at half the size, are at 0.938 and more; two pictures of one person there reach 0.896.
NEAR_DUPLICATE = 0.92

Choice = Literal["one", "largest"]


@dataclass(slots=True)
class Candidate:
    """A picture or a vector on its way in; `face` where it is good enough."""

    source: Literal["image", "vector"]
    face: NewFace | None = None
    causes: list[Cause] = field(default_factory=list)
    error: ImageError | None = None
    near: dict[str, Any] | None = None


def of_picture(outcome: Outcome, index: int, ids: Ids, mode: Mode, choice: Choice, *, crop: bool) -> Candidate:
    """A picture's largest face, embedded, judged by `mode`."""
    if isinstance(outcome.result, ImageError):
        return Candidate("image", error=outcome.result)
    causes = _causes(outcome.result, mode, choice)
    if causes:
        return Candidate("image", causes=causes)
    found = outcome.result.faces[0]
    if found.embedding is None:
        return Candidate("image", causes=[Cause("no-recogniser", "no recognition network is loaded")])
    about = answers.figures(measured(found)) | {
        "source": "image",
        "box": answers.rounded(found.box),
        "width": outcome.result.size[0],
        "height": outcome.result.size[1],
    }
    kept = png(found.crop) if crop and found.crop is not None else None
    return Candidate("image", NewFace(ids.of(f"image-{index}"), found.embedding.vector, about, kept))


def _causes(found: ImageFaces, mode: Mode, choice: Choice) -> list[Cause]:
    if not found.faces:
        return [Cause("no-face", "no face was found")]
    causes = shortcomings(measured(found.faces[0]), mode)
    if choice == "one" and found.found > 1:
        said = f"{found.found} faces were found; say faces=largest to take the largest"
        causes.insert(0, Cause("several-faces", said, found.found, 1))
    return causes


def of_vector(vector: Floats, index: int, ids: Ids) -> Candidate:
    return Candidate("vector", NewFace(ids.of(f"vector-{index}"), vector, {"source": "vector"}))


def enrol(
    store: Store, collection: Collection, person: NewPerson, candidates: Sequence[Candidate], person_is: PersonIs
) -> dict[str, Any]:
    """Keep what is good enough, all or nothing; the answer. Raises NothingEnrolled, EmbeddingMismatch, and AlreadyThere
    or PersonMissing where the person is not `person_is`.
    """
    chosen = [one.face for one in candidates if one.face is not None]
    for one in chosen:
        check_length(collection, len(one.vector))
    if candidates and not chosen:
        raise NothingEnrolled(
            "No picture was good enough to be enrolled; `images` says why",
            images=[enrolled(one, {}) for one in candidates],
        )
    _find_near(store, collection, person.id, candidates)
    write = [Enrolment(person, chosen, person_is)]
    [(made, faces)] = store.enrol(collection.name, write, expected=collection.recogniser)
    return told(made, {face.id: face for face in faces}, candidates)


def told(person: Person, faces: dict[str, StoredFace], candidates: Sequence[Candidate]) -> dict[str, Any]:
    images = [enrolled(one, faces) for one in candidates if one.source == "image"]
    vectors = sum(one.source == "vector" for one in candidates)
    return {"person": answers.person(person), "images": images, "vectors": vectors}


def enrolled(one: Candidate, faces: dict[str, StoredFace]) -> dict[str, Any]:
    why = answers.why(one.causes)
    if one.error is not None:
        return {"status": "failed", **why, "error": described(one.error)}
    if one.face is None:
        return {"status": "refused", **why}
    kept = faces.get(one.face.id)
    answer: dict[str, Any] = {"status": "enrolled", **why}
    if kept is not None:
        answer["face"] = answers.stored_face(kept)
    return answer | ({"near_duplicate": one.near} if one.near is not None else {})


def _find_near(store: Store, collection: Collection, person: str, candidates: Sequence[Candidate]) -> None:
    """Note of every picture the face that it nearly repeats: of the collection, or earlier of this request."""
    pictures = [one for one in candidates if one.source == "image" and one.face is not None]
    if not pictures:
        return
    vectors = np.stack([one.face.vector for one in pictures if one.face is not None])  # (n, D)
    question = Question(top=2, by="faces", threshold=NEAR_DUPLICATE)
    for i, matches in enumerate(store.search(collection.name, vectors, question, expected=collection.recogniser)):
        own = pictures[i].face
        others = [one for one in matches if own is not None and one.face.id != own.id]  # its own: this came before
        if others:
            pictures[i].near = _near(others[0].person.id, others[0].face.id, others[0].similarity)
            continue
        likeness = vectors[:i] @ vectors[i]  # (i,)
        if i and likeness.max() >= NEAR_DUPLICATE:
            earlier = pictures[int(likeness.argmax())].face
            pictures[i].near = _near(person, earlier.id if earlier else "", float(likeness.max()))


def _near(person: str, face: str, similarity: float) -> dict[str, Any]:
    return {"person": person, "face": face, "similarity": round(float(similarity), 6)}
