"""Against real HTTP servers on loopback; names are resolved by the test, so that nothing leaves the machine."""

import asyncio
import base64
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from visage.errors import ImageError, ImageTooLarge, ImageUndecodable, ImageUnreachable, UrlForbidden
from visage.images.addresses import AddressPolicy
from visage.images.fetching import Downloader, Encoded, Local, Remote, decode_base64, source_of

BODY = b"the bytes of a picture"


class Web:
    """A server; `answers` maps a path to what it does. `seen` are the paths and headers that came."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.seen: list[tuple[str, Mapping[str, str]]] = []
        self.released = threading.Event()  # ends whatever hangs

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def says(
        self, path: str, body: bytes = BODY, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> str:
        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                request.send_header(name, value)
            request.end_headers()
            request.wfile.write(body)

        self.answers[path] = answer
        return self.url(path)

    def redirects(self, path: str, to: str, status: int = 302) -> str:
        return self.says(path, b"", status=status, headers={"Location": to})


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[Web]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 100

        def do_GET(self) -> None:
            web.seen.append((self.path, dict(self.headers)))
            with suppress(OSError):  # the client has had enough
                web.answers[self.path](self)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = False
        block_on_close = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a handshake that the client broke off

        def finish_request(self, request: Any, client_address: Any) -> None:
            if context is not None:
                request = context.wrap_socket(request, server_side=True)
            with request:
                super().finish_request(request, client_address)

    with Server(("127.0.0.1", 0), Handler) as server:
        web = Web(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield web
        finally:
            web.released.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        yield server


def fetch(
    *urls: str,
    allow: tuple[str, ...] = ("127.0.0.0/8",),
    limit: int = 1000,
    seconds: float = 100,
    own: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> bytes:
    """The body of the last of `urls`, all fetched by one downloader."""

    async def all_of_them() -> bytes:
        async with Downloader(
            AddressPolicy.parse(allow), limit=limit, seconds=seconds, headers=own or {}, transport=transport
        ) as downloader:
            for url in urls:
                body = await downloader.fetch(Remote(url, headers or {}))
            return body

    return asyncio.run(all_of_them())


def names(monkeypatch: pytest.MonkeyPatch, **table: list[list[str]]) -> list[str]:
    """Names resolve to the next entry of their list, the last one again and again; what was asked for is returned."""
    asked: list[str] = []
    real = asyncio.BaseEventLoop.getaddrinfo

    async def getaddrinfo(loop: Any, host: Any, port: Any, **how: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        label = name.split(".")[0]
        if label not in table:
            return await real(loop, host, port, **how)
        asked.append(name)
        answers = table[label]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in addresses
        ]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return asked


# -- what is fetched ----------------------------------------------------------------------------------------------


def test_the_body_of_a_good_answer_is_returned(web: Web) -> None:
    assert fetch(web.says("/a.jpg")) == BODY


def test_a_body_without_a_declared_length_is_returned_whole(web: Web) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(BODY)

    web.answers["/a"] = answer
    assert fetch(web.url("/a")) == BODY


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(web: Web, status: int) -> None:
    web.says("/b.jpg")
    assert fetch(web.redirects("/a", "/b.jpg", status)) == BODY
    assert [path for path, _ in web.seen] == ["/a", "/b.jpg"]


def test_a_redirect_loop_ends_in_one_line(web: Web) -> None:
    web.redirects("/b", "/a")
    with pytest.raises(ImageUnreachable, match="redirects more than 5 times"):
        fetch(web.redirects("/a", "/b"))
    assert len(web.seen) == 6


@pytest.mark.parametrize("status", [204, 304, 400, 401, 404, 500, 503])
def test_an_answer_without_a_picture_is_told_by_its_status(web: Web, status: int) -> None:
    url = web.says("/a", b"", status=status)
    if status == 204:
        assert fetch(url) == b""
        return
    with pytest.raises(ImageUnreachable, match=f"answered with status {status}"):
        fetch(url)


# -- limits -------------------------------------------------------------------------------------------------------


def test_a_body_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(web: Web) -> None:
    assert len(fetch(web.says("/a", bytes(1000)))) == 1000
    with pytest.raises(ImageTooLarge, match="more than the 1000 bytes"):
        fetch(web.says("/b", bytes(1001)))


def test_a_declared_length_past_the_limit_is_refused_before_the_body_comes(web: Web) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1001")
        request.end_headers()
        web.released.wait(100)  # the body never comes

    web.answers["/a"] = answer
    with pytest.raises(ImageTooLarge):
        fetch(web.url("/a"))


def test_a_body_longer_than_allowed_is_refused_while_it_comes(web: Web) -> None:
    sent: list[int] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        for _ in range(10_000):
            request.wfile.write(bytes(10_000))
            sent.append(10_000)

    web.answers["/a"] = answer
    with pytest.raises(ImageTooLarge):
        fetch(web.url("/a"))
    assert sum(sent) < 50_000_000  # the client left; what was sent is what the buffers took


def test_a_server_that_trickles_is_given_up_after_the_total_time_fault_26(web: Web) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not web.released.wait(0.02):  # each byte is in time, their sum never is
            request.wfile.write(b".")
            request.wfile.flush()

    web.answers["/a"] = answer
    with pytest.raises(ImageUnreachable, match=r"did not answer within 0\.3 s"):
        fetch(web.url("/a"), seconds=0.3, limit=10**6)


def test_redirects_share_one_total_time_fault_26(web: Web) -> None:
    def slowly(request: BaseHTTPRequestHandler) -> None:
        web.released.wait(0.2)
        web.redirects("/later", "/a")
        web.answers["/later"](request)

    web.answers["/a"] = slowly
    with pytest.raises(ImageUnreachable, match=r"did not answer within 0\.3 s"):
        fetch(web.url("/a"), seconds=0.3)
    assert len(web.seen) <= 2


def test_a_dead_host_is_one_short_line_fault_26() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # taken, but nobody listens
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a.jpg"
        with pytest.raises(ImageUnreachable) as caught:
            fetch(url)
    assert str(caught.value) == f"{url} cannot be fetched: no connection"


def test_a_name_that_nobody_knows_is_one_short_line(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", unknown)
    with pytest.raises(ImageUnreachable, match=r"^http://nowhere\.example/a: the host's name cannot be resolved$"):
        fetch("http://nowhere.example/a")


def test_a_server_that_hangs_up_is_one_short_line(web: Web) -> None:
    web.answers["/a"] = lambda request: request.connection.shutdown(socket.SHUT_RDWR)
    with pytest.raises(ImageUnreachable) as caught:
        fetch(web.url("/a"))
    assert str(caught.value).endswith("cannot be fetched: the connection broke off")


@pytest.mark.parametrize(
    "url",
    ["http://", "http://[::1", "http://a b/", "http://exa\nmple/", "http://127.0.0.1:99999/", "http://" + "a" * 300],
)
def test_a_url_that_is_none_is_an_image_error_in_one_line(url: str) -> None:
    with pytest.raises(ImageError) as caught:
        fetch(url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("headers", [{"X-A": "b\r\nX-C: d"}, {"X\nA": "b"}, {"X-A": "\u20ac"}, {"": "b"}])
def test_headers_that_would_break_the_request_are_an_image_error(web: Web, headers: dict[str, str]) -> None:
    with pytest.raises(ImageUnreachable):
        fetch(web.says("/a"), headers=headers)
    assert web.seen == []


# -- where to -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0177.0.0.1", "[::1]", "0.0.0.0"])
def test_no_spelling_of_loopback_is_fetched_unless_it_is_listed_fault_08(web: Web, host: str) -> None:
    web.says("/a")
    with pytest.raises((UrlForbidden, ImageUnreachable)):
        fetch(web.url("/a", host), allow=())
    assert web.seen == []


def test_a_redirect_from_an_allowed_host_to_a_private_one_is_refused_fault_08(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, pictures=[["127.0.0.1"]])
    with serving() as private:
        private.says("/secret")
        web.redirects("/a", private.url("/secret"))
        with pytest.raises(UrlForbidden, match="not public"):
            fetch(web.url("/a", "pictures.example"), allow=("pictures.example",))
        assert len(web.seen) == 1 and private.seen == []


@pytest.mark.parametrize(
    "to", ["file:///etc/passwd", "ftp://127.0.0.1/a", "gopher://127.0.0.1/", "data:,x", "mailto:a@b"]
)
def test_a_redirect_to_anything_but_http_is_refused_fault_08(web: Web, to: str) -> None:
    with pytest.raises(ImageError) as caught:
        fetch(web.redirects("/a", to))
    assert "passwd" not in str(caught.value) and len(web.seen) == 1


def test_a_name_with_one_private_address_among_public_ones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, mixed=[["93.184.215.14", "10.0.0.1"]])

    def never(request: httpx.Request) -> httpx.Response:
        raise AssertionError(f"connected to {request.url}")

    with pytest.raises(UrlForbidden):
        fetch("http://mixed.example/a", transport=httpx.MockTransport(never))


def test_the_address_that_was_checked_is_the_one_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = names(monkeypatch, rebind=[["93.184.215.14"], ["127.0.0.1"]])
    reached: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        reached.append(request)
        return httpx.Response(200, stream=httpx.ByteStream(BODY))

    assert fetch("https://rebind.example:8443/a?b=c", transport=httpx.MockTransport(answer)) == BODY
    assert asked == ["rebind.example"]
    assert [str(request.url) for request in reached] == ["https://93.184.215.14:8443/a?b=c"]
    assert reached[0].headers["host"] == "rebind.example:8443"
    assert reached[0].extensions["sni_hostname"] == "rebind.example"


def test_a_name_is_resolved_once_a_request_and_never_again_by_the_connection(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = names(monkeypatch, rebind=[["127.0.0.1"], ["127.66.66.66"]])

    assert fetch(web.says("/a").replace("127.0.0.1", "rebind.example")) == BODY
    assert asked == ["rebind.example"]
    assert web.seen[0][1]["Host"] == f"rebind.example:{web.port}"


def test_a_rebound_name_is_checked_again_at_a_redirect(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = names(monkeypatch, rebind=[["127.0.0.1"], ["127.66.66.66"]])
    web.redirects("/a", "/b")
    with pytest.raises(UrlForbidden):
        fetch(web.url("/a", "rebind.example"), allow=("127.0.0.1",))
    assert len(asked) == 2 and len(web.seen) == 1


def test_the_next_address_is_tried_when_one_takes_no_connection(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, two=[["127.77.77.77", "127.0.0.1"]])

    assert fetch(web.says("/a").replace("127.0.0.1", "two.example")) == BODY


def test_proxies_of_the_environment_are_not_used(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url(""))
        assert fetch(web.says("/a")) == BODY
        assert proxy.seen == []


# -- headers and secrets ------------------------------------------------------------------------------------------


def test_the_operator_s_and_the_caller_s_headers_are_sent_the_caller_s_winning(web: Web) -> None:
    fetch(web.says("/a"), own={"User-Agent": "visage", "X-Own": "1"}, headers={"User-Agent": "me", "X-Mine": "2"})

    sent = web.seen[0][1]
    assert (sent["User-Agent"], sent["X-Own"], sent["X-Mine"]) == ("me", "1", "2")


@pytest.mark.parametrize(
    "name", ["Host", "host", "HOST", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade"]
)
def test_a_caller_cannot_set_the_headers_of_the_connection(web: Web, name: str) -> None:
    assert fetch(web.says("/a"), headers={name: "5"}) == BODY

    sent = {key.lower(): value for key, value in web.seen[0][1].items()}
    assert sent["host"] == f"127.0.0.1:{web.port}"
    assert sent.get(name.lower()) != "5"


@pytest.mark.parametrize("name", ["user-agent", "USER-AGENT", "User-Agent", "uSeR-aGeNt"])
def test_a_header_of_another_case_is_the_same_header(web: Web, name: str) -> None:
    """The caller's stands for the service's own, and the last of several for the others."""
    sent: list[list[tuple[str, str]]] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        sent.append(request.headers.items())
        request.send_response(200)
        request.send_header("Content-Length", "0")
        request.end_headers()

    web.answers["/a"] = answer
    own = {"User-Agent": "visage", "X-Own": "1", "x-OWN": "2", "Accept": "image/*"}
    fetch(web.url("/a"), own=own, headers={name: "browser", "ACCEPT": "*/*", "accept": "image/jpeg"})
    found = [(name.lower(), value) for name, value in sent[0]]
    for named, value in (("user-agent", "browser"), ("x-own", "2"), ("accept", "image/jpeg")):
        assert [pair for pair in found if pair[0] == named] == [(named, value)]


def test_a_caller_s_headers_follow_a_redirect_on_the_same_server_only(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, other=[["127.0.0.1"]])
    with serving() as other:
        other.says("/c")
        web.redirects("/b", other.url("/c", "other.example"))
        fetch(web.redirects("/a", "/b"), own={"X-Own": "1"}, headers={"Authorization": "secret"})

        assert [sent.get("Authorization") for _, sent in web.seen] == ["secret", "secret"]
        assert [(sent.get("Authorization"), sent["X-Own"]) for _, sent in other.seen] == [(None, "1")]


def test_a_caller_s_headers_do_not_follow_a_redirect_to_another_port(web: Web) -> None:
    with serving() as other:
        other.says("/b")
        fetch(web.redirects("/a", other.url("/b")), headers={"Authorization": "secret"})

        assert "Authorization" not in other.seen[0][1]


def test_credentials_of_the_url_are_used_and_stay_with_its_server(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, other=[["127.0.0.1"]])
    with serving() as other:
        other.says("/b")
        web.redirects("/a", other.url("/b", "other.example"))
        fetch(f"http://me:pass@127.0.0.1:{web.port}/a")

        assert web.seen[0][1]["Authorization"] == "Basic " + base64.b64encode(b"me:pass").decode()
        assert "Authorization" not in other.seen[0][1]


def test_no_error_shows_the_credentials_or_the_query_of_a_url(web: Web) -> None:
    url = f"http://me:hunter2@127.0.0.1:{web.port}/a?token=hunter2#hunter2"
    web.says("/a?token=hunter2", status=404)
    for allow in (("127.0.0.0/8",), ()):
        with pytest.raises(ImageError) as caught:
            fetch(url, allow=allow)
        assert str(caught.value).startswith(f"http://127.0.0.1:{web.port}/a ")
        assert "hunter2" not in str(caught.value)


def test_a_cookie_of_one_answer_is_not_sent_with_the_next_request(web: Web) -> None:
    set_cookie = web.says("/a", headers={"Set-Cookie": "session=of-another-caller; Path=/"})
    fetch(set_cookie, web.says("/b"))

    assert "Cookie" not in web.seen[1][1]


def test_a_long_url_is_cut_in_errors() -> None:
    with pytest.raises(ImageError) as caught:
        fetch("http://127.0.0.1/" + "a" * 5000, allow=())
    assert len(str(caught.value)) < 400


# -- TLS ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def _trusting(authority: trustme.CA) -> httpx.AsyncHTTPTransport:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return httpx.AsyncHTTPTransport(verify=context, trust_env=False)


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Web]:
    """A server whose certificate is for pictures.example."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("pictures.example").configure_cert(context)
    with serving(context) as server:
        server.says("/a")
        yield server


def test_a_certificate_that_no_authority_signed_is_refused(secure: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, pictures=[["127.0.0.1"]])
    with pytest.raises(ImageUnreachable, match="its TLS certificate was not accepted"):
        fetch(f"https://pictures.example:{secure.port}/a")
    assert secure.seen == []


def test_a_certificate_is_checked_against_the_name_and_not_the_address(
    secure: Web, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, pictures=[["127.0.0.1"]], other=[["127.0.0.1"]])

    assert fetch(f"https://pictures.example:{secure.port}/a", transport=_trusting(authority)) == BODY
    for host in ("other.example", "127.0.0.1"):
        with pytest.raises(ImageUnreachable, match="its TLS certificate was not accepted"):
            fetch(f"https://{host}:{secure.port}/a", transport=_trusting(authority))
    assert len(secure.seen) == 1


# -- base64 and the kinds of sources ------------------------------------------------------------------------------

PICTURE = bytes(range(256)) + b"\xfb\xff\xfe"  # its base64 has + and /, and needs padding
TEXT = base64.b64encode(PICTURE).decode()


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        f"data:image/png;base64,{TEXT}",
        f"data:image/png;name=a,b.png;base64,{TEXT}",
        TEXT.rstrip("="),
        TEXT.replace("+", "-").replace("/", "_"),
        TEXT.replace("+", "-").replace("/", "_").rstrip("="),
        "\r\n".join(TEXT[i : i + 76] for i in range(0, len(TEXT), 76)),
        f"  {TEXT}\n",
        base64.urlsafe_b64encode(PICTURE).decode() + "\n",
        TEXT + "=",
        TEXT + "===",
        f'"{TEXT}"',
        f"'{TEXT.rstrip('=')}'",
        f"\ufeff{TEXT}",
        str(TEXT.encode()),
        f"{TEXT}\0\0",
        f"\u201c{TEXT}\u201d\u200b",
        TEXT.replace("/", "\\/"),
        "\\n".join(TEXT[i : i + 76] for i in range(0, len(TEXT), 76)),
        TEXT.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
    ],
)
def test_every_usual_spelling_of_base64_is_read(text: str) -> None:
    assert decode_base64(Encoded(text), 1000) == PICTURE


JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(range(256))


@pytest.mark.parametrize("noise", ["*", "!?", ":;", "\x7f", "(", "#~", "==", "="])
@given(at=st.integers(0, 400))
def test_what_pythons_decoder_skips_is_skipped_where_a_picture_comes_of_it(noise: str, at: int) -> None:
    text = base64.b64encode(JPEG).decode()
    text = text[:at] + noise + text[at:]
    try:
        expected = base64.b64decode(text)
    except ValueError:
        expected = b""
    if expected.startswith(JPEG[:2]):
        assert decode_base64(Encoded(text), 1000) == expected
    else:
        with pytest.raises(ImageUndecodable, match="the base64 text is broken"):
            decode_base64(Encoded(text), 1000)


@pytest.mark.parametrize(
    "text", ["this is no picture!", "<html><body>not found</body></html>", '{"error": "no such file"}']
)
def test_noise_is_no_picture(text: str) -> None:
    """Python's decoder makes bytes of each."""
    with pytest.raises(ImageUndecodable, match="the base64 text is broken"):
        decode_base64(Encoded(text), 1000)


@pytest.mark.parametrize("text", ["!", "A", "AAAAA", "AA=A", "AAA*", "caf\u00e9", "\ud800", "=", "====", "data:,%41"])
def test_broken_base64_is_an_image_error_that_says_so(text: str) -> None:
    with pytest.raises(ImageUndecodable, match="the base64 text is broken"):
        decode_base64(Encoded(text), 1000)


def test_empty_base64_is_no_bytes() -> None:
    assert decode_base64(Encoded(""), 1000) == b"" == decode_base64(Encoded("data:image/png;base64,"), 1000)


def test_base64_of_more_than_the_limit_is_refused_before_it_is_decoded() -> None:
    assert len(decode_base64(Encoded("A" * 1336), 1002)) == 1002
    with pytest.raises(ImageTooLarge, match="at most 1002"):
        decode_base64(Encoded("*" * 1_000_000), 1002)


@given(
    st.binary(max_size=300), st.booleans(), st.booleans(), st.integers(1, 80), st.sampled_from(["", "data:a/b;base64,"])
)
def test_any_bytes_survive_base64(data: bytes, urlsafe: bool, padded: bool, line: int, prefix: str) -> None:
    text = (base64.urlsafe_b64encode if urlsafe else base64.b64encode)(data).decode()
    text = text if padded else text.rstrip("=")
    wrapped = "\n".join(text[i : i + line] for i in range(0, len(text), line))

    assert decode_base64(Encoded(prefix + wrapped), 300) == data


@given(st.text(max_size=60))
def test_any_text_is_bytes_or_an_image_error(text: str) -> None:
    try:
        decode_base64(Encoded(text), 1000)
    except ImageError as error:
        assert "\n" not in str(error)


def test_a_url_is_fetched_and_everything_else_is_a_path() -> None:
    headers = {"A": "b"}
    assert source_of("http://x/a", headers) == Remote("http://x/a", headers)
    assert source_of("HTTPS://x/a", headers) == Remote("HTTPS://x/a", headers)
    for path in ("a.jpg", "/etc/passwd", "file:///a", "ftp://x/a", "httpx://a", ""):
        assert source_of(path, headers) == Local(path)
