"""Calls to Milvus: each ends within its time, is tried again while that lasts, and connects again by itself."""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from visage.errors import StoreUnavailable
from visage.search.milvus.driver import Driver
from visage.search.milvus.expressions import among, both, text
from visage.search.milvus.failures import told
from visage.search.milvus.schema import Table

T = TypeVar("T")

log = logging.getLogger(__name__)
Row = dict[str, Any]

# Milvus' own bound for a query or a search (quotaAndLimits.limits.maxQueryResultWindow, topKLimit).
MOST_ROWS = 16_384
# Making, loading and compacting a collection takes as long as it takes, but not for ever.
_SLOW_SECONDS = 120.0
# A server that could not be reached is left alone for so long, lest each of many callers wait all of its time.
_PAUSE = 0.5
_LEAST, _READILY = 0.05, 1.0
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 1.0
# Bytes of one write; Milvus takes 64 MB.
_MOST_BYTES = 16 << 20
_ROW_BYTES = 1024
_NOT_LOADED = 101
_CUSTOMIZED = "Customized"


class Connection:
    """`seconds`: what a call may take, all attempts together; or all calls `within` which one fails after another. Safe
    for several threads.
    """

    def __init__(self, driver: Driver, seconds: float) -> None:
        self._driver = driver
        self._seconds = seconds
        self._lock = threading.Lock()
        self._thread = threading.local()
        self._client: Any = None
        self._closed = False
        self._not_before = 0.0

    @contextmanager
    def within(self) -> Iterator[None]:
        """These calls have the time of one, and more only as long as Milvus answers readily: so many calls to a server
        that is well may take long, and those to one that comes and goes may not.
        """
        self._thread.until, self._thread.ready = time.monotonic() + self._seconds, True
        try:
            yield
        finally:
            self._thread.until = None

    def moment(self) -> int:
        """What was acknowledged by now, to any process, is in what is read at this moment. Reads of one moment wait
        for it together: at most Milvus' tick (0.2 s), once.
        """
        return self._do(self._driver.moment, positional=True)

    def query(self, table: str, expression: str, fields: Sequence[str], at: int, limit: int = MOST_ROWS) -> list[Row]:
        """The first rows in the order of their ids."""
        rows = self._do(
            lambda client, **call: client.query(table, filter=expression, output_fields=list(fields), **call),
            loaded=table,
            limit=limit,
            iterator="True",  # in this order, says Milvus Lite; the server does so anyway
            consistency_level=_CUSTOMIZED,
            guarantee_timestamp=at,
        )
        return [dict(row) for row in rows]

    def pages(
        self, table: str, expression: str, fields: Sequence[str], at: int, *, after: str = "", size: int = MOST_ROWS
    ) -> Iterator[list[Row]]:
        """All rows in the order of their ids, those after `after`."""
        while True:
            rows = self.query(table, both(f"id > {text(after)}", expression), ["id", *fields], at, size)
            if rows:
                yield rows
            if len(rows) < size:
                return
            after = rows[-1]["id"]

    def named(self, table: str, ids: Sequence[str], fields: Sequence[str], at: int, size: int = 2000) -> list[Row]:
        """Those of these ids that are there, in no order."""
        unique = list(dict.fromkeys(ids))
        return [
            row
            for start in range(0, len(unique), size)
            for row in self.query(table, among("id", unique[start : start + size]), ["id", *fields], at)
        ]

    def count(self, table: str, expression: str, at: int) -> int:
        rows = self._do(
            lambda client, **call: client.query(table, filter=expression, output_fields=["count(*)"], **call),
            loaded=table,
            consistency_level=_CUSTOMIZED,
            guarantee_timestamp=at,
        )
        return int(rows[0]["count(*)"])

    def search(
        self, table: str, probes: Any, expression: str, fields: Sequence[str], limit: int, ef: int | None, at: int
    ) -> list[list[Row]]:
        """For each probe the nearest rows with their `distance`, the inner product, best first."""
        found = self._do(
            lambda client, **call: client.search(
                table,
                data=list(probes),
                anns_field="vector",
                filter=expression,
                output_fields=list(fields),
                search_params={"metric_type": "IP", "params": {} if ef is None else {"ef": ef}},
                **call,
            ),
            loaded=table,
            limit=limit,
            consistency_level=_CUSTOMIZED,
            guarantee_timestamp=at,
        )
        return [[{**hit["entity"], "id": hit["id"], "distance": hit["distance"]} for hit in hits] for hits in found]

    def write(self, table: str, rows: Sequence[Mapping[str, Any]], numbers: int = 0) -> None:
        """Rows in place of those with their ids; so a write that is repeated is one. `numbers`: those of a vector."""
        size = max(1, _MOST_BYTES // (_ROW_BYTES + 4 * numbers))
        for start in range(0, len(rows), size):
            part = [dict(row) for row in rows[start : start + size]]
            self._do(lambda client, **call: client.upsert(table, part, **call))  # noqa: B023  (called at once)

    def delete(self, table: str, ids: Sequence[str], size: int = 2000) -> None:
        for start in range(0, len(ids), size):
            part = list(ids[start : start + size])
            self._do(lambda client, **call: client.delete(table, ids=part, **call))  # noqa: B023  (called at once)

    def delete_where(self, table: str, expression: str) -> None:
        self._do(lambda client, **call: client.delete(table, filter=expression, **call), loaded=table)

    def tables(self) -> list[str]:
        return sorted(self._do(lambda client, **call: client.list_collections(**call)))

    def has(self, table: str) -> bool:
        return bool(self._do(lambda client, **call: client.has_collection(table, **call)))

    def description(self, table: str) -> str:
        return str(self._do(lambda client, **call: client.describe_collection(table, **call))["description"])

    def make(self, table: str, made: Table, description: str = "") -> None:
        """In one shard: so the rows of a write arrive together."""
        self._slow(
            lambda client, **call: client.create_collection(
                table,
                **self._driver.made(client, made, description),
                num_shards=1,
                consistency_level="Strong",
                **call,
            )
        )

    def drop(self, table: str) -> None:
        self._slow(lambda client, **call: client.drop_collection(table, **call))

    def compact(self, table: str) -> None:
        self._slow(lambda client, **call: client.flush(table, **call))
        self._slow(lambda client, **call: client.compact(table, **call))

    def close(self) -> None:
        with self._lock:
            client, self._client, self._closed = self._client, None, True
        if client is not None:
            self._driver.close(client)

    def _slow(self, call: Callable[..., T]) -> T:
        return self._do(call, seconds=max(_SLOW_SECONDS, self._seconds))

    def _do(
        self,
        call: Callable[..., T],
        *,
        seconds: float | None = None,
        positional: bool = False,
        loaded: str = "",
        **given: Any,
    ) -> T:
        """`loaded`: what must be in Milvus' memory for this. Raises Gone, SearchError (what Milvus calls invalid) and
        StoreUnavailable.
        """
        began = time.monotonic()
        deadline = began + (self._seconds if seconds is None else seconds)
        if seconds is None and (until := getattr(self._thread, "until", None)) is not None:
            deadline = max(until, began + _LEAST)
        wait = _FIRST_WAIT
        while True:
            try:
                client = self._connected(deadline)
                # pymilvus tries again until its time is over, and gives the last attempt all of it anew.
                left = max(_LEAST, (deadline - time.monotonic()) / 2)
                answer = call(client, left) if positional else call(client, timeout=left, **given)
                self._went_well(began)
                return answer
            except self._driver.failures as exc:
                problem = told(exc)
                if not isinstance(problem, StoreUnavailable):
                    raise problem from exc
                if loaded and getattr(exc, "code", None) == _NOT_LOADED:
                    self._load(loaded, deadline)
                wait = min(wait * 2, _LONGEST_WAIT) * random.uniform(0.5, 1)  # noqa: S311  (no secret)
                if time.monotonic() + wait >= deadline:
                    raise problem from exc
            time.sleep(wait)

    def _load(self, table: str, deadline: float) -> None:
        """A server that starts again loads by itself what was loaded when it ended, Milvus Lite does not."""
        try:
            self._client.load_collection(table, timeout=max(_LEAST, deadline - time.monotonic()))
        except self._driver.failures as exc:
            log.info("%s cannot be loaded: %s", table, told(exc))

    def _went_well(self, began: float) -> None:
        now = time.monotonic()
        if getattr(self._thread, "until", None) is not None:
            self._thread.ready = self._thread.ready and now - began < _READILY
            if self._thread.ready:
                self._thread.until = now + self._seconds

    def _connected(self, deadline: float) -> Any:
        client = self._client
        if client is not None:
            return client
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise StoreUnavailable("Milvus is being connected to", retry_after=1)
        try:
            if self._closed:
                raise StoreUnavailable("the store is closed")
            if self._client is None:
                if time.monotonic() < self._not_before:
                    raise StoreUnavailable("Milvus could not be reached a moment ago", retry_after=1)
                try:
                    self._client = self._driver.connect(max(_LEAST, deadline - time.monotonic()))
                except self._driver.failures:
                    self._not_before = time.monotonic() + _PAUSE
                    raise
            return self._client
        finally:
            self._lock.release()
