"""Whatever the API's own document allows, and what it does not: never a server error."""

import json
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import GenerationMode
from schemathesis.generation.case import Case
from structlog.testing import capture_logs

from tests.galleries import gallery_client
from tests.support import Client
from tests.wire import constant_app

EXAMPLES = 20  # a route


@schemathesis.serializer("application/x-msgpack")
def packed(_: Any, value: Any) -> bytes:
    """What msgpack has no bytes for goes as JSON, which is garbage to a reader of msgpack."""
    try:
        return bytes(msgpack.packb(value))
    except (TypeError, ValueError, OverflowError):
        return json.dumps(value, default=str).encode()


@schemathesis.serializer("application/x-ndjson")
def lined(_: Any, value: Any) -> bytes:
    """One row, or what is none."""
    return json.dumps(value, default=str).encode() + b"\n"


@schemathesis.serializer("image/*", "application/octet-stream")
def bare(_: Any, value: Any) -> bytes:
    """A picture's bytes, or what is none."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


schema = schemathesis.openapi.from_asgi("/openapi.json", constant_app(ALLOWED_HOSTS="testserver"))
schema.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """With a collection that has the name of the document's examples."""
    with capture_logs(), gallery_client(tmp_path_factory.mktemp("data"), SAME_THRESHOLD="0.4") as client:
        assert client.post("/v1/collections", json={"name": "staff"}).status_code == 201
        yield client


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_request_is_a_server_error(case: Case, client: Client) -> None:
    sent = requests.Request(**case.as_transport_kwargs(base_url=str(client.base_url))).prepare()
    answer = client.request(sent.method, sent.url, content=sent.body, headers=sent.headers)
    assert answer.status_code < 500 or answer.status_code == 502, answer.text
    if answer.status_code >= 400 and sent.method != "HEAD":
        problem = json.loads(answer.content)
        assert problem["status"] == answer.status_code and problem["title"]
