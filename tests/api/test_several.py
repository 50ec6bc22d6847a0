"""Requests that name their networks, and what answers say of them."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import msgpack
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support import Client, ConstantDetector, b64, constant_client, extract, state_of, wait_ready
from tests.wire import PHOTO, PROBLEM
from visage.backends.base import Sizes
from visage.drawing import draw
from visage.faces import Detections, Embedding, Face, Floats, ImageBatch, ImageFaces, Pixels
from visage.families.base import ALIGNED
from visage.options import DrawOptions

GOOD = b64(PHOTO)
DET, REC = "det=constant_detector@dddddddddddd", "rec=constant_embedder@eeeeeeeeeeee"
OTHER_DET, OTHER_REC = "det=one_face@bbbbbbbbbbbb", "rec=three_long@cccccccccccc"


class OneFace(ConstantDetector):
    """Finds the first of the two only."""

    def detect(self, images: ImageBatch, thresholds: Floats, /) -> list[Detections]:
        return [found[:1] for found in super().detect(images, thresholds)]


class ThreeLong:
    """Vectors of three."""

    crop = ALIGNED
    max_batch = 0
    streams = 0

    def predict(self, crops: Pixels, /) -> list[Embedding]:
        return [Embedding(np.array([0.6, 0.8, 0], np.float32), 5.0)] * len(crops)


def several(**environ: str) -> Any:
    runtime = {"detectors": {"one_face": OneFace()}, "embedders": {"three_long": ThreeLong()}}
    return constant_client(runtime=runtime, **environ)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with several() as client:
        yield client


def ask(client: Client, how: str, **fields: Any) -> Any:
    """/extract of one picture as JSON, msgpack or a form."""
    if how == "form":
        texts = {name: "null" if value is None else str(value) for name, value in fields.items()}
        return client.post("/multipart/extract", files={"files": ("a.jpg", PHOTO)}, data=texts)
    if how == "json":
        return client.post("/extract", json={"images": {"data": [GOOD]}, **fields})
    body = msgpack.packb({"images": {"data": [PHOTO]}, **fields})
    return client.post("/extract", content=body, headers={"content-type": "application/msgpack"})


@pytest.mark.parametrize("how", ["json", "msgpack", "form"])
@pytest.mark.parametrize(
    ("fields", "faces", "length", "models"),
    [
        ({}, 2, 512, [DET, REC]),
        ({"det_name": None, "rec_name": None}, 2, 512, [DET, REC]),
        ({"det_name": "constant_detector", "rec_name": "constant_embedder"}, 2, 512, [DET, REC]),
        ({"det_name": "one_face"}, 1, 512, [OTHER_DET, REC]),
        ({"rec_name": "three_long"}, 2, 3, [DET, OTHER_REC]),
        ({"det_name": "one_face", "rec_name": "three_long"}, 1, 3, [OTHER_DET, OTHER_REC]),
    ],
)
def test_a_request_is_answered_by_the_networks_it_names(
    client: Client, how: str, fields: dict[str, Any], faces: int, length: int, models: list[str]
) -> None:
    answer = ask(client, how, **fields)
    assert answer.status_code == 200, answer.text
    found = answer.json()["data"][0]["faces"]
    assert [len(face["vec"]) for face in found] == [length] * faces
    assert answer.headers["x-visage-models"] == ", ".join(models)
    assert answer.json()["models"] == dict(model.split("=") for model in models)


def test_what_one_request_names_is_nothing_to_the_next(client: Client) -> None:
    for _ in range(2):
        assert ask(client, "json", rec_name="three_long").headers["x-visage-models"] == f"{DET}, {OTHER_REC}"
        assert ask(client, "json").headers["x-visage-models"] == f"{DET}, {REC}"
        assert client.get("/health").headers["x-visage-models"] == f"{DET}, {REC}"


def test_crops_are_embedded_by_the_network_named(client: Client) -> None:
    crop = bytes(cv2.imencode(".png", np.zeros((112, 112, 3), np.uint8))[1])
    answer = extract(client, crop, embed_only=True, rec_name="three_long")
    assert answer["data"][0]["faces"][0]["vec"] == pytest.approx([0.6, 0.8, 0])
    assert answer["models"]["rec"] == OTHER_REC.split("=")[1]


@pytest.mark.parametrize("how", ["json", "msgpack", "form"])
@pytest.mark.parametrize(
    ("field", "name", "loaded"),
    [
        ("det_name", "yunet", "constant_detector, one_face"),
        ("det_name", "three_long", "constant_detector, one_face"),
        ("rec_name", "sface", "constant_embedder, three_long"),
        ("rec_name", "one_face", "constant_embedder, three_long"),
    ],
)
def test_a_network_that_is_not_loaded_is_refused_with_those_that_are(
    client: Client, how: str, field: str, name: str, loaded: str
) -> None:
    answer = ask(client, how, **{field: name})
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
    assert answer.json()["detail"] == [
        {
            "loc": ["body", field],
            "msg": f"No such network is loaded; loaded are: {loaded}",
            "type": "model_not_loaded",
            "input": name,
        }
    ]


@pytest.mark.parametrize("value", ["", "x" * 100_000, "a\nb", 7, "Constant_Detector", "constant_detector "])
def test_a_name_is_taken_as_it_is(client: Client, value: Any) -> None:
    (fault,) = ask(client, "json", det_name=value).json()["detail"]
    assert fault["loc"] == ["body", "det_name"] and len(fault["input"]) <= 201


@pytest.mark.parametrize("value", [["one_face"], {"a": 1}, True])
def test_a_name_is_a_text(client: Client, value: Any) -> None:
    answer = ask(client, "json", det_name=value)
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == ["body", "det_name"]


def test_with_no_recogniser_at_all_a_named_one_is_refused() -> None:
    with constant_client(runtime={"recognition": False}) as client:
        answer = ask(client, "json", rec_name="sface")
    assert answer.json()["detail"][0]["msg"] == "No such network is loaded; loaded are: none"


def test_without_a_default_a_named_recogniser_answers_and_is_told() -> None:
    with constant_client(runtime={"recognition": False, "embedders": {"three_long": ThreeLong()}}) as client:
        unnamed, named = ask(client, "json"), ask(client, "json", rec_name="three_long")
        info = client.get("/info").json()["visage"]
    assert unnamed.json()["models"] == dict([DET.split("=")])
    assert unnamed.json()["data"][0]["faces"][0]["vec"] is None
    assert unnamed.json()["data"][0]["warnings"] == [
        "extract_embedding was asked for, but no network for it is loaded (REC_NAME)"
    ]
    assert named.headers["x-visage-models"] == f"{DET}, {OTHER_REC}"
    assert len(named.json()["data"][0]["faces"][0]["vec"]) == 3 and "warnings" not in named.json()["data"][0]
    assert info["rec_names"] == ["three_long"] and "rec" not in info["loaded"]


@pytest.mark.parametrize("version", ["0.7", "0.9"])
def test_under_compat_names_are_honoured_and_no_key_is_added(version: str) -> None:
    with several(COMPAT_API=version) as client:
        answer = ask(client, "json", det_name="one_face", api_ver="2")
        refused = ask(client, "json", det_name="yunet")
    assert len(answer.json()["data"][0]["faces"]) == 1 and list(answer.json()) == ["took", "data"]
    assert answer.headers["x-visage-models"] == f"{OTHER_DET}, {REC}"
    assert refused.status_code == 422 and list(refused.json()) == ["detail"]
    assert refused.json()["detail"][0]["msg"].endswith("loaded are: constant_detector, one_face")


# drawing


def drawn(client: Client, how: str, **fields: Any) -> Any:
    png = {"accept": "image/png"}
    if how == "form":
        return client.post("/multipart/draw_detections", files={"file": ("a", PHOTO)}, data=fields, headers=png)
    return client.post("/draw_detections", json={"images": {"data": [GOOD]}, **fields}, headers=png)


@pytest.mark.parametrize("how", ["json", "form"])
@pytest.mark.parametrize(("name", "count"), [("constant_detector", 2), ("one_face", 1)])
def test_a_drawing_is_by_the_detector_named_and_says_so(client: Client, how: str, name: str, count: int) -> None:
    answer = drawn(client, how, det_name=name)
    assert answer.status_code == 200
    pixels = cv2.imdecode(np.frombuffer(PHOTO, np.uint8), cv2.IMREAD_COLOR)
    faces = [
        Face(i, ConstantDetector.boxes[i], float(ConstantDetector.scores[i]), ConstantDetector.landmarks[i])
        for i in range(count)
    ]
    expected = draw(np.asarray(pixels, np.uint8), ImageFaces(faces, 1.0, (640, 480)), DrawOptions(), name)
    assert np.array_equal(cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR), expected)
    assert answer.headers["x-visage-models"] == f"{DET if name == 'constant_detector' else OTHER_DET}, {REC}"


@pytest.mark.parametrize("how", ["json", "form"])
def test_a_drawing_by_a_detector_that_is_not_loaded_is_refused(client: Client, how: str) -> None:
    answer = drawn(client, how, det_name="yunet")
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
    assert answer.json()["detail"][0]["msg"].endswith("loaded are: constant_detector, one_face")


def test_a_drawing_has_no_recogniser_to_name(client: Client) -> None:
    assert drawn(client, "json", rec_name="none of them").status_code == 200  # an unknown field like any other


# what is told


def test_info_and_models_tell_what_may_be_named(client: Client) -> None:
    told = client.get("/info").json()["visage"]
    assert told["det_names"] == ["constant_detector", "one_face"]
    assert told["rec_names"] == ["constant_embedder", "three_long"]
    models = {model["name"]: model for model in client.get("/models").json()["models"]}
    assert {name: (m["loaded"], m["default"], m["in_memory"]) for name, m in models.items()} == {
        "constant_detector": (True, True, True),
        "one_face": (True, False, True),
        "constant_embedder": (True, True, True),
        "three_long": (True, False, True),
    }


def test_a_loaded_network_of_a_pack_is_among_the_models() -> None:
    with several() as client:
        runtime = state_of(client).runtime
        del runtime.catalogue.entries["one_face"]  # as it is for a pack's: known, but no entry of the catalogue's own
        models = {model["name"]: model for model in client.get("/models").json()["models"]}
    assert models["one_face"]["loaded"] and models["one_face"]["in_memory"]


def samples(client: Client, family: str) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    found = next(f for f in families if f.name == family)
    return {tuple(sample.labels[key] for key in sorted(sample.labels)): sample.value for sample in found.samples}


def test_metrics_know_each_network_and_no_stranger(client: Client) -> None:
    for name in ("no_such_1", "no_such_2"):
        ask(client, "json", det_name=name, rec_name=name)
    networks = {("constant_detector", "detection"), ("one_face", "detection")}
    networks |= {("constant_embedder", "embedding"), ("three_long", "embedding")}
    networks |= {("constant_ages", "gender_age"), ("constant_masks", "masks")}
    assert set(samples(client, "visage_queue_depth")) == networks
    assert set(samples(client, "visage_model_in_memory")) == networks
    assert {key[:2] for key in samples(client, "visage_model_info")} == {
        ("constant_detector", "det"),
        ("one_face", "det"),
        ("constant_embedder", "rec"),
        ("three_long", "rec"),
    }
    assert "no_such" not in client.get("/metrics").text


# idle


class Held(ConstantDetector):
    """Says when a run has begun, and ends it when it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.begun = threading.Event()

    def detect(self, images: ImageBatch, thresholds: Floats, /) -> list[Detections]:
        self.begun.set()
        assert self.let_go.wait(100)
        return super().detect(images, thresholds)


def in_memory(client: Client) -> dict[str, float]:
    return {name: value for (name, _), value in samples(client, "visage_model_in_memory").items()}


def test_idle_networks_are_unloaded_and_those_in_use_are_not() -> None:
    held = Held()
    environ = {"MODELS_IDLE_SECONDS": "0.1", "REQUEST_TIMEOUT": "300"}
    with constant_client(runtime={"detectors": {"held": held}}, **environ) as client:
        answers: list[Any] = []
        asking = threading.Thread(target=lambda: answers.append(ask(client, "json", det_name="held")))
        asking.start()
        assert held.begun.wait(30)
        wait_ready(lambda: in_memory(client)["constant_detector"] == in_memory(client)["constant_masks"] == 0)
        for _ in range(2):  # one that was idle again for as long was unloaded meanwhile, twice
            assert ask(client, "json").status_code == 200
            wait_ready(lambda: in_memory(client)["constant_detector"] == 0)
        now = in_memory(client)
        assert now["held"] == now["constant_embedder"] == 1 and now["constant_masks"] == 0
        models = {model["name"]: model for model in client.get("/models").json()["models"]}
        assert models["constant_detector"]["loaded"] and not models["constant_detector"]["in_memory"]
        assert client.get("/ready").status_code == 200  # what sleeps is ready all the same
        held.let_go.set()
        asking.join(60)
        assert answers[0].status_code == 200 and len(answers[0].json()["data"][0]["faces"]) == 2
        wait_ready(lambda: not any(in_memory(client).values()))
        assert len(extract(client, PHOTO)["data"][0]["faces"]) == 2


class SlowToOpen(ConstantDetector):
    """Can be opened when the gate is open, and not at all while it is broken; a stage reads `sizes` when it is made."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.broken = False
        self.opened = 0
        self.opening = threading.Event()

    @property
    def sizes(self) -> Sizes:  # type: ignore[override]
        self.opening.set()
        assert self.gate.wait(100)
        if self.broken:
            raise OSError("the disk is gone: /srv/secret")
        self.opened += 1
        return Sizes((640, 480))


def test_who_waits_for_a_network_waits_no_longer_than_it_wants_and_holds_up_nobody() -> None:
    slow = SlowToOpen()
    environ = {"MODELS_IDLE_SECONDS": "0.2", "REQUEST_TIMEOUT": "300"}
    with constant_client(runtime={"detectors": {"slow": slow}, "workers": 1}, **environ) as client:
        slot = state_of(client).runtime.service.rack._detection.slots["slow"]
        wait_ready(lambda: in_memory(client)["slow"] == 0)
        slow.gate.clear()
        slow.opening.clear()
        body = {"images": {"data": [GOOD]}, "det_name": "slow", "extract_embedding": False}
        with ThreadPoolExecutor(12) as pool:
            patient = [pool.submit(client.post, "/extract", json=body) for _ in range(5)]
            assert slow.opening.wait(30)
            wait_ready(lambda: slot._users == 5)  # who came later might find it asleep again
            hasty = [
                pool.submit(client.post, "/extract", json=body, headers={"x-request-timeout": "0.1"}) for _ in range(5)
            ]
            for one in hasty:
                refused = one.result(60)
                assert refused.status_code == 503 and int(refused.headers["retry-after"]) > 0
                assert refused.json()["type"] == "urn:visage:deadline-exceeded"
            assert client.get("/health").status_code == 200
            assert len(extract(client, PHOTO)["data"][0]["faces"]) == 2  # the only image thread is free
            assert not any(one.done() for one in patient)
            slow.gate.set()
            assert {one.result(60).status_code for one in patient} == {200}
        assert slow.opened == 2  # at the start, and once for all of them


def test_a_network_that_cannot_be_loaded_again_fails_those_who_need_it_until_it_can() -> None:
    slow = SlowToOpen()
    with constant_client(runtime={"detectors": {"slow": slow}}, MODELS_IDLE_SECONDS="0.2") as client:
        wait_ready(lambda: in_memory(client)["slow"] == 0)
        slow.broken = True
        for answer in (ask(client, "json", det_name="slow"), drawn(client, "json", det_name="slow")):
            assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
            assert answer.json()["type"] == "urn:visage:model-unavailable"
            assert answer.json()["detail"] == "slow could not be loaded again; the service's log says why"
        assert client.get("/ready").status_code == ask(client, "json").status_code == 200
        slow.broken = False
        assert ask(client, "json", det_name="slow").status_code == 200
        assert 'visage_failures_total{kind="model-unavailable"} 2.0' in client.get("/metrics").text
