"""Callers' connections on real sockets: offers to upgrade, half-closed ends, and the shapes of HTTP/1.1 around them."""

import asyncio
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from structlog.testing import capture_logs

from tests.support import b64, wait_ready
from tests.wire import PHOTO, HeldDetector, Message, constant_app, listening

H2C = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
OFFERS = {
    "none": "",
    "java, curl": H2C,
    "websocket": "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\n",
    "tls": "connection: keep-alive, UPGRADE\r\nupgrade: TLS/1.0, HTTP/2.0\r\n",
    "in two lines": "Connection: keep-alive\r\nConnection: upgrade\r\nUpgrade: h2c\r\nUpgrade: x\r\nX-Empty:\r\n",
}
BODY = bytes(range(256)) * 40


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def said(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Says what came: the method, the body's length and sum, the headers as they are when it has been read."""
    if scope["type"] == "lifespan":
        for _ in range(2):
            await send({"type": f"{(await receive())['type']}.complete"})
        return
    assert scope["type"] == "http"
    body, more = b"", True
    while more:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    headers = [[name.decode(), value.decode()] for name, value in scope["headers"]]
    said = {"method": scope["method"], "length": len(body), "sum": sum(body), "headers": headers}
    answer = json.dumps(said).encode()
    told = [(b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": told})
    await send({"type": "http.response.body", "body": answer})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with listening(echo) as port:
        yield port


class Caller:
    """A connection that says bytes and reads whole answers."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()

    def say(self, *pieces: bytes) -> None:
        """Each in a segment of its own, as far as a caller can have it so."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            self.socket.sendall(piece)

    def hear(self, method: str = "POST") -> Answer:
        status = int(self.file.readline().split()[1])
        headers = {}
        while line := self.file.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        if status < 200 or method == "HEAD":
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.file.readline(), 16):
                body += self.file.read(size)
                self.file.readline()
            self.file.readline()
            return Answer(status, headers, body)
        return Answer(status, headers, self.file.read(int(headers["content-length"])))

    @property
    def ended(self) -> bool:
        """Whether the other side says no more."""
        return self.file.read(1) == b""


def head(offer: str = "", *lines: str, method: str = "POST", version: str = "1.1") -> bytes:
    rest = "".join(f"{line}\r\n" for line in lines)
    return f"{method} /x HTTP/{version}\r\nHost: localhost\r\n{offer}{rest}\r\n".encode()


def chunked(body: bytes, trailer: bytes = b"") -> bytes:
    pieces = [body[i : i + 1000] for i in range(0, len(body), 1000)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailer + b"\r\n"


def whole(answer: Answer, body: bytes = BODY) -> bool:
    said = answer.said
    return (answer.status, said["length"], said["sum"]) == (200, len(body), sum(body))


LENGTH = f"Content-Length: {len(BODY)}"
CHUNKED = "Transfer-Encoding: chunked"

# ---------------------------------------------------------------- offers to upgrade


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS.keys())
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_an_offer_to_upgrade_is_ignored(port: int, offer: str, version: str) -> None:
    """Head and body at once and apart, and cut anywhere; the connection can be used again where HTTP has it so."""
    request = head(offer, LENGTH, version=version)
    for pieces in ((request + BODY,), (request, BODY), (request[:30], request[30:] + BODY[:1], BODY[1:])):
        with Caller(port) as caller:
            for _ in range(3 if version == "1.1" else 1):
                caller.say(*pieces)
                assert whole(caller.hear())
            if version == "1.0":
                assert caller.ended


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS.keys())
def test_a_body_in_chunks_comes_whole(port: int, offer: str) -> None:
    request, body = head(offer, CHUNKED), chunked(BODY, b"X-Late: no header\r\n")
    for pieces in ((request + body,), (request, body), tuple(bytes([byte]) for byte in request + chunked(b"abc"))):
        with Caller(port) as caller:
            for _ in range(2):
                caller.say(*pieces)
                answer = caller.hear()
                assert whole(answer, b"abc" if len(pieces) > 2 else BODY)
                assert "x-late" not in dict(answer.said["headers"])


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS.keys())
def test_a_caller_who_waits_to_be_asked_for_the_body_is_asked_once(port: int, offer: str) -> None:
    with Caller(port) as caller:
        for _ in range(2):
            caller.say(head(offer, LENGTH, "Expect: 100-continue"))
            assert caller.hear().status == 100
            caller.say(BODY)
            assert whole(caller.hear())


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS.keys())
def test_requests_one_after_the_other_are_answered_in_order(port: int, offer: str) -> None:
    bodies = [bytes([1]) * length for length in (0, 1, 5000, 70_000)]
    with Caller(port) as caller:
        said = b"".join(head(offer, f"Content-Length: {len(body)}") + body for body in bodies)
        said += head(offer, CHUNKED) + chunked(b"abc") + head(offer, method="GET") + head(offer, "Connection: close")
        caller.say(said)
        for body in (*bodies, b"abc", b"", b""):
            assert whole(caller.hear(), body)
        assert caller.ended


def test_many_offers_at_once_are_read_in_time(port: int) -> None:
    with Caller(port) as caller:
        sending = threading.Thread(target=caller.say, args=(head(H2C, method="GET") * 2000,))
        sending.start()
        assert all(whole(caller.hear(), b"") for _ in range(2000))
        sending.join()


def test_the_rest_of_the_head_is_as_it_was_sent(port: int) -> None:
    others = ["Connection: keep-alive", "X-Empty:", "X-Twice: a", "X-Twice: b", "X-Latin: é", "Content-Length: 0"]
    with Caller(port) as caller:
        caller.say(head(H2C, *others))
        found = [tuple(pair) for pair in caller.hear().said["headers"] if pair[0] != "connection"]
    assert found == [
        ("host", "localhost"),
        ("x-empty", ""),
        ("x-twice", "a"),
        ("x-twice", "b"),
        ("x-latin", "é"),
        ("content-length", "0"),
    ]


@pytest.mark.parametrize(
    "said",
    [
        b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\nabc",
        b"CONNECT /x HTTP/1.1\r\nHost: x\r\n" + H2C.encode() + b"\r\nabc",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        head(H2C, LENGTH, CHUNKED) + chunked(BODY),
        head(H2C, LENGTH, "Content-Length: 1") + BODY,
        head(H2C, CHUNKED) + b"nonsense\r\n",
    ],
)
def test_what_is_no_request_is_refused_once(port: int, said: bytes) -> None:
    with Caller(port) as caller:
        caller.say(said)
        assert caller.hear().status == 400 and caller.ended


@pytest.mark.parametrize(
    "nonsense", [b"nonsense\r\n\r\n", head("", CHUNKED) + b"nonsense\r\n", head("", LENGTH, CHUNKED)]
)
@pytest.mark.parametrize("offer", ["", H2C])
def test_what_came_before_nonsense_is_answered_before_it_is_refused(port: int, nonsense: bytes, offer: str) -> None:
    with Caller(port) as caller:
        caller.say((head(offer, LENGTH) + BODY) * 3 + nonsense)
        assert all(whole(caller.hear()) for _ in range(3))
        assert caller.hear().status == 400 and caller.ended


def test_an_answer_that_has_begun_is_not_followed_by_another() -> None:
    async def eager(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await echo(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass

    with listening(eager) as port, Caller(port) as caller:
        caller.say(head("", CHUNKED))
        begun = caller.file.read1(1000)
        while b"begun" not in begun:
            begun += caller.file.read1(1000)
        caller.say(b"nonsense\r\n")
        assert b"400" not in begun + caller.file.read()


@pytest.fixture(scope="module")
def service() -> Iterator[int]:
    with listening(constant_app()) as port:
        wait_ready(lambda: _status(port) == 200)
        yield port


def _status(port: int) -> int:
    with Caller(port) as caller:
        caller.say(b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return caller.hear("GET").status


def form_of(photo: bytes) -> bytes:
    disposition = b'Content-Disposition: form-data; name="files"; filename="a.jpg"'
    return b"--b\r\n" + disposition + b"\r\nContent-Type: image/jpeg\r\n\r\n" + photo + b"\r\n--b--\r\n"


POSTS = {
    "/extract": [("application/json", json.dumps({"images": {"data": [b64(PHOTO)]}}).encode()), ("image/jpeg", PHOTO)],
    "/draw_detections": [("image/jpeg", PHOTO)],
    "/multipart/extract": [("multipart/form-data; boundary=b", form_of(PHOTO))],
    "/v1/detect": [("image/jpeg", PHOTO)],
}


@pytest.mark.parametrize(("path", "kind", "body"), [(p, k, b) for p, found in POSTS.items() for k, b in found])
def test_every_route_reads_the_body_of_a_request_with_an_offer(service: int, path: str, kind: str, body: bytes) -> None:
    lines = (f"Content-Type: {kind}", f"Content-Length: {len(body)}")
    plain, offering = (head(offer, *lines).replace(b"/x", path.encode(), 1) for offer in ("", H2C))
    with Caller(service) as caller:
        caller.say(plain + body)
        right = caller.hear()
        caller.say(offering, body)
        found = caller.hear()
    assert (found.status, right.status) == (200, 200)
    assert len(found.body) == len(right.body) or abs(len(found.body) - len(right.body)) < 20  # times are in it
    if path != "/draw_detections":
        assert b"is empty" not in found.body


def test_a_request_with_an_offer_of_websockets_is_answered(service: int) -> None:
    with Caller(service) as caller:
        for path in (b"/health", b"/info"):
            caller.say(head(OFFERS["websocket"], method="GET").replace(b"/x", path, 1))
            assert caller.hear("GET").status == 200


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
def test_curl_may_offer_http2(service: int, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(PHOTO)
    url = f"http://127.0.0.1:{service}"
    picture = ["-H", "Content-Type: image/jpeg", "--data-binary", f"@{tmp_path}/a.jpg", f"{url}/extract"]
    form = ["-F", f"files=@{tmp_path}/a.jpg;type=image/jpeg", f"{url}/multipart/extract"]
    for given in (
        picture,
        ["-H", "Transfer-Encoding: chunked", *picture],
        ["-H", "Expect: 100-continue", *picture],
        form,
    ):
        ran = subprocess.run(["curl", "-sS", "--http2", *given], capture_output=True, timeout=60, check=False)
        if ran.returncode == 1 or b"does not support" in ran.stderr:
            pytest.skip("this curl knows no HTTP/2")
        assert ran.returncode == 0, ran.stderr
        assert len(json.loads(ran.stdout)["data"][0]["faces"]) == 2


JAVA = """
import java.net.URI;
import java.net.http.*;
import java.nio.file.*;

public class Post {
    public static void main(String[] args) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (int i = 0; i < 3; i++) {
            HttpRequest.BodyPublisher file = HttpRequest.BodyPublishers.ofFile(Path.of(args[1]));
            if (i == 2) file = HttpRequest.BodyPublishers.fromPublisher(file);
            HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(args[0]))
                .header("Content-Type", "image/jpeg").POST(file);
            if (i == 1) request.expectContinue(true);
            HttpResponse<String> answer = client.send(request.build(), HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.statusCode() + " " + answer.version() + " " + answer.body());
        }
    }
}
"""


@pytest.mark.skipif(shutil.which("javac") is None, reason="no Java development kit is here")
def test_the_http_client_of_java_is_answered(service: int, tmp_path: Path) -> None:
    """As it comes, it offers HTTP/2 with every request; so do Spring's RestClient and Ktor over it."""
    (tmp_path / "a.jpg").write_bytes(PHOTO)
    (tmp_path / "Post.java").write_text(JAVA)
    command = ["java", "Post.java", f"http://127.0.0.1:{service}/extract", "a.jpg"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stderr
    lines = [line.split(" ", 2) for line in ran.stdout.splitlines()]
    assert [line[:2] for line in lines] == [["200", "HTTP_1_1"]] * 3
    assert [len(json.loads(line[2])["data"][0]["faces"]) for line in lines] == [2, 2, 2]


# ---------------------------------------------------------------- half-closed connections


@pytest.fixture
def held() -> Iterator[HeldDetector]:
    detector = HeldDetector()
    yield detector
    detector.let_go.set()


def extraction(*lines: str, version: str = "1.1") -> bytes:
    told = ("Content-Type: image/jpeg", f"Content-Length: {len(PHOTO)}", *lines)
    return head("", *told, version=version).replace(b"/x", b"/extract", 1) + PHOTO


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("offer", ["", H2C])
def test_who_ends_their_side_after_the_request_is_answered(port: int, version: str, offer: str) -> None:
    with Caller(port) as caller:
        caller.say(head(offer, LENGTH, version=version) + BODY)
        caller.socket.shutdown(socket.SHUT_WR)
        assert whole(caller.hear()) and caller.ended


@pytest.mark.parametrize("ahead", [1, 4])
def test_who_ends_their_side_while_it_is_worked_on_is_answered(held: HeldDetector, ahead: int) -> None:
    with listening(app := constant_app(runtime={"detector": held}, REQUEST_TIMEOUT="300")) as port:
        wait_ready(lambda: _status(port) == 200)
        with Caller(port) as caller, capture_logs() as lines:
            caller.say(extraction("X-Request-Id: half"))
            assert held.begun.acquire(timeout=60)
            caller.socket.shutdown(socket.SHUT_WR)
            begun = caller.file.read(ahead)  # the beginning of the answer, byte by byte
            held.let_go.set()
            answer = begun + caller.file.read()
            wait_ready(lambda: any(line.get("path") == "/extract" for line in lines))
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.count(b"HTTP/1.1") == 1
        assert b'"faces"' in answer and b"connection: close\r\n" in answer
        assert [line["status"] for line in lines if line.get("path") == "/extract"] == [200] and _inside(app) == 0


@pytest.mark.parametrize("leaving", ["closed", "half-closed and closed", "reset"])
def test_who_has_gone_is_noticed(held: HeldDetector, leaving: str) -> None:
    with listening(app := constant_app(runtime={"detector": held}, REQUEST_TIMEOUT="300")) as port:
        wait_ready(lambda: _status(port) == 200)
        with capture_logs() as lines:
            caller = Caller(port)
            caller.say(extraction())
            assert held.begun.acquire(timeout=60)
            if leaving == "half-closed and closed":
                caller.socket.shutdown(socket.SHUT_WR)
                assert caller.file.read(2) == b"HT"  # it is seen that somebody is there, and watched on
                assert _inside(app) == 1
            if leaving == "reset":
                caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            caller.file.close()
            caller.socket.close()
            wait_ready(lambda: _inside(app) == 0)  # the detector still holds the work
            wait_ready(lambda: any(line.get("path") == "/extract" for line in lines))
        assert [line["status"] for line in lines if line.get("path") == "/extract"] == [499]
        held.let_go.set()
        with Caller(port) as caller:
            caller.say(extraction())
            assert caller.hear().status == 200


def _inside(app: Any) -> int:
    return int(app.state.visage.runtime.service.door.inside)


def test_all_that_was_asked_before_the_end_is_answered(port: int) -> None:
    request = head("", LENGTH) + BODY
    for unfinished in (b"", request[:20], request[:-1]):
        with Caller(port) as caller:
            caller.say(request * 3 + unfinished)
            caller.socket.shutdown(socket.SHUT_WR)
            assert all(whole(caller.hear()) for _ in range(3))
            assert caller.ended


@pytest.mark.parametrize("said", [b"", b"POST /x", head("", LENGTH), head("", LENGTH) + BODY[:-1]])
def test_who_ends_their_side_before_the_request_is_whole_gets_none(port: int, said: bytes) -> None:
    with Caller(port) as caller:
        caller.say(said)
        caller.socket.shutdown(socket.SHUT_WR)
        assert caller.ended


def test_the_end_of_a_side_does_not_cut_a_long_answer() -> None:
    """Written in pieces, the last of them long after the caller has said all."""
    go_on = threading.Event()

    async def long(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await echo(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(20):
            await send({"type": "http.response.body", "body": bytes(500_000), "more_body": True})
        assert (await receive())["type"] == "http.request"
        while not go_on.is_set():
            await asyncio.sleep(0.01)
        await send({"type": "http.response.body", "body": b"end"})

    with listening(long) as port, Caller(port) as caller:
        caller.say(head("", method="GET"))
        caller.socket.shutdown(socket.SHUT_WR)
        go_on.set()
        answer = caller.hear("GET")
        assert len(answer.body) == 10_000_003 and answer.body.endswith(b"end") and caller.ended
