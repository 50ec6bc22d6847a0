"""The API's document: every route of the contract, with examples that the models take."""

from typing import Any

import pytest

from tests.support import settings_of
from visage.api.app import create_app
from visage.api.v1 import bodies, schemas
from visage.api.v1.bodies import BODIES, BulkRow

DOCUMENT = create_app(settings_of()).openapi()
OPERATIONS = [
    (method, path, operation)
    for path, operations in DOCUMENT["paths"].items()
    if path.startswith("/v1/")
    for method, operation in operations.items()
]
IDS = [f"{method} {path}" for method, path, _ in OPERATIONS]
MODELS = {model.__name__: model for model in BODIES}

C, P = "/v1/collections/{collection}", "/v1/collections/{collection}/persons/{person}"
CONTRACT = {
    ("post", "/v1/detect"),
    ("post", "/v1/embeddings"),
    ("post", "/v1/compare"),
    ("post", "/v1/collections"),
    ("get", "/v1/collections"),
    ("get", C),
    ("patch", C),
    ("delete", C),
    ("post", f"{C}/compact"),
    ("post", f"{C}/search"),
    ("post", f"{C}/bulk"),
    ("get", f"{C}/export"),
    ("post", f"{C}/persons"),
    ("get", f"{C}/persons"),
    ("get", P),
    ("patch", P),
    ("delete", P),
    ("post", f"{P}/faces"),
    ("get", f"{P}/faces"),
    ("get", f"{P}/faces/{{face}}"),
    ("delete", f"{P}/faces/{{face}}"),
    ("get", f"{P}/faces/{{face}}/crop"),
}


def test_the_contract_is_there_whole() -> None:
    assert {(method, path) for method, path, _ in OPERATIONS} == CONTRACT


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=IDS)
def test_every_route_has_examples_that_hold(method: str, path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert any(status in operation["responses"] for status in ("404", "422"))
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]
        if path.endswith("/bulk"):
            for row in content["application/x-ndjson"]["example"].splitlines():
                BulkRow.model_validate_json(row)
        else:
            known = content["application/json"]
            MODELS[known["schema"]["$ref"].rsplit("/", 1)[1]].model_validate(known["example"])
    [success] = [status for status in operation["responses"] if status < "300"]
    answer = operation["responses"][success].get("content", {}).get("application/json")
    if answer is not None:
        name = answer["schema"]["$ref"].rsplit("/", 1)[1]
        getattr(schemas, name).model_validate(answer["example"])
    else:
        assert success == "204" or path.endswith(("/crop", "/bulk", "/export"))
    if method != "get" and not path.endswith(("/detect", "/embeddings", "/compare", "/search", "/compact")):
        assert any(one["name"] == "Idempotency-Key" for one in operation["parameters"]), path


def test_every_field_says_what_it_means() -> None:
    for model in (bodies.DetectFields, bodies.EmbeddingFields, bodies.PersonFields, bodies.SearchFields):
        assert all(info.description for info in model.model_fields.values()), model
    assert BulkRow.model_fields["vectors"].description
