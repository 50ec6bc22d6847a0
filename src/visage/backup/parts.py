"""What of DATA_DIR cannot be made again: each a SQLite file, what it holds, and what a copy of it must be."""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visage.access.keyfile import FILE as KEYS_FILE
from visage.databases.copying import Damaged
from visage.search.folder import FILE as GALLERIES_FILE
from visage.search.folder import FOLDER, SEGMENT

IDEMPOTENCY_FILE = "idempotency.db"

Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Part:
    """`place` within DATA_DIR; `form` of its tables, which an older release may not read. `made_of_it`: files beside
    it that are made of it.
    """

    name: str
    place: Path
    form: int
    counts: Callable[[sqlite3.Connection], dict[str, int]]
    finish: Callable[[sqlite3.Connection], None] = lambda _: None
    made_of_it: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        return self.place.name


def _counted(connection: sqlite3.Connection, query: str) -> dict[str, int]:
    """The columns of its one row, by their names."""
    cursor = connection.execute(query)
    return dict(zip((column[0] for column in cursor.description), cursor.fetchone(), strict=True))


def _of_galleries(connection: sqlite3.Connection) -> dict[str, int]:
    """Raises Damaged where they do not agree with what each collection says of itself."""
    wrong = connection.execute(
        "SELECT name FROM collections c WHERE persons != (SELECT count(*) FROM persons p WHERE p.collection = c.key) "
        "OR faces != (SELECT count(*) FROM faces f WHERE f.collection = c.key) "
        "OR EXISTS (SELECT 1 FROM faces f WHERE f.collection = c.key AND length(f.vector) != 4 * c.dimension)"
    ).fetchone()
    if wrong is not None:
        raise Damaged(f"the collection {wrong[0]!r} does not hold as many persons, faces or numbers as it says")
    return _counted(
        connection,
        "SELECT (SELECT count(*) FROM collections) AS collections, (SELECT count(*) FROM persons) AS persons, "
        "(SELECT count(*) FROM faces) AS faces",
    )


def _without_image(connection: sqlite3.Connection) -> None:
    """What is searched is not in a backup: it is made anew when it is first searched."""
    connection.execute("DELETE FROM segments")
    connection.execute("DELETE FROM removed")


def _of_keys(connection: sqlite3.Connection) -> dict[str, int]:
    return _counted(connection, "SELECT count(*) AS keys, count(*) - count(revoked) AS valid FROM keys")


def _of_answers(connection: sqlite3.Connection) -> dict[str, int]:
    return _counted(connection, "SELECT count(*) AS answers FROM answers")


GALLERIES = Part(
    "galleries", Path(FOLDER) / GALLERIES_FILE, 1, _of_galleries, _without_image, (f"*{SEGMENT}", "*.unfinished")
)
IDEMPOTENCY = Part("idempotency", Path(IDEMPOTENCY_FILE), 1, _of_answers)
KEYS = Part("keys", Path(KEYS_FILE), 1, _of_keys)

# The order of copying and of putting back: an answer that is kept tells of a write that must be in the galleries, too.
PARTS = (IDEMPOTENCY, GALLERIES, KEYS)
ONLY: Mapping[str, tuple[Part, ...]] = {"galleries": (IDEMPOTENCY, GALLERIES), "keys": (KEYS,)}


def told(counts: Mapping[str, Any]) -> str:
    """For people."""
    return ", ".join(f"{count} {what.removesuffix('s') if count == 1 else what}" for what, count in counts.items())
