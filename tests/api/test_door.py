"""What every request passes: names, deadlines, limits, places, and what happens when the caller leaves."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs

from tests.support import Client, b64, constant_client, constant_runtime, extract, settings_of, wait_ready
from tests.wire import PHOTO, PROBLEM, HeldDetector, Message, called, constant_app, gauge, opened
from visage.api.app import create_app

BODY = {"images": {"data": [b64(PHOTO)]}}
GUARDED = ["/extract", "/multipart/extract", "/draw_detections", "/multipart/draw_detections"]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with constant_client(MAX_BODY_BYTES="100000") as client:
        yield client


@pytest.fixture
def held() -> Iterator[HeldDetector]:
    detector = HeldDetector()
    yield detector
    detector.let_go.set()


def run(work: Any) -> None:
    async def within_a_minute() -> None:
        async with asyncio.timeout(60):
            await work

    asyncio.run(within_a_minute())


# ---------------------------------------------------------------- names


def test_a_request_has_a_name_of_its_own(client: Client) -> None:
    names = {client.get("/health").headers["x-request-id"] for _ in range(3)}
    assert len(names) == 3 and all(len(name) == 32 for name in names)


@pytest.mark.parametrize("name", ["abc", "a" * 128, "0c6e-1.2:3_4"])
def test_a_callers_name_is_kept(client: Client, name: str) -> None:
    for answer in (
        client.get("/health", headers={"x-request-id": name}),
        client.post("/extract", content=b"{", headers={"x-request-id": name}),
        client.get("/none", headers={"x-request-id": name}),
    ):
        assert answer.headers["x-request-id"] == name


@pytest.mark.parametrize("name", ["", "a" * 129, "a b", "a;b", "<script>", "a\tb"])
def test_a_name_that_could_do_harm_is_replaced(client: Client, name: str) -> None:
    assert client.get("/health", headers={"x-request-id": name}).headers["x-request-id"] != name


def test_one_line_tells_of_each_request() -> None:
    with capture_logs() as lines, constant_client() as client:
        lines.clear()
        client.post("/extract", json={"images": {"data": [b64(PHOTO), "%"]}}, headers={"x-request-id": "mine"})
        client.get("/health")
        client.get("/secret/token")
    told = [line for line in lines if line["event"] == "request"]
    assert [line["path"] for line in told] == ["/extract", "/health", "/secret/token"]
    first = told[0]
    assert (first["id"], first["status"], first["images"], first["faces"], first["failed"]) == ("mine", 200, 2, 2, 1)
    assert first["bytes"] > len(PHOTO) and first["ms"] > 0 and first["client"] == "testclient"
    assert told[1]["log_level"] == "debug" and told[2]["log_level"] == "info"


@pytest.mark.parametrize("path", [*GUARDED, "/v1/detect", "/info", "/health"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\0", "\x7f", "\x85", "\u2028"])
def test_a_path_with_a_control_character_leads_nowhere(path: str, end: str) -> None:
    """The pattern of a route would match before a last line break, past all that is asked for by the path."""

    async def scenario() -> None:
        async def receive() -> Message:
            raise AssertionError("the body was read")

        async with opened(constant_app()) as app:
            sent = await called(app, path + end, receive)
            assert sent[0]["status"] == 404 and dict(sent[0]["headers"])[b"content-type"] == PROBLEM.encode()

    run(scenario())


# ---------------------------------------------------------------- deadlines


@pytest.mark.parametrize("path", ["/extract", "/draw_detections"])
def test_a_callers_deadline_is_kept(held: HeldDetector, path: str) -> None:
    with constant_client(runtime={"detector": held}) as client:
        answer = client.post(path, json=BODY, headers={"x-request-timeout": "0.1"})
        held.let_go.set()
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
        assert answer.json()["type"] == "urn:visage:deadline-exceeded"
        assert "0.1 s" in answer.json()["detail"]
        assert len(extract(client, PHOTO)["data"][0]["faces"]) == 2


def test_the_services_deadline_cannot_be_exceeded(held: HeldDetector) -> None:
    with constant_client(runtime={"detector": held}, REQUEST_TIMEOUT="0.1") as client:
        answer = client.post("/extract", json=BODY, headers={"x-request-timeout": "3600"})
        held.let_go.set()
    assert answer.status_code == 503 and "0.1 s" in answer.json()["detail"]


@pytest.mark.parametrize("seconds", ["", "soon", "nan", "-1", "0", "inf", "1e999"])
def test_a_deadline_that_is_none_means_the_services(client: Client, seconds: str) -> None:
    answer = client.post("/extract", json=BODY, headers={"x-request-timeout": seconds})
    assert answer.status_code == 200


def test_a_body_that_does_not_come_is_given_up() -> None:
    async def scenario() -> None:
        async def receive() -> Message:
            await asyncio.Event().wait()
            raise AssertionError

        async with opened(constant_app()) as app:
            sent = await called(app, "/extract", receive, [("x-request-timeout", "0.05")])
            assert sent[0]["status"] == 503
            assert inside(app) == (0, 0)

    run(scenario())


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize("path", GUARDED)
def test_a_body_declared_too_large_is_refused_unread(path: str) -> None:
    async def scenario() -> None:
        async def receive() -> Message:
            raise AssertionError("the body was read")

        async with opened(constant_app(MAX_BODY_BYTES="1024")) as app:
            sent = await called(app, path, receive, [("content-length", "1025")])
            assert sent[0]["status"] == 413

    run(scenario())


@pytest.mark.parametrize("declared", [[], [("content-length", "10")], [("content-length", "many")]])
def test_a_body_that_grows_too_large_is_refused_when_it_does(declared: list[tuple[str, str]]) -> None:
    async def scenario() -> None:
        read = 0

        async def receive() -> Message:
            nonlocal read
            read += 1
            return {"type": "http.request", "body": bytes(600), "more_body": True}

        async with opened(constant_app(MAX_BODY_BYTES="2048")) as app:
            for path in ("/extract", "/draw_detections"):
                read = 0
                sent = await called(app, path, receive, declared)
                assert (sent[0]["status"], read) == (413, 4)
            form = [("content-type", "multipart/form-data; boundary=x"), *declared]
            preamble = iter([b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n'])

            async def receive_form() -> Message:
                return {"type": "http.request", "body": next(preamble, bytes(600)), "more_body": True}

            sent = await called(app, "/multipart/extract", receive_form, form)
            assert sent[0]["status"] == 413
            assert inside(app) == (0, 0)

    run(scenario())


def test_a_refused_body_says_why(client: Client) -> None:
    answer = client.post("/extract", content=bytes(100_001))
    assert (answer.status_code, answer.headers["content-type"]) == (413, PROBLEM)
    assert answer.json()["type"] == "urn:visage:request-too-large" and "100000" in answer.json()["detail"]
    assert answer.headers["x-request-id"]


def test_all_bodies_together_have_a_limit() -> None:
    """One waits with most of its body sent; the other would go over, and is told to come again."""

    async def scenario() -> None:
        async with opened(constant_app(MAX_INFLIGHT_BYTES="2048")) as app:
            arrived, finish = asyncio.Event(), asyncio.Event()

            async def slow() -> AsyncIterator[Message]:
                yield {"type": "http.request", "body": b" " * 1500, "more_body": True}
                arrived.set()
                await finish.wait()
                async for message in once(b'{"images": {}}'):
                    yield message

            def second() -> AsyncIterator[Message]:
                return once(b" " * 1000 + b'{"images": {}}')

            waiting = asyncio.create_task(called(app, "/extract", slow().__anext__))
            await arrived.wait()
            assert inside(app) == (1, 1500)
            refused = await called(app, "/extract", second().__anext__)
            assert refused[0]["status"] == 503
            assert b"retry-after" in dict(refused[0]["headers"])
            finish.set()
            assert (await waiting)[0]["status"] == 200
            assert (await called(app, "/extract", second().__anext__))[0]["status"] == 200
            assert inside(app) == (0, 0)

    run(scenario())


# ---------------------------------------------------------------- places


def test_no_place_means_come_again(held: HeldDetector) -> None:
    with (
        constant_client(
            runtime={"detector": held}, MAX_REQUESTS="2", CORS_ORIGINS="https://a.example", REQUEST_TIMEOUT="300"
        ) as client,
        ThreadPoolExecutor(2) as callers,
    ):
        waiting = [callers.submit(extract, client, PHOTO) for _ in range(2)]
        wait_ready(lambda: gauge(client.get("/metrics").text, "visage_requests_inside") == 2)
        for path in GUARDED:
            answer = client.post(path, json=BODY, headers={"origin": "https://a.example"})
            assert (answer.status_code, answer.headers["content-type"]) == (503, PROBLEM)
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["type"] == "urn:visage:overloaded"
            assert answer.headers["access-control-allow-origin"] == "https://a.example"
        assert client.get("/health").status_code == client.get("/info").status_code == 200
        held.let_go.set()
        assert [len(future.result()["data"][0]["faces"]) for future in waiting] == [2, 2]
        assert len(extract(client, PHOTO)["data"][0]["faces"]) == 2


def test_before_it_is_ready_the_service_says_so_and_lives() -> None:
    open_now = threading.Event()

    def slow(*how: Any) -> Any:
        assert open_now.wait(100)
        return constant_runtime(*how)

    with Client(create_app(settings_of(), opener=slow)) as client:
        try:
            assert client.get("/health").json() == {"status": "ok"}
            assert client.get("/info").json()["visage"]["ready"] is False
            assert gauge(client.get("/metrics").text, "visage_ready") == 0
            for answer in (client.get("/ready"), client.get("/models"), *(client.post(p, json=BODY) for p in GUARDED)):
                assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
                assert answer.json()["type"] == "urn:visage:not-ready"
        finally:
            open_now.set()
        wait_ready(lambda: client.get("/ready").status_code == 200)
        assert len(extract(client, PHOTO)["data"][0]["faces"]) == 2


# ---------------------------------------------------------------- callers who leave


def inside(app: FastAPI) -> tuple[int, int]:
    """Requests and bytes that the application believes to be inside."""
    text = app.state.visage.metrics.render()[0].decode()
    return int(gauge(text, "visage_requests_inside")), int(gauge(text, "visage_bytes_inside"))


def test_a_caller_who_leaves_frees_the_place_and_stops_the_work(held: HeldDetector) -> None:
    async def scenario() -> None:
        app = constant_app(runtime={"detector": held, "workers": 1}, MAX_REQUESTS="1")
        async with opened(app):
            body = b'{"images": {"data": [%s]}}' % b",".join([b'"%s"' % b64(PHOTO).encode()] * 20)
            left = asyncio.Event()
            parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

            async def receive() -> Message:
                if parts:
                    return parts.pop()
                await left.wait()
                return {"type": "http.disconnect"}

            with capture_logs() as lines:
                call = asyncio.create_task(called(app, "/extract", receive))
                assert await asyncio.to_thread(held.begun.acquire, timeout=30)
                assert inside(app) == (1, len(body))
                left.set()
                assert await call == []
            assert [line["status"] for line in lines if line["event"] == "request"] == [499]
            assert inside(app) == (0, 0)
            held.let_go.set()
            after = once(b'{"images": {"data": ["%s"]}}' % b64(PHOTO).encode())
            assert (await called(app, "/extract", after.__anext__))[0]["status"] == 200
        assert held.runs == 2  # the one that was running, and the next caller's

    run(scenario())


async def once(body: bytes) -> AsyncIterator[Message]:
    yield {"type": "http.request", "body": body, "more_body": False}
    await asyncio.Event().wait()


@pytest.mark.parametrize("path", ["/extract", "/multipart/extract"])
def test_a_caller_who_leaves_while_sending_is_no_incident(path: str) -> None:
    async def scenario() -> None:
        async with opened(constant_app()) as app:
            messages: list[Message] = [
                {"type": "http.request", "body": b"--x\r\n", "more_body": True},
                {"type": "http.disconnect"},
            ]

            async def receive() -> Message:
                return messages.pop(0) if len(messages) > 1 else messages[0]

            with capture_logs() as lines:
                sent = await called(app, path, receive, [("content-type", "multipart/form-data; boundary=x")])
            assert sent == [] or path == "/extract"
            assert [line["status"] for line in lines if line["event"] == "request"] == [499]
            assert not [line for line in lines if line["log_level"] == "error"]
            assert inside(app) == (0, 0)

    run(scenario())


# ---------------------------------------------------------------- prefixes and origins


def test_below_a_prefix_every_route_works_with_and_without_it() -> None:
    with constant_client(ROOT_PATH="/face/", MAX_BODY_BYTES="100000") as client:
        assert client.get("/").headers["location"] == "/face/docs"
        for prefix in ("", "/face"):
            assert client.get(f"{prefix}/health").status_code == 200
            assert client.post(f"{prefix}/extract", json=BODY).status_code == 200
            assert client.post(f"{prefix}/extract", content=bytes(100_001)).status_code == 413
        assert client.get("/facet/health").status_code == 404


def preflight(client: Client, origin: str) -> Any:
    return client.options(
        "/extract",
        headers={
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type",
        },
    )


def test_other_origins_are_shut_out_by_default(client: Client) -> None:
    for answer in (
        preflight(client, "https://a.example"),
        client.get("/info", headers={"origin": "https://a.example"}),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_named_origins_are_let_in() -> None:
    with constant_client(CORS_ORIGINS="https://a.example, https://b.example") as client:
        for origin in ("https://a.example", "https://b.example"):
            assert preflight(client, origin).headers["access-control-allow-origin"] == origin
            answer = client.post("/extract", json=BODY, headers={"origin": origin})
            assert answer.headers["access-control-allow-origin"] == origin
            assert "X-Visage-Models" in answer.headers["access-control-expose-headers"]
            assert "access-control-allow-credentials" not in answer.headers
        assert preflight(client, "https://c.example").status_code == 400
        other = client.get("/info", headers={"origin": "https://c.example"})
        assert "access-control-allow-origin" not in other.headers


def test_all_origins_can_be_let_in_without_credentials() -> None:
    with constant_client(CORS_ORIGINS="*") as client:
        answer = client.get("/info", headers={"origin": "https://c.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


# ---------------------------------------------------------------- heads


def get_paths(app: FastAPI) -> list[str]:
    """Every address that GET is answered at, whether the documents tell of it or not."""
    routes: list[Any] = list(app.routes)
    paths: set[str] = set()
    while routes:
        route = routes.pop()
        routes += getattr(getattr(route, "original_router", None), "routes", [])
        if "GET" in (getattr(route, "methods", None) or ()):
            paths.add(route.path)
    told = {path for path, methods in app.openapi()["paths"].items() if "get" in methods}
    assert told <= paths | told
    return sorted(paths | told)


def test_a_head_is_that_of_what_get_answers(tmp_path: Any) -> None:
    """On every route, found or not, without the body; what tells of one request alone may differ."""
    own = {"x-request-id", "date"}
    with constant_client(DATA_DIR=str(tmp_path), COLLECTIONS="staff") as client:
        assert client.post("/v1/collections", json={"name": "staff"}).status_code == 201
        names = {"collection": "staff", "person": "nobody", "face": "none", "digest": "x", "name": "main.js"}
        paths = [re.sub(r"\{(\w+)[^}]*\}", lambda found: names[found[1]], path) for path in get_paths(client.app)]
        paths += [
            "/",
            "/nowhere",
            "/v1/collections/none",
            "/v1/collections?limit=x",
            "/ui/assets/x/none.js",
            "/extract",
        ]
        assert {"/health", "/ready", "/info", "/docs", "/openapi.json", "/metrics", "/ui", "/v1/collections"} <= {
            *paths
        }
        for path in paths:
            got = client.get(path, follow_redirects=False)
            head = client.head(path, follow_redirects=False)
            assert (head.status_code, head.content) == (got.status_code, b""), path
            differ = own | ({"content-length"} if path == "/metrics" else set())
            told = [{n: v for n, v in answer.headers.items() if n not in differ} for answer in (got, head)]
            if path.endswith("/export"):
                assert "content-length" not in told[0]
            assert told[0] == told[1], path
            assert (
                path == "/metrics"
                or path.endswith("/export")
                or int(head.headers["content-length"]) == len(got.content)
            )
        assert "head" not in {m for methods in client.get("/openapi.json").json()["paths"].values() for m in methods}


def test_a_head_is_told_as_one_and_costs_no_stream() -> None:
    pieces = 0

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        nonlocal pieces
        assert scope["method"] == "GET"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            pieces += 1
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await asyncio.sleep(0)

    async def scenario() -> None:
        sent: list[Message] = []

        async def receive() -> Message:
            """As the server does once the answer is complete."""
            while not any(message["type"] == "http.response.body" for message in sent):
                await asyncio.sleep(0)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        async with opened(constant_app()) as app:
            door = next(one for one in _doors(app))
            door._app = endless
            scope = {
                "type": "http",
                "method": "HEAD",
                "path": "/v1/collections/a/export",
                "root_path": "",
                "headers": [],
            }
            with capture_logs() as lines:
                await door(scope, receive, send)
        assert [message.get("body") for message in sent] == [None, b""] and not sent[1].get("more_body")
        assert [(line["method"], line["status"]) for line in lines if line["event"] == "request"] == [("HEAD", 200)]

    run(scenario())
    assert pieces < 100


def _doors(app: FastAPI) -> Iterator[Any]:
    inner: Any = app.build_middleware_stack()
    while inner is not None:
        if type(inner).__name__ == "Door":
            yield inner
        inner = getattr(inner, "app", None)


def test_a_prefix_without_its_first_slash_is_one() -> None:
    with constant_client(ROOT_PATH="faces") as client:
        assert client.get("/faces/health").status_code == client.get("/health").status_code == 200
