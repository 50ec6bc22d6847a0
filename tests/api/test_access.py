"""AUTH=keys: what is asked of whom. The routes are read from the API's own document."""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import Client, b64, constant_client, settings_of, state_of, wait_ready
from visage.access.keyfile import KeyFile
from visage.access.keys import Scope
from visage.api.access import need_of
from visage.api.app import create_app

OPEN = {("GET", "/health"), ("GET", "/ready")}


def operations() -> list[tuple[str, str]]:
    """Every route of the API's document as (method, path), with something in the place of its parameters."""
    document = create_app(settings_of()).openapi()
    return [
        (method.upper(), re.sub(r"\{[^}]+\}", "some", path))
        for path, several in document["paths"].items()
        for method in several
    ]


ROUTES = [route for route in operations() if route not in OPEN]


class Keys:
    """Makes keys for a service, and headers of them."""

    def __init__(self, folder: Path) -> None:
        self.file = KeyFile(folder)
        self._made: dict[tuple[str, ...], str] = {}

    def __call__(
        self, *scopes: Scope, collections: tuple[str, ...] = (), rate: int = 0, name: str = ""
    ) -> dict[str, str]:
        case = (*scopes, "|", *collections, str(rate), name)
        if case not in self._made:
            self._made[case] = self.file.add(
                name or f"key {len(self._made)}", frozenset(scopes), collections=frozenset(collections), rate=rate
            )[1]
        return {"Authorization": f"Bearer {self._made[case]}"}


@pytest.fixture(scope="module", autouse=True)
def _patient() -> Iterator[None]:
    """The ring is told of a key too late where a thread is held back while it notes another one's use: not here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("visage.access.ring._WAIT", 30.0)
        patch.setattr("visage.access.keyfile._BUSY_SECONDS", 30.0)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("access")


@pytest.fixture(scope="module")
def keys(data: Path) -> Keys:
    return Keys(data / "data")


@pytest.fixture(scope="module")
def client(data: Path, keys: Keys) -> Iterator[Client]:
    environ = {"AUTH": "keys", "DATA_DIR": str(data / "data"), "AUDIT_LOG": str(data / "audit.jsonl")}
    with constant_client(**environ) as client:
        yield client


def problem(answer: Any) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == answer.status_code
    return answer.status_code, body["type"]


# --- Every route of the document


def test_the_document_has_routes_to_ask_about() -> None:
    assert {("POST", "/extract"), ("GET", "/info"), ("GET", "/metrics")} <= set(ROUTES)
    assert set(operations()) >= OPEN


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=" ".join)
def test_without_a_key_every_route_refuses(client: Client, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert problem(answer) == (401, "urn:visage:unauthorised")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=" ".join)
def test_a_revoked_key_opens_nothing(client: Client, keys: Keys, method: str, path: str) -> None:
    revoked = keys("admin", name=f"revoked {method} {path}")
    keys.file.revoke(f"revoked {method} {path}")
    assert problem(client.request(method, path, headers=revoked)) == (401, "urn:visage:unauthorised")


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=" ".join)
def test_every_route_asks_for_its_scope_and_is_open_to_it(client: Client, keys: Keys, method: str, path: str) -> None:
    need = need_of(method, path)
    assert need is not None
    others: list[Scope] = [scope for scope in ("read", "write") if scope != need.scope]
    refused = client.request(method, path, headers=keys(*others))
    assert problem(refused) == (403, "urn:visage:forbidden")
    assert need.scope in refused.json()["detail"]
    assert client.request(method, path, headers=keys(need.scope)).status_code not in (401, 403)
    assert client.request(method, path, headers=keys("admin")).status_code not in (401, 403)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/collections/some/nowhere"), *(route for route in ROUTES if "/collections/" in route[1])],
    ids=" ".join,
)
def test_a_bound_key_opens_its_own_collections_only(client: Client, keys: Keys, method: str, path: str) -> None:
    assert client.request(method, path, headers=keys("admin", collections=("other",))).status_code == 403
    own = client.request(method, path, headers=keys("admin", collections=("other", "some")))
    assert own.status_code not in (401, 403)


def test_a_bound_key_makes_no_collections(client: Client, keys: Keys) -> None:
    bound = keys("admin", collections=("some",))
    assert client.post("/v1/collections", headers=bound).status_code == 403
    assert client.get("/metrics", headers=bound).status_code == 200


def test_a_bound_key_lists_its_own_collections(client: Client, keys: Keys) -> None:
    everybody = keys("admin")
    for name in ("list-a", "list-b", "list-c"):
        assert client.post("/v1/collections", json={"name": name}, headers=everybody).status_code == 201
    bound = keys("read", collections=("list-c", "list-a", "absent"))

    def listed(query: str = "") -> tuple[list[str], str | None]:
        page = client.get(f"/v1/collections{query}", headers=bound).json()
        return [one["name"] for one in page["items"]], page["next"]

    assert listed() == (["list-a", "list-c"], None)
    first, cursor = listed("?limit=1")
    assert first == ["list-a"]
    assert listed(f"?limit=1&cursor={cursor}") == (["list-c"], None)
    names = {one["name"] for one in client.get("/v1/collections", headers=everybody).json()["items"]}
    assert names >= {"list-a", "list-b", "list-c"}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["/nowhere", "/v1/nowhere", "/extract/", "/extract//", "/Extract", "/static", "/uix"])
def test_what_is_no_route_is_the_administrators(client: Client, keys: Keys, method: str, path: str) -> None:
    assert client.request(method, path).status_code == 401
    assert client.request(method, path, headers=keys("read", "write")).status_code == 403
    assert client.request(method, path, headers=keys("admin")).status_code in (307, 404, 405)


# --- What is open


@pytest.mark.parametrize(
    "path", ["/health", "/ready", "/docs", "/redoc", "/openapi.json", "/static/swagger-ui.css", "/docs/oauth2-redirect"]
)
def test_the_probes_and_the_documents_pages_are_open(client: Client, path: str) -> None:
    assert client.get(path).status_code == 200
    assert client.head(path).status_code == 200
    assert client.post(path).status_code == 401


def test_the_document_says_which_routes_ask_for_a_key(client: Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert document["security"] == [{"key": []}]
    unasked = {path for path, several in document["paths"].items() for o in several.values() if o.get("security") == []}
    assert unasked == {"/health", "/ready"}


def test_metrics_may_be_public(tmp_path: Path) -> None:
    with constant_client(AUTH="keys", DATA_DIR=str(tmp_path), METRICS_PUBLIC="1") as client:
        assert client.get("/metrics").status_code == 200
        assert client.get("/info").status_code == 401


def test_nobody_is_asked_where_access_is_off(tmp_path: Path) -> None:
    for auth in ("", "off"):
        with constant_client(AUTH=auth, DATA_DIR=str(tmp_path / "data")) as client:
            assert client.get("/metrics").status_code == 200
            assert client.get("/info", headers={"Authorization": "Bearer whatever"}).status_code == 200
            assert "security" not in client.get("/openapi.json").json()
    assert not (tmp_path / "data").exists()


# --- The table, where its routes are not all there yet


@pytest.mark.parametrize(
    ("route", "scope"),
    {
        "POST /v1/detect": "read",
        "POST /v1/embeddings": "read",
        "POST /v1/compare": "read",
        "GET /v1/collections": "read",
        "POST /v1/collections": "admin",
        "GET /v1/collections/c": "read",
        "PATCH /v1/collections/c": "admin",
        "DELETE /v1/collections/c": "admin",
        "POST /v1/collections/c/persons": "write",
        "GET /v1/collections/c/persons": "read",
        "GET /v1/collections/c/persons/p": "read",
        "HEAD /v1/collections/c/persons/p": "read",
        "PATCH /v1/collections/c/persons/p": "write",
        "DELETE /v1/collections/c/persons/p": "write",
        "POST /v1/collections/c/persons/p/faces": "write",
        "GET /v1/collections/c/persons/p/faces": "read",
        "GET /v1/collections/c/persons/p/faces/f": "read",
        "DELETE /v1/collections/c/persons/p/faces/f": "write",
        "GET /v1/collections/c/persons/p/faces/f/other": "admin",
        "GET /v1/collections/c/persons/p/faces/f/crop": "read",
        "POST /v1/collections/c/search": "read",
        "POST /v1/collections/c/bulk": "write",
        "GET /v1/collections/c/export": "admin",
        "POST /v1/collections/c/compact": "admin",
        "GET /metrics": "admin",
        "OPTIONS /extract": "admin",
        "POST /extract/more": "admin",
        "GET /v1/collections/c/nowhere": "admin",
    }.items(),
)
def test_what_each_route_asks_for(route: str, scope: str) -> None:
    method, path = route.split(" ", 1)
    need = need_of(method, path)
    assert need is not None
    assert (need.scope, need.audited) == (scope, scope != "read")
    assert need.collection == ("c" if path.startswith("/v1/collections/") else None)
    assert need.all_collections == (route == "POST /v1/collections")


# --- Paths that the routes and the gate might read differently


@pytest.mark.parametrize(
    "path",
    [
        "%0A",
        "persons%0A",
        "persons/a%0A",
        "export%0A",
        "export%0D%0A",
        "export%00",
        "export%C2%85",
        "export%85",
        "export%E2%80%A8",
        "export%5C",
        "export/",
        "export//",
        "export;x",
        "./export",
        "..%2Fmine",
        "%2e%2e/secret/export",
    ],
)
@pytest.mark.parametrize(
    "name", ["secret", "/secret", "secret%0A", "secret%2F", "mine%2F..%2Fsecret", "mine/../secret"]
)
def test_no_spelling_of_a_path_opens_another_collection(client: Client, keys: Keys, name: str, path: str) -> None:
    everybody, bound = keys("admin"), keys("admin", collections=("mine",), name="bound to mine")
    for made in ("secret", "mine"):
        assert client.post("/v1/collections", json={"name": made}, headers=everybody).status_code in (201, 409)
    for method in ("GET", "DELETE", "PATCH"):
        answer = client.request(method, f"/v1/collections/{name}/{path}", headers=bound, follow_redirects=True)
        assert answer.status_code in (403, 404, 405), answer.text
    assert client.get("/v1/collections/secret", headers=everybody).status_code == 200


def test_a_path_with_a_line_break_names_its_collection() -> None:
    need = need_of("GET", "/v1/collections/secret/export\n")
    assert need is not None and need.collection == "secret"


# --- Keys that are shown wrongly, and other doors


@pytest.mark.parametrize(
    "shown", ["", "Bearer", "Bearer ", "vk_x", "Basic dms6dms=", "Bearer vk_" + "A" * 43, "Bearer \xff"]
)
def test_what_is_no_valid_key_is_refused(client: Client, shown: str) -> None:
    answer = client.get("/info", headers={"Authorization": shown.encode("latin-1")})
    assert problem(answer) == (401, "urn:visage:unauthorised")
    assert "A" * 43 not in answer.text


def test_the_schemes_name_may_be_written_anyhow(client: Client, keys: Keys) -> None:
    secret = keys("read")["Authorization"].split()[1]
    assert client.get("/info", headers={"Authorization": f"bEARER   {secret} "}).status_code == 200


def test_a_key_opens_the_compatible_routes(client: Client, keys: Keys, hopper: bytes) -> None:
    body = {"images": {"data": [b64(hopper)]}}
    assert client.post("/extract", json=body).status_code == 401
    assert len(client.post("/extract", json=body, headers=keys("read")).json()["data"][0]["faces"]) == 2


def test_who_is_refused_has_not_been_read(client: Client) -> None:
    async def unread() -> Any:
        pytest.fail("the body was read")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/extract", "headers": [], "query_string": b"", "root_path": ""}
    asyncio.run(client.app(scope, unread, send))  # type: ignore[arg-type, func-returns-value]
    assert sent[0]["status"] == 401


def test_under_compat_refusals_have_the_form_that_its_clients_know(tmp_path: Path) -> None:
    with constant_client(AUTH="keys", DATA_DIR=str(tmp_path), COMPAT_API="0.9") as client:
        answer = client.post("/extract", json={})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert list(answer.json()) == ["detail"]


def test_behind_a_prefix_the_same_is_asked(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    with constant_client(AUTH="keys", DATA_DIR=str(tmp_path), ROOT_PATH="/faces") as client:
        for path in ("/faces/info", "/info"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers=keys("write")).status_code == 403
            assert client.get(path, headers=keys("read")).status_code == 200
        assert client.get("/faces/health").status_code == 200


# --- Rates


def test_who_asks_too_often_is_told_when_to_come_again(
    client: Client, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic_ns()  # it stands still: a bucket fills up while a slow machine asks
    monkeypatch.setattr(state_of(client).gate._buckets, "_clock", lambda: now)
    mine, others = keys("read", rate=2), keys("read", rate=2, name="another")
    assert [client.get("/info", headers=mine).status_code for _ in range(3)] == [200, 200, 429]
    refused = client.get("/info", headers=mine)
    assert problem(refused) == (429, "urn:visage:rate-limited")
    assert int(refused.headers["retry-after"]) == 30
    assert client.get("/info", headers=others).status_code == 200
    assert client.get("/health", headers=mine).status_code == 200
    now += 30 * 10**9
    assert [client.get("/info", headers=mine).status_code for _ in range(2)] == [200, 429]


# --- Heads


@pytest.mark.parametrize("path", [path for method, path in ROUTES if method == "GET"])
def test_a_head_is_asked_for_the_key_that_get_is(client: Client, keys: Keys, path: str) -> None:
    for headers in ({}, keys("write"), keys("read"), keys("read", collections=("other",)), keys("admin")):
        head, got = client.head(path, headers=headers), client.get(path, headers=headers)
        assert (head.status_code, head.content) == (got.status_code, b"")
        assert head.headers.get("www-authenticate") == got.headers.get("www-authenticate")


def test_a_head_counts_and_is_written_down_as_get_does(client: Client, keys: Keys, data: Path) -> None:
    before = len((data / "audit.jsonl").read_text("utf-8").splitlines())
    client.head("/v1/collections/c/export", headers=keys("admin") | {"X-Request-Id": "of-a-head"})
    (line,) = map(json.loads, (data / "audit.jsonl").read_text("utf-8").splitlines()[before:])
    assert (line["method"], line["path"], line["request_id"]) == ("HEAD", "/v1/collections/c/export", "of-a-head")
    rated = keys("read", rate=2, name="heads")
    assert [client.head("/info", headers=rated).status_code for _ in range(3)] == [200, 200, 429]


# --- What is written down


def test_writes_are_told_with_their_key_and_reads_are_not(client: Client, keys: Keys, data: Path) -> None:
    writer = keys("write", name="desk")
    (key,) = [key for key in keys.file.all() if key.name == "desk"]
    path, log = "/v1/collections/audited/persons", data / "audit.jsonl"
    before = len(log.read_text("utf-8").splitlines())
    answer = client.post(path, headers=writer | {"X-Request-Id": "r1"}, json={})
    client.post(path, headers={"X-Request-Id": "r2"})
    client.get("/info", headers=keys("read"))
    client.get("/metrics", headers=keys("admin"))
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()[before:]]
    assert [(line["request_id"], line["key"], line["status"]) for line in lines] == [
        ("r1", key.id, answer.status_code),
        ("r2", None, 401),
    ]
    assert {(line["method"], line["path"]) for line in lines} == {("POST", path)}
    assert writer["Authorization"].split()[1] not in log.read_text("utf-8")


def test_writes_are_told_without_keys_too_where_that_is_asked_for(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    with constant_client(AUDIT_LOG=str(log), DATA_DIR=str(tmp_path / "data")) as client:
        client.delete("/v1/collections/c")
        client.get("/info")
    (line,) = map(json.loads, log.read_text("utf-8").splitlines())
    assert (line["key"], line["method"], line["path"]) == (None, "DELETE", "/v1/collections/c")


def test_it_is_known_when_a_key_was_last_used(client: Client, keys: Keys) -> None:
    unused, used = keys("read", name="unused"), keys("read", name="used")
    assert unused != used
    before = time.time()
    assert client.get("/info", headers=used).status_code == 200

    def noted() -> dict[str, float | None]:
        return {key.name: key.used for key in keys.file.all() if key.name in ("used", "unused")}

    wait_ready(lambda: noted()["used"] is not None)
    assert noted()["unused"] is None
    assert before <= (noted()["used"] or 0) <= time.time()
