"""What /openapi.json says of bodies that FastAPI does not read itself."""

from collections.abc import Mapping
from dataclasses import dataclass
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


def query_parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    """The fields of `model` as the query takes them where the body is a picture; lists are separated by commas.

    None has an example, with which pages would fill it in: beside a JSON body it says nothing.
    """
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "style": "form",
            "explode": False,
            "description": f"Where the body is a picture: {field['description']}",
            "schema": _in_a_query(field),
        }
        for name, field in model.model_json_schema()["properties"].items()
        if name not in _NOT_IN_A_QUERY
    ]


def _in_a_query(field: dict[str, Any]) -> dict[str, Any]:
    if any(kind.get("type") == "object" for kind in field.get("anyOf", [field])):
        return {"type": "string"}  # its JSON text; a page would fill in one of an object whose keys mean nothing
    return {key: value for key, value in field.items() if key not in ("title", "description")}


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart form of the fields of `model` and pictures in the part `files`, one or `many`."""

    name: str
    model: type[BaseModel]
    files: str
    many: bool = False

    @property
    def content(self) -> dict[str, Any]:
        """For a route's requestBody."""
        return {"multipart/form-data": {"schema": {"$ref": f"#/components/schemas/{self.name}"}}}

    def schema(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """Each field with what it means where it is left out: pages fill forms in with that, or with anything."""
        fields = self.model.model_json_schema()["properties"]
        properties = {
            name: _not_null(field) | {"default": defaults[name]}
            for name, field in fields.items()
            if name not in _NOT_IN_A_QUERY
        }
        file = {"type": "string", "format": "binary", "description": "A picture's file"}
        files = {"type": "array", "items": file, "minItems": 1} if self.many else file
        return {"type": "object", "required": [self.files], "properties": properties | {self.files: files}}


def without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A body's schema as people read it: a field may be left out. That null means the same goes without saying;
    a page that fills in forms from the schema would send the text "null".
    """
    properties = {name: _not_null(field) for name, field in schema.get("properties", {}).items()}
    return {**schema, "properties": properties} if properties else schema


def _not_null(field: dict[str, Any]) -> dict[str, Any]:
    kinds = [kind for kind in field.get("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) == len(field.get("anyOf", [])):
        return field
    rest = {key: value for key, value in field.items() if key not in ("anyOf", "default")}
    return {**kinds[0], **rest} if len(kinds) == 1 else {**rest, "anyOf": kinds}
