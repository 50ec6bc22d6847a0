"""A bulk enrolment as a caller sends it who reads the answer meanwhile."""

import http.client
import itertools
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import orjson

from tests.search.galleries import unit
from visage.faces import Floats

DIMENSION = 128  # of the default recogniser


def vector_of(person: str) -> Floats:
    return unit(1, seed=int(person.removeprefix("p")), dimension=DIMENSION)[0]


class Stream:
    """A body that is sent by a thread, while the answer's lines are read, until these come to an end."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=300)
        self.connection.putrequest("POST", "/v1/collections/staff/bulk")
        self.connection.putheader("Content-Type", "application/x-ndjson")
        self.connection.putheader("Transfer-Encoding", "chunked")
        self.connection.endheaders()
        self.ended = threading.Event()
        self.sending = threading.Thread(target=self._send)
        self.sending.start()

    def _send(self) -> None:
        with suppress(OSError):  # the service is killed while this goes on
            for i in itertools.count():
                row = orjson.dumps({"id": f"p{i}", "vectors": [vector_of(f"p{i}").tolist()]}) + b"\n"
                self.connection.send(b"%x\r\n%b\r\n" % (len(row), row))
                if self.ended.is_set():
                    self.connection.send(b"0\r\n\r\n")
                    break

    def lines(self) -> Iterator[Any]:
        """To the last, or until the connection breaks."""
        try:
            with suppress(OSError, http.client.HTTPException), self.connection.getresponse() as answer:
                for line in answer:
                    if line.endswith(b"\n"):
                        told = orjson.loads(line)
                        if "done" in told:
                            self.ended.set()
                        yield told
        finally:
            self.sending.join()
            self.connection.close()
