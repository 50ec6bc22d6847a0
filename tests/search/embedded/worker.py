"""A process of its own: enrols, and says so on its standard output once it is acknowledged.

python -m tests.search.embedded.worker FOLDER WHO FIRST COUNT TOGETHER
"""

import sys
import zlib
from pathlib import Path

from tests.search.galleries import enrolment, unit
from visage.faces import Floats
from visage.search.base import Question
from visage.search.embedded import EmbeddedStore, database

FACES = 3


def main(folder: str, who: str, first: str, count: str, together: str) -> None:
    database._BUSY_SECONDS = 200.0  # beside others that write without a pause, on a machine that may be busy
    store = EmbeddedStore(Path(folder), compact_after=None, threads=1)
    tell("ready")
    for start in range(int(first), int(first) + int(count), int(together)):
        numbers = range(start, start + int(together))
        store.enrol("staff", [enrolment(f"{who}-{i}", list(faces_of(who, i).items())) for i in numbers])
        tell(f"{start} {start + int(together)}")
        if start % 10 == 0:
            probe = faces_of(who, start)[f"{who}-{start}-0"]
            (found,) = store.search("staff", probe[None], Question(top=1))
            if found[0].person.id != f"{who}-{start}":
                tell(f"stale {start}")
    store.close()


def tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def faces_of(who: str, i: int) -> dict[str, Floats]:
    """Those of a person: face id → vector, the same in every process."""
    seed = zlib.crc32(f"{who}-{i}".encode())
    return {f"{who}-{i}-{n}": vector for n, vector in enumerate(unit(FACES, seed=seed))}


if __name__ == "__main__":
    main(*sys.argv[1:])
