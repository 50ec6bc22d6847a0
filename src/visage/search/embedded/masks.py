"""Which persons a search may find: the answers to `where`, kept and brought up to date by what has changed."""

import json
import sqlite3
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from visage.search.base import Metadata
from visage.search.embedded.ranking import EVERYBODY
from visage.search.embedded.records import State
from visage.search.filters import Every, parse

# So many filters are remembered, a byte a person each.
_MOST = 16


@dataclass(slots=True, eq=False)
class _Kept:
    filter: Every
    version: int = -1
    allowed: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(1, np.uint8))


class Masks:
    """Those of one collection."""

    def __init__(self) -> None:
        self.bytes = 0  # about
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def allowed(self, connection: sqlite3.Connection, state: State, where: Metadata) -> NDArray[np.uint8]:
        """uint8 (greatest person's key + 1,): 1 for persons who meet `where`; EVERYBODY where it asks nothing.

        Only persons who came or changed since the last time are asked. Raises SearchError.
        """
        if not where:
            return EVERYBODY
        with self._lock:
            kept = self._find(where)
            rows = connection.execute(
                "SELECT key, metadata FROM persons WHERE collection = ? AND version > ?", (state.key, kept.version)
            )
            found = [(key, kept.filter.holds(orjson.loads(metadata))) for key, metadata in rows]
            if found:
                most = max(found)[0]
                # A copy: searches are under way with the one that was given out.
                allowed = np.zeros(max(len(kept.allowed), most + 1), np.uint8)
                allowed[: len(kept.allowed)] = kept.allowed
                allowed[[key for key, _ in found]] = [holds for _, holds in found]
                kept.allowed = allowed
            kept.version = max(kept.version, state.version)
            self.bytes = sum(len(one.allowed) for one in self._kept.values())
            return kept.allowed

    def _find(self, where: Metadata) -> _Kept:
        text = json.dumps(_plain(where), sort_keys=True, default=repr)
        kept = self._kept.pop(text, None) or _Kept(parse(where))
        self._kept[text] = kept
        if len(self._kept) > _MOST:
            self._kept.popitem(last=False)
        return kept


def _plain(where: Metadata) -> dict[str, Any]:
    return dict(where)
