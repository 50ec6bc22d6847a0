"""Persons and faces out of Milvus.

A person's key is made negative first: from then on nobody sees them, and whoever asks again to forget them goes on
where an interrupted one stopped. Then their faces and crops go, and last the person. A word that this life is ended,
which names nobody, stays until a later `compact`, for whoever was about to write the person's new name (`enrolling`).
"""

import time
from collections.abc import Sequence
from dataclasses import replace

from visage.errors import PersonMissing
from visage.search.milvus.connection import Connection
from visage.search.milvus.enrolling import age, rewrite
from visage.search.milvus.expressions import among
from visage.search.milvus.failures import Gone
from visage.search.milvus.galleries import Gallery
from visage.search.milvus.reading import Reading
from visage.search.milvus.rows import NOBODY, Life, crop_id, ended_row, person_row

# So old is a face of nobody whose enrolment will not go on, and so long ago a deletion of which no writer is unaware.
_GIVEN_UP = 600.0
_SWEPT_TOGETHER = 2000


def forget(connection: Connection, gallery: Gallery, person: str) -> None:
    """Raises PersonMissing."""
    life = Reading(connection, gallery, connection.moment()).lives([person]).get(person)
    if life is None:
        raise PersonMissing(f"there is no person {person!r} in {gallery.name!r}")
    if life.there:
        connection.write(gallery.persons, [person_row(-life.key, life.person), ended_row(life.key)])
    finish(connection, gallery, life)


def finish(connection: Connection, gallery: Gallery, life: Life) -> None:
    owned = Reading(connection, gallery, connection.moment()).owned(abs(life.key))
    _remove(connection, gallery, owned)
    # Not by the id: who was enrolled again under it meanwhile has another key, and stays.
    connection.delete_where(gallery.persons, f"key == {-abs(life.key)}")


def forget_face(connection: Connection, gallery: Gallery, face: str) -> None:
    """Raises FaceMissing."""
    reading = Reading(connection, gallery, connection.moment())
    life = reading.life(reading.face(face)["person"])
    _remove(connection, gallery, [face])
    rewrite(connection, gallery, Life(life.key, replace(life.person, updated=time.time())))


def sweep(connection: Connection, gallery: Gallery) -> int:
    """What interrupted writes left: persons who were to be forgotten, faces and crops of nobody. Returns how many of
    these faces. Those of the last minutes stay: they may be of an enrolment that is under way.
    """
    at = connection.moment()
    reading = Reading(connection, gallery, at)
    for rows in connection.pages(gallery.persons, "key < 0", ("key",), at):
        for life in reading.lives([row["id"] for row in rows]).values():
            finish(connection, gallery, life)
    for rows in connection.pages(gallery.persons, f"key == {NOBODY}", ("told",), at, size=_SWEPT_TOGETHER):
        lives = [int(row["told"]["life"]) for row in rows]
        connection.delete_where(gallery.persons, among("key", lives))  # written by who broke off before they looked
        old = [row["id"] for row in rows if abs(time.time() - row["told"]["at"]) > _GIVEN_UP]
        connection.delete(gallery.persons, old)
    swept = 0
    for rows in connection.pages(gallery.vectors, "", ("owner", "person"), at, size=_SWEPT_TOGETHER):
        keys = {life.key for life in reading.lives([row["person"] for row in rows]).values()}
        left = [row["id"] for row in rows if row["owner"] not in keys and age(row["owner"]) > _GIVEN_UP]
        _remove(connection, gallery, left)
        swept += len(left)
    return swept


def _remove(connection: Connection, gallery: Gallery, faces: Sequence[str]) -> None:
    """Crops first: they are found by way of the faces."""
    if not faces:
        return
    try:
        at = connection.moment()
        first = [crop_id(face, 0) for face in faces]
        pieces = connection.named(gallery.crops, first, ("parts",), at)
        ids = [crop_id(row["id"].split(":", 1)[1], part) for row in pieces for part in range(row["parts"])]
        connection.delete(gallery.crops, ids)
    except Gone:  # there never was a crop
        pass
    connection.delete(gallery.vectors, faces)
