"""Everything of a collection, a bounded number of faces at a time."""

import sqlite3

from visage.faces import Floats
from visage.search.base import Person, StoredFace
from visage.search.embedded.records import FACE, PERSON, State, face_of, floats, person_of

# The indices of both tables have the order that is asked for, so that a page costs what is in it.
_PAGE = (
    f"SELECT p.key, {PERSON}, {FACE}, f.vector "
    "FROM persons p CROSS JOIN faces f INDEXED BY faces_by_person ON f.person = p.key "
    "WHERE p.collection = ? AND p.id >= ? AND (p.id > ? OR f.id > ?) ORDER BY p.id, f.id LIMIT ?"
)


def exported(
    connection: sqlite3.Connection, state: State, last: tuple[str, str], limit: int
) -> list[tuple[Person, StoredFace, Floats]]:
    """At most `limit` faces after `last`, a person's id and a face's, each with its person and its vector, float32
    (D,). In the order of these ids; a person's faces may be in several pages.
    """
    dimension = state.collection.recogniser.dimension
    persons: dict[int, Person] = {}
    found = []
    for row in connection.execute(_PAGE, (state.key, last[0], *last, limit)):
        key, person, face, vector = row[0], row[1:7], row[7:12], row[12]
        if key not in persons:
            persons[key] = person_of(person)
        found.append((persons[key], face_of(face), floats([vector], dimension)[0]))
    return found
