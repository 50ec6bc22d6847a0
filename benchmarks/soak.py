"""Does memory stay where it is? `make soak`: 20,000 mixed requests against `visage serve`, and its memory meanwhile.

One face, a crowd, broken files, pictures over the limit, callers that hang up half-way. Exit status 1 where the memory
after the last request exceeds that after the 500th by more than 5 %, or where an answer came that should not.
"""

import argparse
import collections
import contextlib
import itertools
import os
import sys
import threading
import time
from urllib.parse import urlsplit

import httpx
import numpy as np

from benchmarks import pictures
from benchmarks.serving import Service

AIM = 1.05
FIRST = 500
CLIENTS = 6
HEADERS = {"Content-Type": "image/jpeg"}
# What each kind may be answered; 0: the caller did not wait.
EXPECTED = {"one": {200}, "small": {200}, "crowd": {200}, "broken": {200}, "oversized": {200, 413}, "cancelled": {0}}
# Of a hundred requests.
MIX = ["one"] * 40 + ["small"] * 40 + ["crowd"] * 1 + ["broken"] * 8 + ["oversized"] * 5 + ["cancelled"] * 6


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    given = parser.parse_args(arguments)
    first = min(FIRST, given.requests // 2)
    with Service({"MODELS_DIR": str(pictures.REPO / "models")}) as service:
        seen, memory = soak(service, given.requests, first)
    print(dict(sorted(seen.items())))
    wrong = [key for key in seen if key[1] not in EXPECTED[key[0]]]
    grown = memory[given.requests] / memory[first]
    print(f"RSS after {given.requests} ÷ after {first} requests: {grown:.3f} (aim: at most {AIM})")
    if wrong:
        print(f"unexpected answers: {wrong}")
    return 1 if wrong or grown > AIM else 0


def bodies() -> dict[str, bytes]:
    """What is posted, by kind."""
    one = pictures.one_face()
    flat = np.zeros((7200, 7200, 3), np.uint8)
    return {
        "one": one,
        "small": (pictures.IMAGES / "astronaut.jpg").read_bytes(),
        "crowd": (pictures.IMAGES / "group.jpg").read_bytes(),
        "broken": one[: len(one) // 50],
        "oversized": pictures.jpeg(flat),
        "cancelled": one,
    }


def soak(service: Service, requests: int, first: int) -> tuple[collections.Counter[tuple[str, int]], dict[int, float]]:
    """Answers by kind and status, and the memory in MB after so many requests: after `first`, each 1000, and the last.

    Memory is looked at between two rounds, when nobody is inside and the service has tidied up.
    """
    kinds = itertools.cycle(MIX)
    seen: collections.Counter[tuple[str, int]] = collections.Counter()
    memory: dict[int, float] = {}
    shown = bodies()
    done = 0
    for stop in sorted({first, *range(1000, requests, 1000), requests}):
        _round(service.url, [next(kinds) for _ in range(stop - done)], shown, seen)
        done = stop
        time.sleep(float(os.environ.get("SOAK_PAUSE", "6")))
        memory[done] = service.rss()
        print(f"{done:6} requests: {memory[done]:.0f} MB", flush=True)
    return seen, memory


def _round(url: str, kinds: list[str], shown: dict[str, bytes], seen: collections.Counter[tuple[str, int]]) -> None:
    waiting = list(reversed(kinds))
    lock = threading.Lock()

    def work() -> None:
        with httpx.Client(timeout=600) as client:
            while True:
                with lock:
                    if not waiting:
                        return
                    kind = waiting.pop()
                status = _hung_up(url, shown[kind]) if kind == "cancelled" else _posted(client, url, shown[kind])
                with lock:
                    seen[kind, status] += 1

    threads = [threading.Thread(target=work) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _posted(client: httpx.Client, url: str, body: bytes) -> int:
    return client.post(f"{url}/extract", content=body, headers=HEADERS).status_code


def _hung_up(url: str, body: bytes) -> int:
    """A caller who leaves before the answer."""
    parts = urlsplit(url)
    with contextlib.suppress(httpx.HTTPError), httpx.Client(timeout=0.01) as client:
        client.post(f"http://{parts.netloc}/extract", content=body, headers=HEADERS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
