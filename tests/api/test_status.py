"""What the service says of itself."""

import json
import re
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support import Client, b64, constant_client, constant_runtime, extract, settings_of, state_of
from tests.wire import PHOTO, PROBLEM, TEXT, gauge
from visage import __version__
from visage.api.app import create_app
from visage.errors import GraphRejected

MODELS = "det=constant_detector@dddddddddddd, rec=constant_embedder@eeeeeeeeeeee"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with constant_client() as client:
        yield client


def test_the_root_leads_to_the_documentation(client: Client) -> None:
    answer = client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")


@pytest.mark.parametrize("prefix", ["", "/face"])
@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_the_documentation_needs_no_other_host(page: str, prefix: str) -> None:
    with constant_client(ROOT_PATH=prefix) as client:
        answer = client.get(page)
        assert answer.headers["content-type"].startswith("text/html")
        assets = re.findall(r'(?:src|href)="([^"]*)"', answer.text)
        assert len(assets) >= 2
        for asset in assets:
            assert asset.startswith(f"{prefix}/") and not asset.startswith("//"), asset
            assert client.get(asset.removeprefix(prefix)).status_code == 200
        assert "://" not in re.sub(r"https?://(www\.)?w3\.org", "", answer.text)
        assert f"{prefix}/openapi.json" in answer.text


def test_the_document_names_every_route_and_resolves_every_reference(client: Client) -> None:
    document = client.get("/openapi.json").json()
    assert {path for path in document["paths"] if not path.startswith("/v1/")} == {
        "/extract",
        "/multipart/extract",
        "/draw_detections",
        "/multipart/draw_detections",
        "/health",
        "/ready",
        "/info",
        "/models",
        "/metrics",
    }
    for reference in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)):
        assert reference in document["components"]["schemas"]
    assert document["components"]["schemas"]["ExtractBody"]["required"] == ["images"]


def test_behind_a_proxy_the_document_names_the_prefix() -> None:
    with constant_client(ROOT_PATH="/face") as client:
        assert client.get("/openapi.json").json()["servers"] == [{"url": "/face"}]


def test_info_tells_the_settings() -> None:
    with constant_client(
        DET_BATCH_SIZE="3",
        MAX_SIZE="320,256",
        IFR_VERSION="1.2.3",
        DEF_DET_THRESH="0.4",
        DET_EXTRA_SIZES="128,320x256",
        DEF_RETURN_LANDMARKS_106="true",
    ) as client:
        info = client.get("/info").json()
    assert (info["version"], info["models"]["max_size"], info["models"]["det_batch_size"]) == ("1.2.3", [320, 256], 3)
    assert info["defaults"]["det_thresh"] == 0.4
    assert info["visage"] == {
        "version": __version__,
        "ready": True,
        "loaded": {"det": "constant_detector@dddddddddddd", "rec": "constant_embedder@eeeeeeeeeeee"},
        "det_names": ["constant_detector"],
        "rec_names": ["constant_embedder"],
        "det_extra_sizes": [[128, 128], [320, 256]],
        "return_landmarks_106": True,
        "inference_backend": "onnx",
        "ort_providers": ["cpu"],
        "engines": {},
    }


def test_models_lists_the_catalogue_and_what_is_loaded(real: Client) -> None:
    models = {model["name"]: model for model in real.get("/models").json()["models"]}
    assert {name for name, model in models.items() if model["loaded"]} == {"yunet", "sface"}
    assert models["yunet"]["task"] == "detection" and models["sface"]["task"] == "recognition"
    for model in models.values():
        assert model["licence"]["id"]
    named = dict(part.split("=") for part in real.get("/health").headers["x-visage-models"].split(", "))
    assert named == {
        "det": f"yunet@{models['yunet']['sha256'][:12]}",
        "rec": f"sface@{models['sface']['sha256'][:12]}",
    }


@pytest.mark.parametrize("path", ["/health", "/ready", "/info", "/models", "/metrics", "/docs", "/none", "/extract"])
def test_every_answer_says_which_models_it_came_from(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.headers["x-visage-models"] == MODELS
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_what_is_not_there_is_a_problem(client: Client) -> None:
    for answer, status, detail in (
        (client.get("/none"), 404, "Not Found"),
        (client.get("/extract"), 405, "Method Not Allowed"),
        (client.post("/info"), 405, "Method Not Allowed"),
    ):
        assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
        assert answer.json() == {"type": "about:blank", "title": detail, "status": status, "detail": detail}
    assert client.get("/extract").headers["allow"] == "POST"


def test_metrics_count_what_happens(hopper: bytes) -> None:
    with constant_client() as client:
        extract(client, PHOTO, PHOTO, TEXT)
        client.post("/draw_detections", json={"images": {"data": [b64(TEXT)]}})
        client.get("/none/1"), client.get("/none/2")
        text = client.get("/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    images = {s.labels["status"]: s.value for s in families["visage_images"].samples if s.name.endswith("_total")}
    assert images == {"ok": 2, "failed": 1}
    assert gauge(text, "visage_faces_total") == 4
    assert gauge(text, "visage_ready") == 1
    assert gauge(text, "visage_requests_inside") == 0 and gauge(text, "visage_bytes_inside") == 0
    requests = {
        (s.labels["route"], s.labels["status"]): s.value
        for s in families["visage_requests"].samples
        if s.name.endswith("_total")
    }
    assert requests["/extract", "200"] == 1 and requests["/draw_detections", "422"] == 1
    assert requests["(none)", "404"] == 2
    failures = {s.labels["kind"]: s.value for s in families["visage_failures"].samples if s.name.endswith("_total")}
    assert failures["image-undecodable"] == 2
    models = {(s.labels["role"], s.labels["name"]) for s in families["visage_model_info"].samples}
    assert models == {("det", "constant_detector"), ("rec", "constant_embedder")}


def test_a_service_that_could_not_load_says_so() -> None:
    def broken(*_: object) -> None:
        raise GraphRejected("the file at /srv/secret/weights.onnx is no network")

    app = create_app(settings_of(), opener=broken)
    with Client(app, follow_redirects=False) as client:
        until_failed(client)
        health, ready = client.get("/health"), client.get("/ready")
        extraction = client.post("/extract", json={"images": {"data": [b64(PHOTO)]}})
        assert client.get("/info").json()["visage"]["ready"] is False
        assert client.get("/docs").status_code == client.get("/metrics").status_code == 200
    assert health.status_code == 500 and health.json()["detail"] == "self check failed"
    for answer in (ready, extraction):
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
        assert "x-visage-models" not in answer.headers
    assert "/srv/secret" not in health.text + ready.text + extraction.text


def until_failed(client: Client) -> None:
    while state_of(client).failure is None:
        client.get("/ready")


def test_an_opener_that_fails_in_an_unforeseen_way_does_not_end_the_process() -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("out of luck")

    with Client(create_app(settings_of(), opener=broken)) as client:
        until_failed(client)
        assert client.get("/health").status_code == 500


def test_under_compat_health_has_the_references_words() -> None:
    def broken(*_: object) -> None:
        raise GraphRejected("no")

    with Client(create_app(settings_of(COMPAT_API="0.9"), opener=broken)) as client:
        until_failed(client)
        assert client.get("/health").json() == {"detail": "self check failed"}


def test_the_runtime_is_closed_with_the_application() -> None:
    kept = []

    def opener(*how: object) -> object:
        kept.append(constant_runtime(*how))  # type: ignore[arg-type]
        return kept[0]

    with Client(create_app(settings_of(), opener=opener)) as client:  # type: ignore[arg-type]
        while client.get("/ready").status_code != 200:
            pass
    with pytest.raises(RuntimeError, match="shutdown"):
        kept[0].service._pool.submit(print)
