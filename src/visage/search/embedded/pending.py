"""Deletions that wait to be compacted, and when they have waited long enough, whatever became of the clock.

When a deletion was made is written beside it by the wall clock, which somebody may put forward or back. So a process
also notes by its own clock, which nobody puts, when it first saw a deletion.
"""

import sqlite3
from collections import deque

# A deletion of this moment may be dated a little later than the moment at which it is looked for.
_SKEW = 5.0


class Pending:
    """What one process has seen of the table `removed`; for one thread. `wait`: seconds."""

    def __init__(self, wait: float) -> None:
        self._wait = wait
        # The last deletion's key and when that was seen, oldest first.
        self._seen: deque[tuple[int, float]] = deque()

    def is_due(self, connection: sqlite3.Connection, *, wall: float, steady: float) -> bool:
        """Whether some deletion was made so long ago. `wall`: seconds since 1970; `steady`: of a clock that only runs.

        One that is dated later than now is due, too: the clock was put back since, and how long ago it was made nobody
        can tell.
        """
        first, last, earliest, latest = connection.execute(
            "SELECT min(key), max(key), min(at), max(at) FROM removed"
        ).fetchone()
        while self._seen and (first is None or self._seen[0][0] < first):
            self._seen.popleft()
        if first is None:
            return False
        if not self._seen or self._seen[-1][0] < last:
            self._seen.append((last, steady))
        return bool(earliest + self._wait <= wall or latest > wall + _SKEW or self._seen[0][1] + self._wait <= steady)
