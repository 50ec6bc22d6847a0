"""The rows of answers that are kept for idempotency keys, and why a file of them cannot be used."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visage.databases import lineage
from visage.locking import NoLocks

# Of a key that came: its request, and of the answer, if that is known, status, headers and body.
Row = tuple[str, int | None, str, bytes]


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    database.execute("BEGIN IMMEDIATE")
    before = database.total_changes
    try:
        yield database
        if database.total_changes != before:
            lineage.mark(database)
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def found(database: sqlite3.Connection, key: str, after: float) -> Row | None:
    row: Row | None = database.execute(
        "SELECT request, status, coalesce(headers, '{}'), coalesce(body, x'') FROM answers WHERE key = ? AND at >= ?",
        (key, after),
    ).fetchone()
    return row


def copy(memory: sqlite3.Connection, file: sqlite3.Connection, *, later_by: float) -> None:
    """What the file knows of a key stays, unless it knows no answer. `later_by`: seconds that it counts more."""
    rows = memory.execute("SELECT key, request, at + ?, subject, status, headers, body FROM answers", (later_by,))
    file.executemany(
        "INSERT INTO answers (key, request, at, subject, status, headers, body) VALUES (?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (key) DO UPDATE SET status = excluded.status, headers = excluded.headers, body = excluded.body, "
        "subject = excluded.subject WHERE answers.status IS NULL AND answers.request = excluded.request",
        rows,
    )


def why_not(exc: Exception, path: Path) -> str:
    """Without the folder's name, which is the log's: callers are told."""
    file = f"DATA_DIR/{path.name}"
    if isinstance(exc, sqlite3.Error) and is_damaged(exc):
        return f"{file} is damaged ({exc}); delete it, and the keys of the last day are forgotten"
    if isinstance(exc, NoLocks | lineage.LogOfAnother):
        return f"{file}: {exc}"
    if isinstance(exc, OSError):
        return f"{file} cannot be written ({exc.strerror})"
    return f"{file} cannot be written ({exc})"


def is_damaged(exc: sqlite3.Error) -> bool:
    code = getattr(exc, "sqlite_errorcode", None) or 0
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_busy(exc: Exception) -> bool:
    """Whether somebody else just holds the file."""
    code = getattr(exc, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def purge(database: sqlite3.Connection, before: float) -> None:
    database.execute("DELETE FROM answers WHERE at < ?", (before,))
    database.execute("DELETE FROM forgotten WHERE at < ?", (before,))
