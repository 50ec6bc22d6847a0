"""What /openapi.json says of the /v1 routes: bodies, answers, problems, each with an example."""

from typing import Any

from pydantic import BaseModel

from visage.api import samples
from visage.api.documents import picture_content, query_parameters, schema
from visage.api.encoding import MSGPACK
from visage.api.refusals import declared

PICTURE = samples.PICTURE
VECTOR = samples.VECTOR
FACE = {
    "box": [179.22, 122.31, 353.9, 332.18],
    "score": 0.944,
    "landmarks": [[225.4, 193.1], [306.8, 192.9], [266.1, 236.4], [230.2, 269.8], [301.5, 269.3]],
    "size": 174.7,
    "quality": {
        "score": 0.944,
        "size": 174.7,
        "sharpness": 812.4,
        "yaw": 1.3,
        "pitch": -4.1,
        "roll": -0.2,
        "verdict": "good",
        "reasons": [],
        "causes": [],
    },
}
MODELS = {"det": "yunet@49f000ec501f", "rec": "sface@fb143eea0783"}
COLLECTION = {
    "name": "staff",
    "model": {
        "name": "sface",
        "sha256": "fb143eea…",
        "preprocess": "aligned 112x112 rgb nchw (x-0)/1",
        "dimension": 128,
    },
    "precision": "fp32",
    "index": "exact",
    "description": "Who may come in",
    "metadata": {},
    "created": "2026-01-31T12:00:00.000Z",
    "persons": 1,
    "faces": 1,
}
PERSON = {
    "id": "grace",
    "name": "Grace Hopper",
    "metadata": {"city": "New York"},
    "created": "2026-01-31T12:00:00.000Z",
    "updated": "2026-01-31T12:00:00.000Z",
    "faces": 1,
}
STORED = {
    "id": "6b9d2c1e",
    "person": "grace",
    "about": {"source": "image", "score": 0.944, "size": 174.7, "yaw": 1.3},
    "created": "2026-01-31T12:00:00.000Z",
    "has_crop": False,
}
ENROLLED = {
    "person": PERSON,
    "images": [{"status": "enrolled", "reasons": [], "causes": [], "face": STORED}],
    "vectors": 0,
}

KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key and request again within a day get the first answer again",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


def answers(
    model: type[BaseModel], example: Any, *statuses: int, status: int = 200, about: str = "Done"
) -> dict[int | str, dict[str, Any]]:
    """The answer of a route with its example, and the problems it may tell instead."""
    content = {"application/json": {"example": example}, MSGPACK: {}}
    return {status: {"model": model, "description": about, "content": content}, **declared(*statuses)}


def body(
    model: type[BaseModel], example: Any, fields: type[BaseModel] | None = None, *, key: bool = False
) -> dict[str, Any]:
    """The body of a route; `fields`: those that the query takes where the body is a picture."""
    content: dict[str, Any] = {
        "application/json": {"schema": schema(model), "example": example},
        MSGPACK: {"schema": schema(model)},
    }
    parameters = [KEY] if key else []
    if fields is not None:
        content |= picture_content()
        parameters = [*query_parameters(fields), *parameters]
    said: dict[str, Any] = {"requestBody": {"required": True, "content": content}}
    return said | ({"parameters": parameters} if parameters else {})
