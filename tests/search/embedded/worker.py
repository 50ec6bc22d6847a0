"""A process of its own: enrols, and says so on its standard output once it is acknowledged.

python -m tests.search.embedded.worker FOLDER WHO FIRST COUNT TOGETHER
"""

import sys
from pathlib import Path

from tests.search.galleries import enrolment, unit
from visage.search.base import Question
from visage.search.embedded import EmbeddedStore

FACES = 3


def main(folder: str, who: str, first: str, count: str, together: str) -> None:
    store = EmbeddedStore(Path(folder), compact_after=None, threads=1)
    print("ready", flush=True)
    for start in range(int(first), int(first) + int(count), int(together)):
        numbers = range(start, start + int(together))
        store.enrol("staff", [enrolment(f"{who}-{i}", list(faces_of(who, i).items())) for i in numbers])
        print(f"{start} {start + int(together)}", flush=True)
        if start % 10 == 0:
            probe = faces_of(who, start)[f"{who}-{start}-0"]
            (found,) = store.search("staff", probe[None], Question(top=1))
            if found[0].person.id != f"{who}-{start}":
                print(f"stale {start}", flush=True)
    store.close()


def faces_of(who: str, i: int) -> "dict[str, object]":
    """Those of a person: face id → vector, the same in every process."""
    seed = i * 100 + sum(map(ord, who))
    return {f"{who}-{i}-{n}": vector for n, vector in enumerate(unit(FACES, seed=seed))}


if __name__ == "__main__":
    main(*sys.argv[1:])
