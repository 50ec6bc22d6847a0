"""From probes to matches: the image is asked, int8 answers are weighed again, persons and faces are looked up."""

import sqlite3
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from visage.search.base import Match, Person, Question, StoredFace
from visage.search.embedded.ranking import Asked, Best, Ranker
from visage.search.embedded.records import FACE, PERSON, State, face_of, floats, in_groups, person_of
from visage.search.embedded.segment import Rows

# int8 rows lose at most so much of a similarity; a threshold is held against the float32 ones.
_SLACK = 0.02
# So many times as many as are asked for are weighed again with the vectors that are stored.
_WIDER = 4
_GROUP = 2000


def nearest(
    connection: sqlite3.Connection, state: State, ranker: Ranker, parts: Sequence[Rows], asked: Asked, *, rescore: bool
) -> Best:
    """The best of `parts`. With `rescore` int8 finds four times as many, and their order, similarities and threshold
    are those of the stored float32 vectors; which face of a person is nearest is int8's word.
    """
    if not rescore or state.collection.precision != "int8":
        return ranker.nearest(parts, asked)
    wide = Asked(asked.probes, asked.top * _WIDER, asked.by_person, asked.threshold - _SLACK, asked.allowed)
    return _weighed(connection, state, ranker.nearest(parts, wide), asked)


def _weighed(connection: sqlite3.Connection, state: State, found: Best, asked: Asked) -> Best:
    there = np.unique(found.keys[found.keys >= 0])
    vectors = _vectors(connection, there, state.collection.recogniser.dimension)
    best = Best.none(asked)
    for q, probe in enumerate(asked.probes):
        known = np.isin(found.keys[q], there)
        keys, persons = found.keys[q][known], found.persons[q][known]
        scores = vectors[np.searchsorted(there, keys)] @ probe
        one = Best(best.similarities[q : q + 1], best.persons[q : q + 1], best.keys[q : q + 1])
        one.let_in(scores[None].astype(np.float32), persons, keys, asked)
    return best


def _vectors(connection: sqlite3.Connection, keys: NDArray[np.int64], dimension: int) -> NDArray[np.float32]:
    """float32 (n, D), in the order of `keys`, which rise."""
    found: dict[int, bytes] = {}
    for group in in_groups(keys.tolist(), _GROUP):
        found.update(
            connection.execute(
                "SELECT key, vector FROM faces WHERE key IN (SELECT value FROM json_each(?))",
                (orjson.dumps(group).decode(),),
            ).fetchall()
        )
    empty = bytes(4 * dimension)  # a face that went while the image was asked: nearest to nothing
    return floats((found.get(key, empty) for key in keys.tolist()), dimension)


def matches(connection: sqlite3.Connection, best: Best) -> list[list[Match]]:
    """A list a probe, best first."""
    faces, persons = _looked_up(connection, best.keys)
    return [
        [
            Match(persons[faces[key][0]], faces[key][1], float(min(similarity, 1.0)))
            for key, similarity in zip(keys.tolist(), similarities.tolist(), strict=True)
            if key in faces
        ]
        for keys, similarities in zip(best.keys, best.similarities, strict=True)
    ]


def _looked_up(
    connection: sqlite3.Connection, keys: NDArray[np.int64]
) -> tuple[dict[int, tuple[int, StoredFace]], dict[int, Person]]:
    faces: dict[int, tuple[int, StoredFace]] = {}
    persons: dict[int, Person] = {}
    for group in in_groups(np.unique(keys[keys >= 0]).tolist(), _GROUP):
        rows: list[tuple[Any, ...]] = connection.execute(
            f"SELECT f.key, p.key, {FACE}, {PERSON} FROM faces f JOIN persons p ON p.key = f.person "
            "WHERE f.key IN (SELECT value FROM json_each(?))",
            (orjson.dumps(group).decode(),),
        ).fetchall()
        for face, person, *rest in rows:
            faces[face] = (person, face_of(rest[:5]))
            if person not in persons:
                persons[person] = person_of(rest[5:])
    return faces, persons


def asked_of(probes: NDArray[np.float32], question: Question, allowed: NDArray[np.uint8]) -> Asked:
    return Asked(probes, question.top, question.by == "persons", question.threshold, allowed)
