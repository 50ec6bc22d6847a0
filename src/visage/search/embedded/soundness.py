"""Whether a database is one of galleries and whole, as far as that is seen at once: no vector is read."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from visage.search.embedded.faults import Unsound
from visage.search.folder import FILE

_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"


def missing_tables(connection: sqlite3.Connection, folder: Path, schema: str) -> set[str]:
    """Those of `schema` that are not there yet. Raises Unsound, sqlite3.Error."""
    connection.execute("BEGIN")  # of one moment, however much others write
    try:
        return _missing(connection, folder, schema)
    finally:
        if connection.in_transaction:
            connection.rollback()


def _missing(connection: sqlite3.Connection, folder: Path, schema: str) -> set[str]:
    _hold_length(connection, folder / FILE)
    there, wanted = _columns(connection), _columns_of(schema)
    if there and not there.keys() & wanted.keys():
        raise Unsound(f"{FILE} is a database of another program: move it away, or restore it from a copy")
    for table in wanted.keys() & there.keys():
        if lacking := sorted(wanted[table] - there[table]):
            raise Unsound(
                f"{FILE} is of another version of visage, or of another program: its table {table!r} has no "
                f"{', '.join(lacking)}; use the version that wrote it, or restore a copy"
            )
    for table in wanted.keys() & there.keys():
        connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()
    return wanted.keys() - there.keys()


def _hold_length(connection: sqlite3.Connection, file: Path) -> None:
    """What is cut off within its last page SQLite takes for zeros."""
    log = file.with_name(f"{file.name}-wal")
    size = file.stat().st_size
    if not (log.exists() and log.stat().st_size):
        pages, page = (connection.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "page_size"))
        if size < pages * page:
            raise Unsound(f"{file.name} is cut off, after {size} of {pages * page} bytes: restore it from a copy")


def hold_writable(connection: sqlite3.Connection) -> None:
    """Whether a write could begin; whoever is writing just now shows that it could. Raises sqlite3.Error."""
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        connection.execute("UPDATE sqlite_sequence SET seq = seq WHERE 0")
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise


def _columns(connection: sqlite3.Connection) -> dict[str, set[str]]:
    return {
        table: {row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')}
        for (table,) in connection.execute(_TABLES).fetchall()
    }


def _columns_of(schema: str) -> Mapping[str, set[str]]:
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(schema)
        return _columns(connection)
    finally:
        connection.close()
