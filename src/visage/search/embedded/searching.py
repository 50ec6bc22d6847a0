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

# What sums of float32 may be off, beside what int8 loses (`_lost`).
_ROUNDING = 1e-5
# So many times as many as are asked for are weighed again with the vectors that are stored.
_WIDER = 4
_GROUP = 2000


def nearest(
    connection: sqlite3.Connection, state: State, ranker: Ranker, parts: Sequence[Rows], asked: Asked, *, rescore: bool
) -> Best:
    """The best of `parts`. With `rescore` int8 finds four times as many, and their order, similarities and threshold
    are those of the stored float32 vectors; which face of a person is nearest is int8's word, unless the threshold is
    between two of them. Nobody who is above the threshold is missing where there are fewer than `top`.
    """
    if not rescore or state.collection.precision != "int8":
        return ranker.nearest(parts, asked)
    lost, count, rows = _lost(parts, asked.probes), asked.top * _WIDER, sum(map(len, parts))
    while True:
        wide = Asked(asked.probes, count, asked.by_person, asked.threshold - lost, asked.allowed)
        found = ranker.nearest(parts, wide)
        best = _weighed(connection, state, found, asked, lost)
        lacking = (best.persons[:, -1] < 0) & (found.persons[:, -1] >= 0)
        if not lacking.any() or count >= rows:
            return best
        count *= _WIDER


def _lost(parts: Sequence[Rows], probes: NDArray[np.float32]) -> float:
    """How much int8 may take from a similarity, or give to it: each number of a row is off by at most half its scale,
    so the product with a probe by at most half the scale times the probe's numbers, added up without their signs.
    """
    scale = max((float(rows.scales.max(initial=0)) for rows in parts), default=0.0)
    longest = float(np.abs(probes).sum(axis=1).max(initial=0))
    return scale / 2 * longest + _ROUNDING


def _weighed(connection: sqlite3.Connection, state: State, found: Best, asked: Asked, lost: float) -> Best:
    there = np.unique(found.keys[found.keys >= 0])
    dimension = state.collection.recogniser.dimension
    vectors = _vectors(connection, there, dimension)
    best = Best.none(asked)
    for q, probe in enumerate(asked.probes):
        known = np.isin(found.keys[q], there)
        keys, persons = found.keys[q][known], found.persons[q][known]
        scores = np.asarray(vectors[np.searchsorted(there, keys)] @ probe, np.float32)
        one = Best(best.similarities[q : q + 1], best.persons[q : q + 1], best.keys[q : q + 1])
        one.let_in(scores[None], persons, keys, asked)
        if asked.by_person:
            # Another face that int8 took for less near, by less than it may be wrong with two of them.
            near = (scores < asked.threshold) & (scores >= asked.threshold - 2 * lost)
            for person in persons[near].tolist():
                _weigh_faces(connection, dimension, person, probe, one, asked)
    return best


def _weigh_faces(
    connection: sqlite3.Connection, dimension: int, person: int, probe: NDArray[np.float32], one: Best, asked: Asked
) -> None:
    """Let in the person with the nearest of all their faces."""
    rows = connection.execute("SELECT key, vector FROM faces WHERE person = ?", (person,))
    while some := rows.fetchmany(_GROUP):
        scores = np.asarray(floats((row[1] for row in some), dimension) @ probe, np.float32)
        keys = np.fromiter((row[0] for row in some), np.int64, len(some))
        one.let_in(scores[None], np.full(len(some), person, np.int32), keys, asked)


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
