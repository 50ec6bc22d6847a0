"""A process of its own: enrols at a Milvus server, and says so on its standard output once it is acknowledged. What is
unavailable it tries again with the same ids, as a client does that was told 503.

python -m tests.search.milvus.worker ADDRESS WHO SECONDS TOGETHER
"""

import sys
import time

from tests.search.embedded.worker import faces_of, tell
from tests.search.galleries import enrolment
from visage.errors import StoreUnavailable
from visage.search.milvus import open_store


def main(address: str, who: str, seconds: str, together: str) -> None:
    store = open_store(address, seconds=5)
    end = time.monotonic() + float(seconds)
    start = 0
    tell("ready")
    while time.monotonic() < end:
        numbers = range(start, start + int(together))
        began = time.monotonic()
        try:
            store.enrol("staff", [enrolment(f"{who}-{i}", list(faces_of(who, i).items())) for i in numbers])
        except StoreUnavailable:
            tell(f"unavailable {time.monotonic() - began:.2f}")
            time.sleep(0.2)
            continue
        start += int(together)
        tell(f"{start - int(together)} {start}")
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
