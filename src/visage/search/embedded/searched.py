"""What a process holds of the collections that it searches: of those that were searched last, so much as it may."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from visage.search.embedded.graph import MOST_ADDED, Graph
from visage.search.embedded.image import Image
from visage.search.embedded.masks import Masks

MOST_COLLECTIONS = 1000
# Each file that is mapped takes a descriptor, of which a process may have as few as a thousand.
MOST_FILES = 250

# What the objects of a collection with one face take, as measured.
_LEAST_BYTES = 10_240


@dataclass(slots=True, eq=False)
class Searched:
    """One collection. `users`: searches that are under way; `bytes` and `files`: as they were counted last."""

    image: Image
    masks: Masks = field(default_factory=Masks)
    graph: Graph | None = None
    users: int = 0
    bytes: int = 0
    files: int = 0

    def count(self) -> None:
        """What letting go of it would free; what is mapped is the system's, which takes it back by itself."""
        self.bytes = self.files = 0
        if not self.is_dear:
            self.bytes = _LEAST_BYTES + self.image.bytes + self.masks.bytes
            self.bytes += 0 if self.graph is None else self.graph.bytes
            self.files = self.image.files

    @property
    def is_dear(self) -> bool:
        """Whether it takes seconds or minutes to make again: a graph of many. Such are kept, whatever they take."""
        return self.graph is not None and len(self.graph) > MOST_ADDED


class Several:
    """By the collections' keys, for any number of threads. At most `most_bytes`, MOST_COLLECTIONS and MOST_FILES are
    held, besides what is searched just now and graphs of more than MOST_ADDED faces; what was searched the longest ago
    goes first.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._held: OrderedDict[int, Searched] = OrderedDict()
        self._bytes = self._files = 0

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: int) -> bool:
        return key in self._held

    @contextmanager
    def using(self) -> Iterator["Use"]:
        """For one search: what it asks for is held until it is through."""
        use = Use(self)
        try:
            yield use
        finally:
            self._through(use)

    def graph_of(self, searched: Searched, dimension: int) -> Graph:
        with self._lock:
            if searched.graph is None:
                searched.graph = Graph(dimension)
            return searched.graph

    def items(self) -> list[tuple[int, Searched]]:
        with self._lock:
            return list(self._held.items())

    def drop(self, key: int) -> None:
        with self._lock:
            self._drop(key)

    def clear(self) -> None:
        with self._lock:
            self._held.clear()
            self._bytes = self._files = 0

    def lent(self, key: int) -> Searched:
        with self._lock:
            searched = self._held.get(key)
            if searched is None:
                searched = self._held[key] = Searched(Image(self._folder, key))
            self._held.move_to_end(key)
            searched.users += 1
            return searched

    def _through(self, use: "Use") -> None:
        with self._lock:
            for key, searched in use.lent.items():
                searched.users -= 1
                if self._held.get(key) is searched:  # not dropped meanwhile
                    self._count(searched, -1)
                    searched.count()
                    self._count(searched, 1)
            if self._is_over():
                self._let_go()

    def _count(self, searched: Searched, sign: int) -> None:
        self._bytes += sign * searched.bytes
        self._files += sign * searched.files

    def _is_over(self) -> bool:
        return self._bytes > self._most_bytes or len(self._held) > MOST_COLLECTIONS or self._files > MOST_FILES

    def _let_go(self) -> None:
        """What was searched last stays, however large it is."""
        for key in list(self._held)[:-1]:
            if not self._is_over():
                return
            if not self._held[key].users and not self._held[key].is_dear:
                self._drop(key)

    def _drop(self, key: int) -> None:
        searched = self._held.pop(key, None)
        if searched is not None:
            self._count(searched, -1)


class Use:
    """What one search has been lent, by the collections' keys: its name may lead to another one while it tries."""

    def __init__(self, several: Several) -> None:
        self._several = several
        self.lent: dict[int, Searched] = {}

    def of(self, key: int) -> Searched:
        """Made where it is not there."""
        if key not in self.lent:
            self.lent[key] = self._several.lent(key)
        return self.lent[key]
