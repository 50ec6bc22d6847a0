"""Refusals as the API's document shows them are those that the service gives."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support import Client, b64, constant_client, settings_of
from visage.access.keyfile import KeyFile
from visage.api.app import create_app

DOCUMENT = create_app(settings_of()).openapi()
OPERATIONS = [
    (method, path, operation) for path, several in DOCUMENT["paths"].items() for method, operation in several.items()
]
PROBLEM = {"$ref": "#/components/schemas/Problem"}


def shown(status: int, path: str, method: str = "post", document: Any = DOCUMENT) -> list[Any]:
    [content] = document["paths"][path][method]["responses"][str(status)]["content"].values()
    return [example["value"] for example in content["examples"].values()]


def same_form(answer: Any, examples: list[Any]) -> None:
    """One of the examples has the answer's members, type, title and status, and the answer its media type."""
    got = answer.json()
    fixed = [{key: value for key, value in one.items() if key != "detail"} for one in examples]
    assert {key: value for key, value in got.items() if key != "detail"} in fixed, (got, examples)
    assert {type(got["detail"])} <= {type(one["detail"]) for one in examples}
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=[f"{m} {p}" for m, p, _ in OPERATIONS])
def test_every_refusal_is_a_problem_document_with_its_body(method: str, path: str, operation: Any) -> None:
    refusals = {int(status): told for status, told in operation["responses"].items() if status >= "400"}
    if path not in ("/health", "/ready"):
        assert {401, 403, 429} <= set(refusals)
    if "requestBody" in operation:
        assert {400, 413, 415, 422} <= set(refusals)
    if path.startswith("/v1") or "requestBody" in operation:
        assert 503 in refusals
    for status, told in refusals.items():
        [(media, content)] = told["content"].items()
        assert (media, content["schema"]) == ("application/problem+json", PROBLEM)
        for example in content["examples"].values():
            assert example["value"]["status"] == status and example["value"]["detail"]
    for status, header in ((401, "WWW-Authenticate"), (429, "Retry-After"), (503, "Retry-After")):
        assert status not in refusals or header in refusals[status]["headers"]


def test_no_route_speaks_of_errors_in_a_form_that_none_has() -> None:
    assert not {"HTTPValidationError", "ValidationError"} & set(DOCUMENT["components"]["schemas"])
    assert '"#/components/schemas/HTTPValidationError"' not in json.dumps(DOCUMENT)


def test_what_comes_of_keys_is_as_shown(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path)
    reader = keys.add("reader", frozenset({"read"}))[1]
    slow = keys.add("slow", frozenset({"read"}), rate=1)[1]
    with constant_client(AUTH="keys", DATA_DIR=str(tmp_path)) as client:
        same_form(client.post("/v1/detect", json={}), shown(401, "/v1/detect"))
        made = client.post("/v1/collections", json={"name": "staff"}, headers={"Authorization": f"Bearer {reader}"})
        same_form(made, shown(403, "/v1/collections"))
        asked = [client.get("/v1/collections", headers={"Authorization": f"Bearer {slow}"}) for _ in range(3)]
        refused = next(answer for answer in asked if answer.status_code == 429)
        same_form(refused, shown(429, "/v1/collections", "get"))
        assert int(refused.headers["Retry-After"]) >= 1


@pytest.fixture
def client(tmp_path: Path) -> Any:
    with constant_client(DATA_DIR=str(tmp_path), MAX_BODY_BYTES="100000") as client:
        yield client


def test_what_comes_of_pictures_and_fields_is_as_shown(client: Client) -> None:
    same_form(client.post("/v1/detect", content=b" " * 200_000), shown(413, "/v1/detect"))
    drawn = client.post("/draw_detections", json={"images": {"data": [b64(b"\xff\x0a" + bytes(64))]}})
    same_form(drawn, shown(415, "/draw_detections"))
    packed = client.post("/v1/detect", content=b"{}", headers={"Content-Encoding": "gzip"})
    same_form(packed, shown(400, "/v1/detect"))
    coded = client.post("/v1/detect", content=b"{}", headers={"Content-Encoding": "compress"})
    same_form(coded, shown(415, "/v1/detect"))
    assert coded.json() in shown(415, "/v1/detect") and "gzip" in coded.headers["Accept-Encoding"]
    same_form(client.post("/v1/detect", json={"images": [], "threshold": 1.5}), shown(422, "/v1/detect"))
    same_form(client.post("/extract", json={"images": {}, "threshold": 1.5}), shown(422, "/extract"))
    fetched = client.post("/draw_detections", json={"images": {"urls": ["http://169.254.169.254/"]}})
    same_form(fetched, shown(403, "/draw_detections"))
    missing = client.post("/draw_detections", json={"images": {"urls": ["nobody.jpg"]}})
    same_form(missing, shown(502, "/draw_detections"))
    same_form(client.get("/v1/collections/staff"), shown(404, "/v1/collections/{collection}", "get"))
    client.post("/v1/collections", json={"name": "staff"})
    same_form(client.post("/v1/collections", json={"name": "staff"}), shown(409, "/v1/collections"))


def test_a_service_that_is_not_ready_says_what_is_shown(tmp_path: Path) -> None:
    """503, with the time to wait."""
    held = threading.Event()

    def opener(*_: Any) -> Any:
        held.wait(60)
        raise RuntimeError("never mind")

    with Client(create_app(settings_of(DATA_DIR=str(tmp_path)), opener=opener)) as client:
        try:
            for path, method in (("/ready", "get"), ("/v1/detect", "post"), ("/extract", "post")):
                answer = client.request(method, path, json={"images": []} if method == "post" else None)
                assert answer.status_code == 503
                same_form(answer, shown(503, path, method))
        finally:
            held.set()


def test_under_compat_the_document_shows_the_references_form() -> None:
    document = create_app(settings_of(COMPAT_API="0.9")).openapi()
    [(media, content)] = document["paths"]["/extract"]["post"]["responses"]["413"]["content"].items()
    [example] = content["examples"].values()
    assert (media, set(example["value"])) == ("application/json", {"detail"})
    assert shown(413, "/v1/detect", document=document)[0]["status"] == 413
