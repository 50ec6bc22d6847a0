"""Enrolment: which pictures are good enough; persons and faces listed, changed, deleted."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.api.v1.test_faces import NOBODY, CountingEmbedder, Finds
from tests.galleries import MemoryStore, gallery_client
from tests.support import Client, ConstantEmbedder, b64
from tests.wire import TEXT
from visage.search.base import NewCollection

PERSONS = "/v1/collections/staff/persons"


def noisy(blue: int, seed: int, *, blurred: bool = False) -> bytes:
    """A picture with edges, PNG, whose first pixel's blue says how many faces `Finds` finds."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (480, 640, 3), np.uint8)
    pixels = (pixels * rng.uniform(0.1, 1, 3)).astype(np.uint8)
    if blurred:
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), 9), np.uint8)
    pixels[0, 0] = (blue, 0, 0)
    return bytes(cv2.imencode(".png", pixels)[1])


SHARP, OTHER, BLURRED, TWO = noisy(8, 1), noisy(8, 2), noisy(8, 3, blurred=True), noisy(200, 4)


class Contested(MemoryStore):
    """Another request gets in between: `meanwhile` is done once, right before the next enrolment or search."""

    meanwhile: Callable[[], object] | None = None

    def enrol(self, *given: Any, **more: Any) -> Any:
        self._let_others()
        return super().enrol(*given, **more)

    def search(self, *given: Any, **more: Any) -> Any:
        self._let_others()
        return super().search(*given, **more)

    def _let_others(self) -> None:
        work, self.meanwhile = self.meanwhile, None
        if work is not None:
            work()


@pytest.fixture
def store() -> Contested:
    return Contested()


@pytest.fixture
def client(tmp_path: Path, store: Contested) -> Iterator[Client]:
    runtime = {"embedder": CountingEmbedder(), "detector": Finds(), "embedders": {"other": ConstantEmbedder()}}
    with gallery_client(tmp_path / "d", store=store, runtime=runtime, SAME_THRESHOLD="0.4", KEEP_CROPS="1") as client:
        assert client.post("/v1/collections", json={"name": "staff"}).json()["model"]["dimension"] == 3
        yield client


def post(client: Client, path: str = PERSONS, status: int = 201, **body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_person_is_enrolled_from_pictures_and_vectors(client: Client) -> None:
    answer = client.post(
        PERSONS,
        json={
            "id": "ada",
            "name": "Ada",
            "metadata": {"city": "Oslo"},
            "images": [b64(SHARP), b64(TEXT), b64(NOBODY)],
            "vectors": [[1, 0, 0], [0, 1, 0]],
        },
    )
    assert answer.status_code == 201 and answer.headers["location"] == f"{PERSONS}/ada"
    told = answer.json()
    assert told["person"] == client.get(answer.headers["location"]).json()
    assert (told["person"]["name"], told["person"]["metadata"], told["person"]["faces"]) == ("Ada", {"city": "Oslo"}, 3)
    assert [one["status"] for one in told["images"]] == ["enrolled", "failed", "refused"] and told["vectors"] == 2
    enrolled, failed, refused = told["images"]
    assert enrolled["face"]["person"] == "ada" and enrolled["face"]["has_crop"] is True
    assert {"score", "size", "sharpness", "yaw", "pitch", "roll", "box", "width"} < set(enrolled["face"]["about"])
    assert failed["error"]["type"] == "urn:visage:image-undecodable"
    assert refused["reasons"] == ["no face was found"]
    assert refused["causes"] == [{"kind": "no-face", "value": None, "limit": None}]
    assert enrolled["reasons"] == enrolled["causes"] == failed["causes"] == []


def test_a_crop_can_be_looked_at(client: Client) -> None:
    told = post(client, id="ada", images=[b64(SHARP)], vectors=[[1, 0, 0]])
    face = told["images"][0]["face"]["id"]
    crop = client.get(f"{PERSONS}/ada/faces/{face}/crop")
    assert crop.headers["content-type"] == "image/png"
    pixels = cv2.imdecode(np.frombuffer(crop.content, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None and pixels.shape == (112, 112, 3)
    faces = client.get(f"{PERSONS}/ada/faces").json()["items"]
    [bare] = [one["id"] for one in faces if not one["has_crop"]]
    assert client.get(f"{PERSONS}/ada/faces/{bare}/crop").json()["type"] == "urn:visage:face-missing"


def test_one_face_is_told_of_the_person_who_has_it_and_of_nobody_else(client: Client) -> None:
    face = post(client, id="ada", images=[b64(SHARP)])["images"][0]["face"]
    post(client, id="bob", vectors=[[1, 0, 0]])
    assert client.get(f"{PERSONS}/ada/faces/{face['id']}").json() == face
    for person, one, missing in (("bob", face["id"], "face"), ("ada", "none", "face"), ("eve", face["id"], "person")):
        answer = client.get(f"{PERSONS}/{person}/faces/{one}")
        assert (answer.status_code, answer.json()["type"]) == (404, f"urn:visage:{missing}-missing")


def test_no_crop_is_kept_unless_the_operator_says_so(tmp_path: Path) -> None:
    with gallery_client(tmp_path / "d", runtime={"detector": Finds()}) as client:
        client.post("/v1/collections", json={"name": "staff"})
        face = post(client, id="a", images=[b64(SHARP)])["images"][0]["face"]
        assert face["has_crop"] is False
        assert client.get(f"{PERSONS}/a/faces/{face['id']}/crop").status_code == 404


def test_pictures_that_are_not_good_enough_are_refused(client: Client) -> None:
    told = post(client, images=[b64(BLURRED), b64(TWO), b64(SHARP)])
    blurred, two, sharp = told["images"]
    assert blurred["status"] == "refused" and "sharpness" in blurred["reasons"][0]
    (cause,) = blurred["causes"]
    assert cause["kind"] == "sharpness" and cause["value"] < cause["limit"] == 20
    assert two["status"] == "refused" and "2 faces" in two["reasons"][0]
    assert two["causes"][0] == {"kind": "several-faces", "value": 2, "limit": 1}
    assert sharp["status"] == "enrolled"
    largest = post(client, images=[b64(TWO)], faces="largest")
    assert largest["images"][0]["face"]["about"]["box"] == [100, 100, 200.7, 230]
    assert post(client, images=[b64(BLURRED)], quality="off")["images"][0]["status"] == "enrolled"


def test_where_every_picture_is_refused_nobody_is_enrolled(client: Client) -> None:
    problem = post(client, status=422, id="ada", images=[b64(BLURRED), b64(TEXT)])
    assert problem["type"] == "urn:visage:nothing-enrolled"
    assert [one["status"] for one in problem["images"]] == ["refused", "failed"]
    assert client.get(f"{PERSONS}/ada").json()["type"] == "urn:visage:person-missing"
    assert post(client, id="ada")["person"]["faces"] == 0  # nothing given is no refusal
    assert post(client, f"{PERSONS}/ada/faces", 422)["type"] == "urn:visage:validation"


def test_near_duplicates_are_told(client: Client) -> None:
    first = post(client, id="ada", images=[b64(SHARP), b64(SHARP)])["images"]
    assert "near_duplicate" not in first[0]
    assert first[1]["near_duplicate"]["face"] == first[0]["face"]["id"]
    assert first[1]["near_duplicate"]["person"] == "ada"
    second = post(client, id="bob", images=[b64(SHARP)])["images"][0]
    assert second["status"] == "enrolled" and second["near_duplicate"]["person"] == "ada"
    assert second["near_duplicate"]["similarity"] == pytest.approx(1, abs=1e-5)


def test_an_id_that_is_taken_is_refused_and_more_faces_are_welcome(client: Client) -> None:
    post(client, id="ada", vectors=[[1, 0, 0]])
    assert post(client, status=409, id="ada", vectors=[[1, 0, 0]])["type"] == "urn:visage:already-there"
    more = post(client, f"{PERSONS}/ada/faces", vectors=[[0, 1, 0]], images=[b64(OTHER)])
    assert more["person"]["faces"] == 3 and more["person"]["id"] == "ada"
    assert post(client, f"{PERSONS}/bob/faces", 404, vectors=[[1, 0, 0]])["type"] == "urn:visage:person-missing"


def test_of_two_requests_for_one_id_the_later_is_refused(client: Client, store: Contested) -> None:
    """Both find the id free; while the pictures of one are looked at, the other writes."""
    store.meanwhile = lambda: post(client, id="dup", name="Bob", vectors=[[0, 1, 0], [0, 0, 1]])
    problem = post(client, status=409, id="dup", name="Alice", images=[b64(SHARP), b64(OTHER)])
    assert problem["type"] == "urn:visage:already-there"
    person = client.get(f"{PERSONS}/dup").json()
    assert (person["name"], person["faces"]) == ("Bob", 2)


def test_who_is_deleted_while_their_pictures_are_looked_at_does_not_come_back(client: Client, store: Contested) -> None:
    post(client, id="gone", name="Gone", vectors=[[1, 0, 0]])
    store.meanwhile = lambda: client.delete(f"{PERSONS}/gone")
    problem = post(client, f"{PERSONS}/gone/faces", 404, images=[b64(SHARP)])
    assert problem["type"] == "urn:visage:person-missing"
    assert client.get(f"{PERSONS}/gone").status_code == 404 and store.collection("staff").faces == 0


def test_vectors_do_not_get_into_a_collection_that_is_another_networks_by_now(client: Client, store: Contested) -> None:
    def anew() -> None:
        old = store.collection("staff")
        store.drop("staff")
        store.create(NewCollection("staff", replace(old.recogniser, name="another")))

    vector = {"vectors": [[1, 0, 0]]}
    row = b'{"id": "a", "vectors": [[1, 0, 0]]}\n{"id": "b", "vectors": [[0, 1, 0]]}\n'
    bulk = "/v1/collections/staff/bulk"
    calls = [
        lambda: client.post(PERSONS, json=vector),
        lambda: client.post(PERSONS, json={"images": [b64(SHARP)]}),
        lambda: client.post("/v1/collections/staff/search", json=vector),
        lambda: client.post(bulk, content=row, headers={"Content-Type": "application/x-ndjson"}),
    ]
    for call in calls:
        store.drop("staff")
        assert client.post("/v1/collections", json={"name": "staff"}).status_code == 201
        store.meanwhile = anew
        assert call().text.count("urn:visage:embedding-mismatch") == (2 if call is calls[-1] else 1)
        assert store.persons("staff") == []


def test_vectors_of_another_recogniser_are_refused(client: Client, store: MemoryStore) -> None:
    assert post(client, status=409, id="a", vectors=[[1, 0]])["type"] == "urn:visage:embedding-mismatch"
    problem = post(client, status=409, id="a", images=[b64(SHARP)], rec_name="other")
    assert problem["type"] == "urn:visage:embedding-mismatch" and "constant_embedder" in problem["detail"]
    assert store.persons("staff") == []


@pytest.mark.parametrize("body", [{"id": "a b"}, {"id": "-a"}, {"quality": "best"}, {"vectors": [[]]}, {"images": [1]}])
def test_what_no_person_can_be_is_refused(client: Client, body: dict[str, Any]) -> None:
    assert post(client, status=422, **body)["type"] == "urn:visage:validation"


def test_a_picture_may_be_the_body(client: Client) -> None:
    answer = client.post(
        PERSONS,
        params={"id": "ada", "name": "Ada", "metadata": '{"city": "Oslo"}'},
        content=SHARP,
        headers={"Content-Type": "image/png"},
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["person"]["metadata"] == {"city": "Oslo"}
    more = client.post(f"{PERSONS}/ada/faces", content=OTHER, headers={"Content-Type": "image/png"})
    assert more.json()["person"]["faces"] == 2


def test_persons_are_listed_changed_and_deleted(client: Client) -> None:
    for i, city in enumerate(["Oslo", "Rome", "Oslo"]):
        post(client, id=f"p{i}", metadata={"city": city, "age": 20 + i}, vectors=[[1, i, 0]])
    page = client.get(PERSONS, params={"limit": 2}).json()
    assert [one["id"] for one in page["items"]] == ["p0", "p1"]
    rest = client.get(PERSONS, params={"limit": 2, "cursor": page["next"]}).json()
    assert [one["id"] for one in rest["items"]] == ["p2"] and rest["next"] is None
    oslo = client.get(PERSONS, params={"where": '{"city": "Oslo", "age": {"gt": 20}}'}).json()
    assert [one["id"] for one in oslo["items"]] == ["p2"]
    assert client.get(PERSONS, params={"where": "{"}).status_code == 422
    changed = client.patch(f"{PERSONS}/p0", json={"name": "Zoe"}).json()
    assert changed["name"] == "Zoe" and changed["metadata"]["city"] == "Oslo"
    assert client.delete(f"{PERSONS}/p0").status_code == 204
    assert client.get(f"{PERSONS}/p0").status_code == 404 and client.delete(f"{PERSONS}/p0").status_code == 404


def test_a_face_is_deleted_of_its_own_person_only(client: Client) -> None:
    post(client, id="ada", vectors=[[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    post(client, id="bob", vectors=[[1, 1, 0]])
    page = client.get(f"{PERSONS}/ada/faces", params={"limit": 2}).json()
    assert len(page["items"]) == 2 and page["next"]
    face = page["items"][0]["id"]
    assert client.delete(f"{PERSONS}/bob/faces/{face}").json()["type"] == "urn:visage:face-missing"
    assert client.delete(f"{PERSONS}/ada/faces/{face}").status_code == 204
    assert client.get(f"{PERSONS}/ada").json()["faces"] == 2
