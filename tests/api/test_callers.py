"""Which pages may call where nobody shows a key; who is no browser is never asked."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from tests.galleries import gallery_client
from tests.support import Client, b64, constant_client, settings_of
from tests.wire import PHOTO, PROBLEM
from visage.api.callers import Callers
from visage.errors import Forbidden

PORT = 18080
EVIL = "https://evil.example"
BODY = {"images": {"data": [b64(PHOTO)]}}


def admitted(method: str = "POST", *, headers: dict[str, str], port: int | None = PORT, **environ: str) -> bool:
    try:
        Callers(settings_of(**environ)).admit(method, Headers(headers), port)
    except Forbidden:
        return False
    return True


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with gallery_client(tmp_path / "d") as client:
        yield client


# ---------------------------------------------------------------- over HTTP


def test_a_strangers_page_writes_nothing_and_is_told_the_remedy(client: Client) -> None:
    body = b'{"name": "staff"}'
    refused = client.post("/v1/collections", content=body, headers={"content-type": "text/plain", "origin": EVIL})
    assert (refused.status_code, refused.headers["content-type"]) == (403, PROBLEM)
    assert refused.json()["type"] == "urn:visage:forbidden" and f"CORS_ORIGINS={EVIL}" in refused.json()["detail"]
    assert client.get("/v1/collections").json()["items"] == []
    assert client.post("/v1/collections", content=body).status_code == 201
    for method in ("DELETE", "PATCH"):
        assert client.request(method, "/v1/collections/staff", headers={"origin": EVIL}).status_code == 403
    assert client.get("/v1/collections/staff").status_code == 200


@pytest.mark.parametrize("path", ["/extract", "/draw_detections", "/multipart/extract", "/v1/detect"])
def test_a_strangers_page_has_no_pictures_worked_on(client: Client, path: str) -> None:
    assert client.post(path, json=BODY, headers={"origin": EVIL}).status_code == 403


def test_the_services_own_page_may_everything(client: Client) -> None:
    assert client.post("/extract", json=BODY, headers={"origin": "http://localhost"}).status_code == 200


def test_a_name_that_was_made_to_lead_here_opens_nothing(client: Client) -> None:
    """The test's client says that it comes in at port 80."""
    client.post("/v1/collections", json={"name": "staff"})
    for method, path in (("GET", "/v1/collections/staff/export"), ("DELETE", "/v1/collections/staff")):
        headers = {"host": "evil.example", "origin": "http://evil.example"}
        refused = client.request(method, path, headers=headers)
        assert (refused.status_code, refused.headers["content-type"]) == (403, PROBLEM)
        assert "ALLOWED_HOSTS=evil.example" in refused.json()["detail"]
    assert client.get("/v1/collections/staff").status_code == 200


def test_behind_a_prefix_the_same_pages_may_call() -> None:
    with constant_client(ROOT_PATH="/face") as client:
        for path in ("/extract", "/face/extract"):
            assert client.post(path, json=BODY, headers={"origin": "http://localhost"}).status_code == 200
            assert client.post(path, json=BODY, headers={"origin": EVIL}).status_code == 403


# ---------------------------------------------------------------- origins


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "origin", [EVIL, "null", "http://localhost:3000", "http://127.0.0.1", "https://localhost.evil"]
)
def test_other_pages_may_not_call(method: str, origin: str) -> None:
    assert not admitted(method, headers={"host": "localhost:18080", "origin": origin})


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_what_changes_nothing_is_asked_of_nobody(method: str) -> None:
    assert admitted(method, headers={"host": "localhost:18080", "origin": EVIL})


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "localhost:18080", "origin": "http://localhost:18080"},
        {"host": "Faces.example.org", "origin": "https://faces.example.org"},
        {"host": "faces.example.org:8443", "origin": "https://faces.example.org:8443"},
        {"host": "[::1]:18080", "origin": "http://[::1]:18080"},
        # Proxies: Host without its port; Host of the next hop, with what the browser asked for beside it, or without.
        {"host": "faces.example.org", "origin": "https://faces.example.org:8443"},
        {"host": "127.0.0.1:18080", "origin": "https://faces.example.org", "x-forwarded-host": "faces.example.org"},
        {"host": "127.0.0.1:18080", "origin": "https://faces.example.org", "sec-fetch-site": "same-origin"},
    ],
)
def test_its_own_page_may_call_behind_proxies_too(headers: dict[str, str]) -> None:
    assert admitted(headers=headers)


@pytest.mark.parametrize("site", ["cross-site", "same-site", ""])
def test_what_the_browser_calls_a_strangers_is_a_strangers(site: str) -> None:
    assert not admitted(headers={"host": "localhost:18080", "origin": EVIL, "sec-fetch-site": site})


def test_named_origins_may_call() -> None:
    headers = {"host": "localhost:18080", "origin": EVIL}
    assert admitted(headers=headers, CORS_ORIGINS=f"https://a.example, {EVIL}")
    assert admitted(headers=headers, CORS_ORIGINS="*")
    assert not admitted(headers=headers, CORS_ORIGINS="https://a.example")


def test_keys_are_asked_instead() -> None:
    assert admitted(headers={"host": "evil.example:18080", "origin": EVIL}, AUTH="keys")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_origins_are_asked_wherever_it_listens(host: str) -> None:
    assert not admitted(headers={"host": "faces:18080", "origin": EVIL}, HOST=host, AUTH="off")


# ---------------------------------------------------------------- hosts


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "LOCALHOST:18080",
        "localhost.:18080",
        "a.localhost:18080",
        "127.0.0.1:18080",
        "127.9.9.9:18080",
        "192.168.1.5:18080",
        "[::1]:18080",
        "faces.example.org",
        "faces.example.org:8443",
        "a b:c:18080",
    ],
)
def test_names_of_this_machine_addresses_and_proxies_are_let_in(host: str) -> None:
    assert admitted("GET", headers={"host": host})


@pytest.mark.parametrize(
    "host", ["evil.example:18080", "EVIL.example:18080", "localhost.evil.example:18080", "1a:18080"]
)
def test_a_name_with_the_very_port_is_a_rebound_one(host: str) -> None:
    assert not admitted("GET", headers={"host": host})
    assert admitted("GET", headers={"host": host}, port=None)
    assert admitted("GET", headers={"host": host}, ALLOWED_HOSTS=f"a.example,{host.partition(':')[0]}")
    assert admitted("GET", headers={"host": host}, ALLOWED_HOSTS="*")
    assert admitted("GET", headers={"host": host}, HOST="0.0.0.0", AUTH="off")


@pytest.mark.parametrize(("port", "let_in"), [(80, False), (443, False), (18080, True)])
def test_an_address_without_a_port_has_the_usual_one(port: int, let_in: bool) -> None:
    assert admitted("GET", headers={"host": "evil.example"}, port=port) is let_in


@pytest.mark.parametrize("environ", [{}, {"AUTH": "keys"}, {"HOST": "0.0.0.0", "AUTH": "off"}])
def test_where_names_are_listed_others_are_refused_everywhere(environ: dict[str, str]) -> None:
    listed = {"ALLOWED_HOSTS": "faces.example.org", **environ}
    assert admitted("GET", headers={"host": "Faces.example.org:8443"}, **listed)
    assert admitted("GET", headers={"host": "10.0.0.7:18080"}, **listed)
    assert not admitted("GET", headers={"host": "evil.example"}, **listed)
