"""The optional index: a graph of neighbours (HNSW), quick and not exact.

Yu. Malkov, D. Yashunin: Efficient and robust approximate nearest neighbor search using Hierarchical Navigable Small
World graphs, 2016 (arXiv 1603.09320); faiss computes it. Each process builds one from the segments when it first
searches, and keeps it in its own memory, with a float32 copy of every vector: for few processes and many questions.
"""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from visage.cores import available
from visage.errors import BackendUnavailable
from visage.faces import Floats
from visage.search.embedded.ranking import Asked, Best
from visage.search.embedded.segment import Rows

# Neighbours a node, and how widely is looked while building and asking: faiss calls them M, efConstruction, efSearch.
_NEIGHBOURS = 32
_BUILD = 100
_LEAST_WIDTH = 64
_LINK_BYTES = 4
_CHUNK = 8192

# So many rows may be added while a question is answered, in the transaction that it is asked in; more are outside.
MOST_ADDED = 8192
# The part of the nodes that may be of faces that are gone, before another graph is made without them.
_WORN = 0.1


def faiss() -> Any:
    """The library. Raises BackendUnavailable."""
    try:
        import faiss as library  # optional, and dear to load
    except ImportError as exc:
        raise BackendUnavailable("index hnsw needs faiss: pip install visage[search], or use exact") from exc
    return library


class Growing(Exception):
    """So much is to be added to a graph that no transaction should wait for it: it would hold up compacting."""

    def __init__(self, graph: "Graph", parts: Sequence[Rows]) -> None:
        super().__init__()
        self.graph, self.parts = graph, parts


class Graph:
    """Rows in the order in which they came; those that are gone stay as ways to others."""

    def __init__(self, dimension: int) -> None:
        self._faiss = faiss()
        self._dimension = dimension
        self._lock = threading.Lock()
        self._index = self._faiss.IndexHNSWFlat(dimension, _NEIGHBOURS, self._faiss.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = _BUILD
        self._keys = np.empty(0, np.int64)
        self._until = 0  # the key of the last row that was considered

    def __len__(self) -> int:
        """Nodes, with those of faces that are gone."""
        return len(self._keys)

    @property
    def bytes(self) -> int:
        """What its nodes take: their vectors, ways to their neighbours (twice as many on the lowest level) and keys."""
        return len(self) * (4 * self._dimension + 2 * _NEIGHBOURS * _LINK_BYTES + self._keys.itemsize)

    def is_worn(self, faces: int) -> bool:
        """Whether so many of the nodes are not among the `faces` that there are that a new graph is better."""
        return len(self) - faces > _WORN * len(self)

    def lacks(self, parts: Sequence[Rows]) -> int:
        """How many rows are to be added."""
        return sum(len(part) - int(np.searchsorted(part.keys, self._until, "right")) for part in parts)

    def add(self, parts: Sequence[Rows]) -> None:
        """Those rows that are new."""
        with self._lock:
            self._add(parts)

    def nearest(self, parts: Sequence[Rows], asked: Asked) -> Best:
        """Wider and wider until every list is full, or all rows have been asked for."""
        with self._lock:
            self._add(parts)
            persons = self._persons(parts, asked)
            best = Best.none(asked)
            for q in range(len(asked.probes)):
                one = Best(best.similarities[q : q + 1], best.persons[q : q + 1], best.keys[q : q + 1])
                self._ask(asked.probes[q : q + 1], persons, asked, one)
            return best

    def _ask(self, probe: Floats, persons: "np.ndarray[Any, np.dtype[np.int32]]", asked: Asked, one: Best) -> None:
        chosen = persons >= 0
        among = self._faiss.IDSelectorBitmap(np.packbits(chosen, bitorder="little"))
        count, all_of_them = min(4 * asked.top, len(persons)), int(chosen.sum())
        while count:
            settings = self._faiss.SearchParametersHNSW(sel=among, efSearch=max(_LEAST_WIDTH, 2 * count))
            scores, places = self._index.search(probe, count, params=settings)
            there = places[0] >= 0
            rows = places[0][there]
            one.let_in(scores[:, there], persons[rows], self._keys[rows], asked)
            enough = one.persons[0, -1] >= 0 or (len(rows) and scores[0, there][-1] < asked.threshold)
            if enough or count >= min(all_of_them, len(persons)) or len(rows) < count:
                return
            count = min(4 * count, len(persons))

    def _add(self, parts: Sequence[Rows]) -> None:
        for part in parts:
            new = part[int(np.searchsorted(part.keys, self._until, "right")) :]
            keys = [self._keys]
            for start in range(0, len(new), _CHUNK):
                chunk = new[start : start + _CHUNK]
                there = chunk[chunk.persons >= 0]  # what is gone before it came in never does
                self._faiss.omp_set_num_threads(available().count)  # of this thread; it knows nothing of quotas
                self._index.add(_decoded(there))
                keys.append(there.keys)
            self._keys = np.concatenate(keys)
            self._until = max(self._until, int(part.keys[-1])) if len(part) else self._until

    def _persons(self, parts: Sequence[Rows], asked: Asked) -> "np.ndarray[Any, np.dtype[np.int32]]":
        """(n,) whose each node is; −1 of those who are gone or not asked for."""
        persons = np.full(len(self._keys), -1, np.int32)
        for part in parts if len(persons) else ():
            alive = part.persons >= 0
            if len(asked.allowed):
                inside = np.where(alive & (part.persons < len(asked.allowed)), part.persons, 0)
                alive &= (asked.allowed[inside] != 0) & (part.persons < len(asked.allowed))
            keys = part.keys[alive]
            places = np.minimum(np.searchsorted(self._keys, keys), len(persons) - 1)
            known = self._keys[places] == keys  # not who went before they came in
            persons[places[known]] = part.persons[alive][known]
        return persons


def _decoded(rows: Rows) -> Floats:
    """float32 (n, D)."""
    if rows.precision == "fp16":
        return rows.vectors.view(np.float16).astype(np.float32)
    if rows.precision == "int8":
        return np.asarray(rows.vectors * rows.scales[:, None], np.float32)
    return np.ascontiguousarray(rows.vectors, np.float32)
