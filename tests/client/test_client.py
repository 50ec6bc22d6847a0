"""Every call, in both forms, against a service that keeps what it is given."""

import io
import json
from array import array
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.client.fake import BLURRED, BROKEN, EMPTY, MODELS, PNG, Fake, embedding
from visage_client import (
    BadAnswer,
    Cause,
    Client,
    Conflict,
    Forbidden,
    Invalid,
    NoFace,
    NotFound,
    NothingEnrolled,
    Remote,
    TooLarge,
    Unauthorised,
    VisageError,
    dot,
)

Connect = Callable[..., Client]


# --- Pictures and what is found in them


def test_faces_come_as_values(client: Client) -> None:
    found = client.detect([b"one", BROKEN, EMPTY], threshold=0.5, max_size=(640, 480), crops=False)
    assert [image.status for image in found.images] == ["ok", "failed", "ok"]
    (face,) = found.images[0].faces
    assert (face.box, face.score, face.landmarks, face.embedding) == ((1, 2, 41, 52.5), 0.9, ((1, 2.5),) * 5, None)
    assert face.quality is not None and (face.quality.sharpness, face.quality.verdict) == (120, "good")
    assert found.images[1].error is not None and found.images[1].error.type == "urn:visage:image-undecodable"
    assert (found.images[2].faces, found.models, found.took_ms) == ((), MODELS, 1.5)


def test_embeddings_are_float32_whatever_the_form(client: Client) -> None:
    found = client.embeddings([b"one", b"two"])
    vectors = [image.faces[0].embedding for image in found.images]
    assert vectors == [array("f", embedding(b"one")), array("f", embedding(b"two"))]
    assert np.asarray(vectors[0]).dtype == np.float32


def test_one_picture_is_the_body_and_its_fields_the_query(client: Client, fake: Fake) -> None:
    client.embeddings(b"\xff\xd8 one", threshold=0.5, max_size=(640, 480), landmarks=False)
    (seen,) = fake.seen
    assert (seen.body, seen.headers["content-type"]) == (b"\xff\xd8 one", "image/jpeg")
    wanted = {"threshold": "0.5", "max_size": "640,480", "landmarks": "false"}
    assert {name: seen.query[name] for name in wanted} == wanted


def test_several_pictures_are_one_body_in_the_form_asked_for(connect: Connect, fake: Fake) -> None:
    connect().detect([b"one", b"two"], limit=3)
    assert fake.seen[0].headers["content-type"] == "application/msgpack"
    assert fake.seen[0].body == {"images": [b"one", b"two"], "limit": 3}
    connect(form="json").detect([b"one", b"two"])
    assert fake.seen[1].headers["content-type"] == "application/json"
    assert fake.seen[1].body == {"images": ["b25l", "dHdv"]}


def test_pictures_are_taken_as_they_are_at_hand(client: Client, fake: Fake, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"file")
    with path.open("rb") as opened:
        same = [path, str(path), b"file", bytearray(b"file"), memoryview(b"file"), io.BytesIO(b"file"), opened]
        found = client.embeddings([*same, "https://example.org/a.jpg", Remote("below/root.jpg")])
    vectors = [image.faces[0].embedding for image in found.images]
    assert vectors[:7] == [array("f", embedding(b"file"))] * 7
    assert fake.seen[0].body["images"][7:] == [{"url": "https://example.org/a.jpg"}, {"url": "below/root.jpg"}]


def test_a_file_that_is_not_there_or_is_text_is_told_before_anything_is_sent(client: Client, fake: Fake) -> None:
    with pytest.raises(FileNotFoundError):
        client.detect("absent.jpg")
    with pytest.raises(TypeError, match="binary"):
        client.detect(io.StringIO("text"))  # type: ignore[arg-type]
    assert not fake.seen


@pytest.mark.parametrize(
    "vector",
    [
        embedding(b"one"),
        array("d", embedding(b"one")),
        memoryview(array("f", embedding(b"one"))),
        np.array(embedding(b"one"), np.float32),
        np.array(embedding(b"one"), np.float64),
    ],
    ids=["list", "array", "memoryview", "float32", "float64"],
)
def test_two_are_compared_be_they_pictures_or_vectors(client: Client, vector: Any) -> None:
    compared = client.compare(b"one", vector)
    assert (compared.similarity, compared.same, compared.threshold_from) == (1, True, "catalogue")
    assert (compared.a.kind, compared.a.why, compared.b.kind, compared.b.box) == (
        "image",
        "the only face",
        "vector",
        None,
    )
    assert client.compare(vector, [-one for one in embedding(b"one")], threshold=-0.5).same is False


def test_a_picture_without_a_face_is_named(client: Client) -> None:
    with pytest.raises(NoFace) as raised:
        client.compare(b"one", EMPTY)
    error = raised.value
    assert (error.side, error.status, error.kind, error.request_id) == ("b", 422, "no-face", "r1")


# --- Collections, persons, faces


def test_a_collection_from_its_making_to_its_end(client: Client) -> None:
    made = client.create_collection("staff", precision="int8", description="Who may come in", metadata={"floor": 2})
    assert (made.name, made.precision, made.index, made.model.dimension, made.persons) == (
        "staff",
        "int8",
        "exact",
        4,
        0,
    )
    assert made.created == datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
    with pytest.raises(Conflict, match="409: There is a collection 'staff' already"):
        client.create_collection("staff")
    assert client.change_collection("staff", metadata={"floor": 3}).metadata == {"floor": 3}
    assert client.collection("staff").description == "Who may come in"
    client.compact("staff")
    client.delete_collection("staff")
    with pytest.raises(NotFound) as raised:
        client.collection("staff")
    assert raised.value.kind == "collection-missing"


def test_a_person_from_enrolment_to_deletion(client: Client) -> None:
    client.create_collection("staff")
    enrolled = client.enrol("staff", id="grace", name="Grace", metadata={"city": "NY"}, images=[b"one", BLURRED])
    assert (enrolled.person.id, enrolled.person.faces, enrolled.vectors) == ("grace", 1, 0)
    assert [(image.status, image.reasons) for image in enrolled.images] == [
        ("enrolled", ()),
        ("refused", ("sharpness 3 is below 30",)),
    ]
    assert [image.causes for image in enrolled.images] == [(), (Cause("sharpness", 3, 30),)]
    more = client.add_faces("staff", "grace", images=b"two", vectors=[[1, 0, 0, 0], np.eye(4)[1]], faces="largest")
    assert (more.person.faces, more.vectors) == (4, 2)
    assert client.person("staff", "grace").metadata == {"city": "NY"}
    assert client.change_person("staff", "grace", name="Grace Hopper").name == "Grace Hopper"
    faces = list(client.faces("staff", "grace", page_size=3))
    assert len(faces) == 4 and {face.person for face in faces} == {"grace"}
    assert client.face("staff", "grace", faces[0].id) == faces[0]
    assert client.crop("staff", "grace", faces[0].id) == PNG
    client.delete_face("staff", "grace", faces[0].id)
    assert client.person("staff", "grace").faces == 3
    client.delete_person("staff", "grace")
    with pytest.raises(NotFound):
        client.person("staff", "grace")


def test_where_every_picture_is_refused_it_is_said_why(client: Client) -> None:
    client.create_collection("staff")
    with pytest.raises(NothingEnrolled) as raised:
        client.enrol("staff", images=BLURRED)
    assert raised.value.problem["images"][0]["reasons"] == ["sharpness 3 is below 30"]


def test_lists_come_page_by_page_as_they_are_read(client: Client, fake: Fake) -> None:
    client.create_collection("staff")
    for i in range(5):
        client.enrol("staff", id=f"p{i}", metadata={"even": i % 2 == 0}, vectors=[[1, 0, 0, 0]])
    fake.seen.clear()
    persons = client.persons("staff", page_size=2)
    assert not fake.seen
    assert next(persons).id == "p0"
    assert len(fake.seen) == 1
    assert [person.id for person in persons] == ["p1", "p2", "p3", "p4"]
    assert [seen.query.get("cursor") for seen in fake.seen] == [None, "2", "4"]
    assert [person.id for person in client.persons("staff", where={"even": True})] == ["p0", "p2", "p4"]
    assert [one.name for one in client.collections()] == ["staff"]


def test_who_is_this(client: Client) -> None:
    client.create_collection("staff")
    client.enrol("staff", id="grace", images=b"one")
    found = client.search("staff", images=[b"one", b"three"], vectors=[embedding(b"one")], top=1, threshold=0.9)
    assert [(probe.image, probe.vector, probe.verdict) for probe in found.probes] == [
        (0, None, "known"),
        (1, None, "unknown"),
        (None, 0, "known"),
    ]
    (match,) = found.probes[0].matches
    assert (match.person.id, match.similarity, match.face.person) == ("grace", 1, "grace")
    assert found.probes[0].face is not None and found.probes[2].face is None
    assert client.search("staff", images=b"one").probes[0].verdict == "known"


def test_an_export_is_what_was_enrolled(client: Client) -> None:
    client.create_collection("staff")
    client.enrol("staff", id="grace", images=[b"one", b"two"])
    rows = list(client.export("staff"))
    assert [row.vector for row in rows] == [array("f", embedding(b"one")), array("f", embedding(b"two"))]
    assert {row.person.id for row in rows} == {"grace"}
    assert [row.vector for row in client.export("staff", vectors=False)] == [None, None]
    with pytest.raises(NotFound):
        next(client.export("nobody"))


def test_names_are_one_segment_of_the_path(client: Client, fake: Fake) -> None:
    with pytest.raises(NotFound):
        client.collection("../info?x=1#")
    assert fake.seen[0].path == "/v1/collections/..%2Finfo%3Fx%3D1%23"


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_what_would_name_something_else_is_not_sent(client: Client, fake: Fake, name: str) -> None:
    """httpx takes these segments out: a person ".." would be the collection, a face ".." the person."""
    for ask in (
        lambda: client.delete_collection(name),
        lambda: client.delete_person("staff", name),
        lambda: client.delete_person(name, "grace"),
        lambda: client.delete_face("staff", "grace", name),
        lambda: client.change_person("staff", name, name="x"),
    ):
        with pytest.raises(ValueError, match="names no"):
            ask()
    assert fake.seen == []


def test_names_may_hold_what_other_programs_take_for_the_end_of_a_line(client: Client) -> None:
    name = "a\u2028b\u0085c\u2029d\x0be"
    client.create_collection("staff")
    client.enrol("staff", id="grace", name=name, images=[b"one"])
    assert [row.person.name for row in client.export("staff")] == [name]


def test_a_long_filter_goes_into_the_body(client: Client, fake: Fake) -> None:
    client.create_collection("staff")
    client.search("staff", images=b"one", where={"city": "Oslo"})
    client.search("staff", images=b"one", where={"city": {"in": ["Oslo"] * 2000}})
    short, long = fake.seen[-2:]
    assert short.query["where"] and isinstance(short.body, bytes)
    assert not long.query and long.body["where"] == {"city": {"in": ["Oslo"] * 2000}} and len(long.body["images"]) == 1


# --- The compatible routes and the service itself


def test_the_compatible_routes(client: Client, fake: Fake) -> None:
    found = client.extract([b"one", BROKEN], return_face_data=True, limit_faces=0)
    (face,) = found.data[0].faces
    assert (face.bbox, face.prob, face.gender, face.facedata) == ((1, 2, 41, 52), 0.9, None, b"jpeg")
    assert face.vec == array("f", embedding(b"one"))
    assert face.mask_probs is not None and face.mask_probs.no_mask == 0.9
    assert (found.data[1].status, found.data[1].traceback) == ("failed", "Can't decode file")
    assert fake.seen[0].body["limit_faces"] == 0 and "threshold" not in fake.seen[0].body
    client.extract(Remote("a.jpg"), img_req_headers={"X": "y"})
    assert fake.seen[1].body["images"] == {"urls": ["a.jpg"]}
    assert fake.seen[1].body["img_req_headers"] == {"X": "y"}
    client.extract(b"one")
    assert fake.seen[2].body == b"one"
    client.extract(b"one", bare=False)
    assert list(fake.seen[3].body["images"]) == ["data"]
    with pytest.raises(ValueError, match="not both"):
        client.extract([b"one", Remote("a.jpg")])


@pytest.mark.parametrize(
    ("body", "statuses", "faces"),
    [
        ([[{"bbox": [1, 2, 3, 4], "det": 0}]], ["ok"], [1]),
        ({"took_ms": 1, "status": "ok", "data": [{"vec": [1.0], "status": "ok"}]}, ["ok"], [1]),
        ({"data": [{"status": "failed", "traceback": "no"}], "status": "ok"}, ["failed"], [0]),
    ],
    ids=["0.7", "0.9.0 crops", "0.9.0 failed crop"],
)
def test_answers_of_earlier_services_are_understood(
    connect: Connect, fake: Fake, body: Any, statuses: list[str], faces: list[int]
) -> None:
    fake.before = [httpx.Response(200, json=body)]
    found = connect().extract(b"one")
    assert [image.status for image in found.data] == statuses
    assert [len(image.faces) for image in found.data] == faces


def test_a_drawn_picture_and_what_the_service_says_of_itself(client: Client, fake: Fake) -> None:
    assert client.draw_detections(b"one", draw_scores=False) == b"drawn"
    assert client.draw_detections(b"one", png=True) == b"drawn"
    assert [seen.headers["accept"] for seen in fake.seen] == ["image/jpeg", "image/png"]
    info = client.info()
    assert (info.version, info.models["det_name"], info.visage) == ("0.1.0", "yunet", {"ready": True})
    (network,) = client.models()
    assert (network.name, network.threshold, network.loaded) == ("sface", 0.363, True)
    client.ready()


# --- How it is spoken to, and what goes wrong


def test_a_key_is_shown(connect: Connect, fake: Fake) -> None:
    connect(key="vk_x", headers={"X-Team": "doors"}).info()
    assert (fake.seen[0].headers["authorization"], fake.seen[0].headers["x-team"]) == ("Bearer vk_x", "doors")
    connect().info()
    assert "authorization" not in fake.seen[1].headers


def test_each_write_has_an_idempotency_key_of_its_own_and_reads_have_none(client: Client, fake: Fake) -> None:
    client.create_collection("staff")
    client.enrol("staff", id="p", vectors=[[1, 0, 0, 0]])
    client.add_faces("staff", "p", vectors=[[1, 0, 0, 0]])
    client.change_person("staff", "p", name="P")
    client.change_collection("staff", description="d")
    client.delete_person("staff", "p")
    client.delete_collection("staff")
    keys = [seen.headers["idempotency-key"] for seen in fake.seen]
    assert len(set(keys)) == 7
    fake.seen.clear()
    client.detect(b"one")
    client.info()
    assert not any("idempotency-key" in seen.headers for seen in fake.seen)


@pytest.mark.parametrize(
    ("status", "kind"), [(401, Unauthorised), (403, Forbidden), (404, NotFound), (413, TooLarge), (422, Invalid)]
)
def test_a_refusal_is_an_error_of_its_status(
    connect: Connect, fake: Fake, status: int, kind: type[VisageError]
) -> None:
    problem = {"type": "urn:visage:x-y", "title": "X", "status": status, "detail": "because", "more": 1}
    fake.before = [httpx.Response(status, json=problem, headers={"X-Request-Id": "r7"})]
    with pytest.raises(kind) as raised:
        connect().info()
    error = raised.value
    assert (str(error), error.detail, error.title, error.kind) == (f"{status}: because", "because", "X", "x-y")
    assert (error.status, error.request_id, error.problem["more"]) == (status, "r7", 1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            json.dumps({"detail": [{"loc": ["body", "top"], "msg": "too many"}, {"msg": "no"}]}),
            "body.top: too many; no",
        ),
        ("<html>Bad\nGateway", "Bad Gateway"),
        ("", "Bad Gateway"),
        ("[]", "Bad Gateway"),
    ],
)
def test_a_refusal_is_one_line_whatever_it_holds(connect: Connect, fake: Fake, content: str, said: str) -> None:
    fake.before = [httpx.Response(502, text=content)]
    with pytest.raises(VisageError) as raised:
        connect().info()
    assert str(raised.value) == f"502: {said}"


@pytest.mark.parametrize("content", ["hello", "[]", "{}", '{"version": "1", "models": []}', "null"])
def test_what_is_no_visage_is_a_bad_answer(connect: Connect, fake: Fake, content: str) -> None:
    fake.before = [httpx.Response(200, text=content, headers={"Content-Type": "application/json"})] * 3
    with pytest.raises(BadAnswer, match="no visage"):
        connect().info()
    with pytest.raises(BadAnswer):
        connect().extract(b"one")
    with pytest.raises(BadAnswer):
        list(connect().collections())


def test_a_redirect_is_not_followed_since_a_key_goes_to_one_place_only(connect: Connect, fake: Fake) -> None:
    fake.before = [httpx.Response(307, headers={"Location": "http://elsewhere/"})]
    with pytest.raises(VisageError, match="307"):
        connect(key="vk_x").info()
    assert len(fake.seen) == 1


@pytest.mark.parametrize("url", ["http://[::", "ftp://example.org", "http://", "file:///etc/passwd"])
def test_what_is_no_address_is_told_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="address"):
        Client(url)


def test_a_prefix_of_a_proxy_stays(fake: Fake) -> None:
    with Client("example.org/faces/", transport=httpx.MockTransport(fake)) as client, pytest.raises(NotFound):
        client.info()
    assert fake.seen[0].path == "/faces/info"


def test_the_cosine_of_unit_vectors_is_their_dot_product() -> None:
    assert dot(array("f", [0.6, 0.8]), [0.6, 0.8]) == pytest.approx(1)
    with pytest.raises(ValueError, match="zip"):
        dot([1], [1, 0])
