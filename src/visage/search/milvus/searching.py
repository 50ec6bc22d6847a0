"""From probes to matches, exactly where the index is exact.

Milvus finds faces; persons are made of them here. Among faces that come best first, the first one of a person is their
nearest. When these are too few persons, Milvus is asked again without those who were seen, so that none is missed
however many faces one has. Whom a filter means is decided here, too: first for those who were found; when too few of
them are meant, those who are meant are listed, and only their faces are searched.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from visage.faces import Floats
from visage.search.base import Match, Question
from visage.search.filters import Every, parse
from visage.search.milvus.connection import MOST_ROWS, Connection, Row
from visage.search.milvus.expressions import among, both
from visage.search.milvus.galleries import Gallery
from visage.search.milvus.reading import NO_FACES, Reading, with_faces
from visage.search.milvus.rows import FACE, Life, face_of

# So many times as many as are asked for are looked at where similarities are rough, or only some persons are meant.
_WIDER = 4
# float16 and int8 lose at most so much of a similarity; a threshold is held against the float32 ones.
_SLACK = 0.02
# Rows of one answer, and bytes where vectors come with them.
_MOST_ANSWERED = 50_000
_MOST_BYTES = 32 << 20
# Owners in one expression.
_OWNERS = 10_000


@dataclass(slots=True, eq=False)
class _Found:
    """What one probe has found: rows that count, best first, and the owners that it need not be asked for again."""

    rows: list[Row] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    done: bool = False


class Search:
    """One question to one gallery at one moment."""

    def __init__(self, connection: Connection, gallery: Gallery, question: Question, at: int) -> None:
        self._connection = connection
        self._gallery = gallery
        self._question = question
        self._at = at
        self._reading = Reading(connection, gallery, at)
        self._where: Every = parse(question.where)
        self._by_person = question.by == "persons"
        self._lossy = gallery.indexed.lossy
        self._lives: dict[str, Life] = {}

    def matches(self, probes: Floats) -> list[list[Match]]:
        """A list a probe, best first."""
        found = self._nearest(probes)
        if self._where.parts and (lacking := [n for n, one in enumerate(found) if not one.done]):
            meant = self._reading.keys(self._question.where)
            for n, one in zip(lacking, self._among(probes[lacking], meant), strict=True):
                found[n] = one
        return self._told([self._best(one.rows) for one in found])

    def _nearest(self, probes: Floats) -> list[_Found]:
        """All probes at once, then each that lacks some by itself. With a filter once: `done` says who has enough."""
        wide = _WIDER if self._lossy or self._where.parts else 2 if self._by_person else 1
        limit = min(MOST_ROWS, self._question.top * wide)
        found = [_Found() for _ in probes]
        for start in range(0, len(probes), together := self._together(limit)):
            part = found[start : start + together]
            self._take(part, self._asked(probes[start : start + together], "", limit), limit)
        for probe, one in zip(probes, found, strict=True):
            while not one.done and not self._where.parts:
                self._again(probe, one, "")
        return found

    def _among(self, probes: Floats, owners: Sequence[int]) -> list[_Found]:
        """The best of these owners' faces."""
        whole = [_Found() for _ in probes]
        for start in range(0, len(owners), _OWNERS):
            expression = among("owner", owners[start : start + _OWNERS])
            for probe, all_of_it in zip(probes, whole, strict=True):
                one = _Found()
                while not one.done:
                    self._again(probe, one, expression)
                all_of_it.rows += one.rows
        return whole

    def _again(self, probe: Floats, one: _Found, expression: str) -> None:
        """Ask for what is left out until now: persons who were not seen, or faces further down."""
        out = one.seen if self._by_person else one.refused
        limit = min(MOST_ROWS, self._question.top * (_WIDER if self._lossy else 2 if self._by_person else 1))
        if not self._by_person:
            one.rows.clear()
        without = f"owner not in [{', '.join(map(str, sorted(out)))}]" if out else ""
        self._take([one], self._asked(probe[None], both(expression, without), limit), limit)

    def _asked(self, probes: Floats, expression: str, limit: int) -> list[list[Row]]:
        fields = (*FACE, "vector") if self._lossy else FACE
        ef = None if self._gallery.indexed.kind == "FLAT" else max(128, 2 * limit)
        answers = self._connection.search(self._gallery.vectors, probes, expression, fields, limit, ef, self._at)
        if self._lossy:
            for probe, rows in zip(probes, answers, strict=True):
                for row in rows:
                    row["rough"] = row["distance"]
                    row["distance"] = float(np.asarray(row.pop("vector"), np.float32) @ probe)
        return answers

    def _together(self, limit: int) -> int:
        """Probes of one question to Milvus."""
        row = 4 * self._gallery.recogniser.dimension + 512
        return max(1, min(_MOST_ANSWERED, _MOST_BYTES // row if self._lossy else _MOST_ANSWERED) // limit)

    def _take(self, found: Sequence[_Found], answers: Sequence[Sequence[Row]], limit: int) -> None:
        self._know(row["person"] for rows in answers for row in rows)
        for one, rows in zip(found, answers, strict=True):
            for row in rows:
                self._let_in(one, row)
            last = min((row["rough" if self._lossy else "distance"] for row in rows), default=-np.inf)
            # Who was seen has their nearest face already; those who are still to come are further off.
            enough = len(one.rows) >= self._question.top
            below = last < self._question.threshold - (_SLACK if self._lossy else 0)
            one.done = enough or below or len(rows) < limit

    def _let_in(self, one: _Found, row: Row) -> None:
        owner, life = row["owner"], self._lives.get(row["person"])
        if self._by_person and owner in one.seen:
            if self._lossy:
                _better(one.rows, row)
            return
        one.seen.add(owner)
        if life is None or life.key != owner or not self._where.holds(life.person.metadata):
            one.refused.add(owner)
            return
        one.rows.append(row)

    def _know(self, persons: Iterable[str]) -> None:
        unknown = sorted(set(persons) - self._lives.keys())
        if unknown:
            self._lives |= self._reading.lives(unknown)

    def _best(self, rows: Iterable[Row]) -> list[Row]:
        above = [row for row in rows if row["distance"] >= self._question.threshold]
        return sorted(above, key=lambda row: -row["distance"])[: self._question.top]

    def _told(self, best: Sequence[Sequence[Row]]) -> list[list[Match]]:
        counts = self._reading.counts(sorted({row["owner"] for rows in best for row in rows}))
        return [
            [
                Match(
                    with_faces(self._lives[row["person"]].person, counts.get(row["owner"], NO_FACES)),
                    face_of(row),
                    float(min(row["distance"], 1.0)),
                )
                for row in rows
            ]
            for rows in best
        ]


def _better(rows: list[Row], row: Row) -> None:
    """Put it in the place of the same person's face where it is nearer."""
    for n, there in enumerate(rows):
        if there["owner"] == row["owner"] and there["distance"] < row["distance"]:
            rows[n] = row
