"""What bodies may hold: how deep objects go, how long texts are."""

import base64
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError

from visage.api.schemas import DrawBody, ExtractBody
from visage.api.v1.bodies import BODIES, BulkRow, CollectionBody, PersonBody, SearchBody

LONG = "x" * 10_000


def nested(depth: int, leaf: Any = 1) -> dict[str, Any]:
    """So many objects, one in the other."""
    for _ in range(depth - 1):
        leaf = {"a": leaf}
    return {"a": leaf}


@pytest.mark.parametrize(
    ("body", "wrapped"),
    [
        (PersonBody, lambda value: {"metadata": value}),
        (CollectionBody, lambda value: {"name": "a", "metadata": value}),
        (SearchBody, lambda value: {"where": value}),
        (BulkRow, lambda value: {"metadata": value}),
        (BulkRow, lambda value: {"person": {"id": "a", "metadata": value}}),
        (BulkRow, lambda value: {"face": {"id": "a", "about": value}}),
    ],
)
def test_objects_go_so_deep(body: type[BaseModel], wrapped: Any) -> None:
    body.model_validate(wrapped(nested(32)))
    body.model_validate(wrapped(nested(31, [1])))
    for deeper in (nested(33), nested(32, [1]), nested(250, {})):
        with pytest.raises(ValidationError, match="within one another"):
            body.model_validate(wrapped(deeper))


@pytest.mark.parametrize(
    ("body", "field", "given"),
    [
        (BulkRow, "person", {"person": {"id": "a", "name": LONG}}),
        (BulkRow, "name", {"name": LONG}),
        (PersonBody, "name", {"name": LONG}),
        (SearchBody, "det_name", {"det_name": LONG}),
        (SearchBody, "images", {"images": [{"url": LONG}]}),
        (ExtractBody, "rec_name", {"images": {}, "rec_name": LONG}),
        (ExtractBody, "api_ver", {"images": {}, "api_ver": LONG}),
        (DrawBody, "det_name", {"images": {}, "det_name": LONG}),
    ],
)
def test_texts_have_a_limit(body: type[BaseModel], field: str, given: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        body.model_validate(given)
    assert caught.value.errors()[0]["loc"][0] == field


@pytest.mark.parametrize("body", BODIES)
def test_no_text_is_without_a_limit(body: type[BaseModel]) -> None:
    """But for pictures, which the body's size bounds, and vectors, which are read at once."""
    free = {"Picture", "images", "image", "a", "b", "vector", "vectors"}
    schema = body.model_json_schema()
    for where, properties in ((body.__name__, schema["properties"]), *_inner(schema)):
        for name, about in properties.items():
            if name in free:
                continue
            for one in about.get("anyOf", [about]):
                if one.get("type") == "string":
                    assert {"maxLength", "pattern", "enum", "const"} & set(one), f"{where}.{name}"


def _inner(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(name, one.get("properties", {})) for name, one in schema.get("$defs", {}).items()]


@pytest.mark.parametrize("form", ["bytes", "base64"])
def test_long_vectors_are_refused_before_they_are_read(form: str) -> None:
    for count, taken in ((8192, True), (20_000, False)):
        data = np.ones(count, "<f4").tobytes()
        row = {"vectors": [data if form == "bytes" else base64.b64encode(data).decode()]}
        if taken:
            assert BulkRow.model_validate(row).vectors is not None
        else:
            with pytest.raises(ValidationError, match="1 to 8192 numbers"):
                BulkRow.model_validate(row)
