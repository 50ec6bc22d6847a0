"""Seconds that the machine has run, as its processes tell them one another in a file.

How old something is must not hang on the wall clock, which somebody may put forward by a day, or back by a year. The
machine's own clock only runs, but begins anew whenever the machine does; so what it has run is added up in the file.
While it is off, and when the file is carried to another machine, nothing is added.
"""

import sqlite3
import time
from pathlib import Path

TABLE = """
CREATE TABLE IF NOT EXISTS elapsed (
    one INTEGER PRIMARY KEY CHECK (one = 1), seconds REAL NOT NULL, start TEXT NOT NULL, clock REAL NOT NULL
);
"""

_START = Path("/proc/sys/kernel/random/boot_id")


def machine_clock() -> float:
    """Seconds since the machine started, with those that it slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def start_of_machine() -> str:
    """A name that each start of each machine has for itself."""
    try:
        return _START.read_text("utf-8").strip()
    except OSError:
        return ""


def elapsed(database: sqlite3.Connection, clock: float, start: str, dated: str) -> float:
    """What it is now. `dated`: a query for the greatest date of what is in the file, which is no later than now. An
    empty file begins with the date of today, which earlier versions that share the file read as one.
    """
    row = database.execute("SELECT seconds, start, clock FROM elapsed").fetchone()
    if row is None:
        return float(database.execute(dated).fetchone()[0] or time.time())
    seconds, begun, then = row
    return float(seconds + (max(clock - then, 0.0) if begun == start else 0.0))


def note(database: sqlite3.Connection, seconds: float, clock: float, start: str) -> None:
    """From here on it is counted. Within a transaction."""
    database.execute("INSERT OR REPLACE INTO elapsed VALUES (1, ?, ?, ?)", (seconds, start, clock))
