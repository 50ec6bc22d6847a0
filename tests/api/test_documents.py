"""What the API's document says of pictures as bodies."""

import pytest

from tests.support import settings_of
from visage.api.app import create_app
from visage.api.schemas import DrawFields, ExtractFields


@pytest.mark.parametrize(("path", "model"), [("/extract", ExtractFields), ("/draw_detections", DrawFields)])
def test_a_picture_as_the_body_is_documented_with_its_fields(path: str, model: type[ExtractFields]) -> None:
    operation = create_app(settings_of()).openapi()["paths"][path]["post"]
    content = operation["requestBody"]["content"]
    for kind in ("image/*", "application/octet-stream"):
        assert content[kind]["schema"]["format"] == "binary"
    assert content["application/json"]["example"]
    parameters = {parameter["name"]: parameter for parameter in operation["parameters"]}
    assert set(parameters) == set(model.model_fields) - {"img_req_headers"}
    assert {parameter["in"] for parameter in parameters.values()} == {"query"}
    assert not any(parameter["required"] for parameter in parameters.values())
    assert not any("example" in parameter for parameter in parameters.values())  # a page would send them with JSON, too
    assert any(kind.get("exclusiveMinimum") == 0 for kind in parameters["threshold"]["schema"]["anyOf"])
    assert "--data-binary" in operation["description"] and "image/jpeg" in operation["description"]
