"""A client that costs little: one kept connection of the standard library, the request made once.

httpx takes about a millisecond a request, which beside a service of 20 ms would be measured as the service's.
"""

import http.client
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import httpx

REPO = Path(__file__).resolve().parents[1]

_JPEG: Mapping[str, str] = {"Content-Type": "image/jpeg"}


@dataclass(frozen=True, slots=True)
class Question:
    """What is posted, again and again."""

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: _JPEG)

    @classmethod
    def picture(cls, url: str, body: bytes, query: str = "") -> Self:
        """As a raw body, or as a form where the service at `url` (of an older commit) does not know that."""
        raw = cls(f"/extract{query}", body)
        with Poster(url) as poster:
            status, _ = poster.post(raw)
        if status != httpx.codes.UNPROCESSABLE_ENTITY:
            return raw
        form = httpx.Request(
            "POST",
            f"{url}/multipart/extract",
            files={"files": ("a.jpg", body, "image/jpeg")},
            data=dict(httpx.QueryParams(query.lstrip("?"))),
        )
        return cls("/multipart/extract", form.read(), {"Content-Type": form.headers["Content-Type"]})


class Poster:
    """One connection."""

    def __init__(self, url: str, timeout: float = 120.0) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def post(self, question: Question) -> tuple[int, bytes]:
        """Status and body of the answer."""
        self._connection.request("POST", question.path, question.body, dict(question.headers))
        answer = self._connection.getresponse()
        return answer.status, answer.read()


class Apart:
    """A client in a process of its own, so that it takes no part of the interpreter that serves it."""

    def __init__(self, url: str, picture: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.posting", url, str(picture)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPO)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def post(self) -> float:
        """Seconds from the request's first byte to the answer's last."""
        if self._process.stdin is None or self._process.stdout is None:
            raise ValueError("the client has no pipes")
        print(flush=True, file=self._process.stdin)
        return float(self._process.stdout.readline())


def main() -> int:
    url, picture = sys.argv[1:]
    question = Question.picture(url, Path(picture).read_bytes())
    with Poster(url) as poster:
        for _ in sys.stdin:
            started = time.perf_counter()
            status, _ = poster.post(question)
            took = time.perf_counter() - started
            if status != httpx.codes.OK:
                raise SystemExit(f"{url} answered {status}")
            print(took, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
