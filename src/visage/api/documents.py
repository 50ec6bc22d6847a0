"""What /openapi.json says of bodies that FastAPI does not read itself."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

# They speak of URLs, and a picture that is the body has none.
_NOT_IN_A_QUERY = frozenset({"img_req_headers"})


def schema(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def picture_content() -> dict[str, Any]:
    """The media types of a body that is one picture's file."""
    file = {"schema": {"type": "string", "format": "binary", "description": "One picture's file as it is"}}
    return {"image/*": file, "application/octet-stream": file}


def query_parameters(model: type[BaseModel], examples: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The fields of `model` as the query takes them where the body is a picture; lists are separated by commas."""
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "style": "form",
            "explode": False,
            "description": f"Where the body is a picture: {field['description']}",
            "schema": {key: value for key, value in field.items() if key not in ("title", "description")},
            **({"example": examples[name]} if name in examples else {}),
        }
        for name, field in model.model_json_schema()["properties"].items()
        if name not in _NOT_IN_A_QUERY
    ]
