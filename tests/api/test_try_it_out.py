"""What the API's document gives as examples runs as it stands, on a service that has just been made."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import simplejpeg

from tests.support import Client, client_of, settings_of
from visage.api import samples
from visage.api.app import create_app
from visage.api.encoding import MSGPACK

# In this order each finds what those before it made.
_ORDER = ("/collections", "/persons", "/faces", "/bulk", "")
_METHODS = ("post", "get", "patch", "delete")


@pytest.fixture(scope="module")
def fresh(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    data = tmp_path_factory.mktemp("data")
    with client_of(settings_of(MODELS_DIR=str(models_dir), DATA_DIR=str(data))) as client:
        yield client


def in_order(document: Any) -> list[tuple[str, str, Any]]:
    def place(one: tuple[str, str, Any]) -> tuple[int, int]:
        method, path, _ = one
        if method == "delete":  # what is inside goes first
            return _METHODS.index(method), -path.count("/")
        return _METHODS.index(method), next(i for i, end in enumerate(_ORDER) if path.endswith(end))

    every = [(m, path, operation) for path, several in document["paths"].items() for m, operation in several.items()]
    return sorted(every, key=place)


def filled_in(path: str, operation: Any) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """What a page fills in of a route's parameters: path, query, headers."""
    places: dict[str, dict[str, Any]] = {"path": {}, "query": {}, "header": {}}
    for one in operation.get("parameters", []):
        examples = [example["value"] for example in one.get("examples", {}).values()]
        value = one.get("example", examples[0] if examples else one["schema"].get("default"))
        if value is not None:
            places[one["in"]][one["name"]] = value
    return re.sub(r"\{(\w+)\}", lambda found: str(places["path"][found[1]]), path), places["query"], places["header"]


def form(schema: Any) -> tuple[dict[str, str], list[tuple[str, bytes]]]:
    """A form's fields as a page fills them in, and the file that a person chooses."""
    fields: dict[str, str] = {}
    files = []
    for name, field in schema["properties"].items():
        if field.get("format") == "binary" or field.get("items", {}).get("format") == "binary":
            files.append((name, base64.b64decode(samples.PICTURE)))
        else:
            value = field["default"]
            fields[name] = ",".join(map(str, value)) if isinstance(value, list) else str(value).lower()
    return fields, files


def run(client: Client, document: Any, method: str, path: str, operation: Any) -> Any:
    where, query, headers = filled_in(path, operation)
    if "requestBody" not in operation:
        return client.request(method, where, params=query, headers=headers)
    kind, content = next(iter(operation["requestBody"]["content"].items()))
    if kind == "multipart/form-data":
        schema = document["components"]["schemas"][content["schema"]["$ref"].rsplit("/", 1)[1]]
        fields, files = form(schema)
        return client.request(method, where, params=query, headers=headers, data=fields, files=files)
    example = content["example"]
    body = example.encode() if isinstance(example, str) else json.dumps(example).encode()
    return client.request(method, where, params=query, headers=headers | {"Content-Type": kind}, content=body)


def test_every_example_runs_as_it_stands(fresh: Client) -> None:
    document = fresh.get("/openapi.json").json()
    answers = {}
    for method, path, operation in in_order(document):
        answer = run(fresh, document, method, path, operation)
        name = f"{method} {path}"
        answers[name] = answer
        if path.endswith("/crop"):  # none is kept unless the operator says so
            assert answer.status_code == 404 and "KEEP_CROPS" in answer.json()["detail"], (name, answer.text)
            continue
        assert answer.is_success, (name, answer.status_code, answer.text)
        if "requestBody" in operation and MSGPACK in operation["requestBody"]["content"]:
            assert '"status":"failed"' not in answer.text, (name, answer.text)
    faces = [
        found["faces"]
        for found in (answers["post /extract"].json()["data"] + answers["post /multipart/extract"].json()["data"])
    ]
    assert [len(found) for found in faces] == [1, 1] and len(faces[1][0]["vec"]) == 128
    for drawn in ("post /draw_detections", "post /multipart/draw_detections"):
        assert simplejpeg.decode_jpeg(answers[drawn].content).shape[:2] == (123, 112)
    assert answers["post /v1/compare"].json()["same"] is True
    rows = [json.loads(line) for line in answers["post /v1/collections/{collection}/bulk"].text.splitlines()]
    assert rows[-1]["done"] is True and rows[-1]["failed"] == 0
    [probe] = answers["post /v1/collections/{collection}/search"].json()["probes"]
    assert (probe["verdict"], probe["matches"][0]["person"]["id"]) == ("known", "grace")
    [enrolled] = answers["post /v1/collections/{collection}/persons"].json()["images"]
    assert enrolled["status"] == "enrolled"


def test_the_examples_run_in_msgpack_as_well(fresh: Client) -> None:
    document = fresh.get("/openapi.json").json()
    for path in ("/extract", "/v1/detect", "/v1/embeddings", "/v1/compare"):
        example = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
        answer = fresh.post(path, content=msgpack.packb(example), headers={"Content-Type": MSGPACK})
        assert answer.status_code == 200, (path, answer.text)


def test_the_sample_vector_is_the_sample_pictures(fresh: Client) -> None:
    answer = fresh.post("/v1/embeddings", json={"images": [samples.PICTURE]}).json()
    found = np.array(answer["images"][0]["faces"][0]["embedding"])
    assert float(found @ np.frombuffer(base64.b64decode(samples.VECTOR), "<f4")) > 0.999


def test_a_form_is_filled_in_with_what_its_fields_mean_where_they_are_left_out(fresh: Client) -> None:
    """Filled in as it stands it says what an empty form says."""
    document = fresh.get("/openapi.json").json()
    for path in ("/multipart/extract", "/multipart/draw_detections"):
        fields, files = form(
            document["components"]["schemas"][{"/multipart/extract": "ExtractForm"}.get(path, "DrawForm")]
        )
        full, empty = fresh.post(path, data=fields, files=files), fresh.post(path, files=files)
        if path == "/multipart/extract":
            assert full.json()["data"][0]["faces"] == empty.json()["data"][0]["faces"]
        else:
            assert full.content == empty.content


def test_forms_show_the_settings_in_force() -> None:
    document = create_app(settings_of(DEF_DET_THRESH="0.4", MAX_SIZE="1280,1280", REC_NAME="None")).openapi()
    fields = document["components"]["schemas"]["ExtractForm"]["properties"]
    assert (fields["threshold"]["default"], fields["max_size"]["default"]) == (0.4, [1280, 1280])
    assert fields["rec_name"]["default"] == "" and "img_req_headers" not in fields
