"""Search: known and unknown, by pictures and by vectors, among those who are meant."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.v1.test_faces import NOBODY, CountingEmbedder, Finds
from tests.api.v1.test_persons import OTHER, PERSONS, SHARP, TWO
from tests.galleries import gallery_client
from tests.support import Client, b64
from tests.wire import TEXT

SEARCH = "/v1/collections/staff/search"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    runtime = {"embedder": CountingEmbedder(), "detector": Finds()}
    with gallery_client(tmp_path / "d", runtime=runtime, SAME_THRESHOLD="0.9") as client:
        client.post("/v1/collections", json={"name": "staff"})
        for name, city, vectors in (
            ("x", "Oslo", [[1, 0, 0], [1, 0.1, 0]]),
            ("y", "Rome", [[0, 1, 0]]),
            ("xy", "Rome", [[1, 1, 0]]),
        ):
            body = {"id": name, "metadata": {"city": city}, "vectors": vectors}
            assert client.post(PERSONS, json=body).status_code == 201
        yield client


def search(client: Client, status: int = 200, **body: Any) -> Any:
    answer = client.post(SEARCH, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def found(probe: Any) -> list[str]:
    return [match["person"]["id"] for match in probe["matches"]]


def test_vectors_find_the_nearest_persons(client: Client) -> None:
    answer = search(client, vectors=[[1, 0, 0], [0, 0, 1]])
    known, unknown = answer["probes"]
    assert known["verdict"] == "known" and found(known) == ["x"] and known["vector"] == 0
    assert known["matches"][0]["similarity"] == pytest.approx(1, abs=1e-5)
    assert known["image"] is None and known["face"] is None and known["status"] == "ok"
    assert unknown["verdict"] == "unknown" and unknown["matches"] == []
    assert (answer["threshold"], answer["threshold_from"]) == (0.9, "settings")


def test_matches_below_the_threshold_are_told_where_asked(client: Client) -> None:
    [probe] = search(client, vectors=[[0, 0.1, 1]], below=True)["probes"]
    assert probe["verdict"] == "unknown" and len(probe["matches"]) == 3
    [probe] = search(client, vectors=[[1, 0, 0]], threshold=0.7)["probes"]
    assert found(probe) == ["x", "xy"]
    [probe] = search(client, vectors=[[1, 0, 0]], below=True, top=1)["probes"]
    assert probe["verdict"] == "known" and found(probe) == ["x"]


def test_faces_are_each_for_themselves(client: Client) -> None:
    [probe] = search(client, vectors=[[1, 0, 0]], by="faces")["probes"]
    assert found(probe) == ["x", "x"] and probe["matches"][0]["similarity"] > probe["matches"][1]["similarity"]


def test_only_those_who_are_meant(client: Client) -> None:
    [probe] = search(client, vectors=[[1, 0, 0]], threshold=0, where={"city": "Rome"})["probes"]
    assert found(probe) == ["xy", "y"]


def test_every_face_of_every_picture_is_a_probe(client: Client) -> None:
    enrolled = client.post(PERSONS, json={"id": "sharp", "images": [b64(SHARP)]})
    assert enrolled.status_code == 201
    answer = search(client, images=[b64(TWO), b64(TEXT), b64(NOBODY), b64(SHARP)], threshold=0.9999)
    assert [probe["image"] for probe in answer["probes"]] == [0, 0, 1, 3]
    large, small, failed, own = answer["probes"]
    assert large["face"]["size"] > small["face"]["size"] and "landmarks" in large["face"]
    assert failed["status"] == "failed" and failed["error"]["type"] == "urn:visage:image-undecodable"
    assert failed["face"] is None and failed["matches"] == []
    assert found(own)[0] == "sharp" and own["verdict"] == "known"
    assert set(answer["models"]) == {"det", "rec"} and answer["took_ms"] > 0
    limited = search(client, images=[b64(TWO)], limit=1)["probes"]
    assert len(limited) == 1 and limited[0]["face"]["box"] == large["face"]["box"]


def test_a_picture_may_be_the_body(client: Client) -> None:
    answer = client.post(f"{SEARCH}?top=1&below=true", content=OTHER, headers={"Content-Type": "image/png"})
    [probe] = answer.json()["probes"]
    assert len(probe["matches"]) == 1


def test_what_cannot_be_searched_for(client: Client) -> None:
    assert search(client, 422)["type"] == "urn:visage:validation"
    assert search(client, 409, vectors=[[1, 0]])["type"] == "urn:visage:embedding-mismatch"
    assert search(client, 422, images=[b64(SHARP)], rec_name="absent")["type"] == "urn:visage:validation"
    assert search(client, 422, vectors=[[1, 0, 0]], top=0)["type"] == "urn:visage:validation"
    assert search(client, 422, vectors=[[1, 0, 0]] * 1001)["type"] == "urn:visage:validation"


def test_the_answer_of_one_search_is_bounded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = search(client, 422, vectors=[[1, 0, 0]] * 101, top=1000)
    assert "101 probes × top 1000" in problem["detail"] and "smaller top" in problem["detail"]
    assert len(search(client, vectors=[[1, 0, 0]] * 100, top=1000)["probes"]) == 100
    monkeypatch.setattr("visage.api.v1.search._MOST_MATCHES", 7)
    assert len(search(client, images=[b64(TWO), b64(SHARP)], top=2)["probes"]) == 3
    assert "3 probes × top 3" in search(client, 422, images=[b64(TWO), b64(SHARP)], top=3)["detail"]
    monkeypatch.setattr("visage.api.v1.search._MOST_PROBES", 2)
    assert "limit" in search(client, 422, images=[b64(TWO), b64(SHARP)], top=1)["detail"]


def test_metadata_may_not_fill_the_memory(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.patch(f"{PERSONS}/x", json={"metadata": {"story": "y" * 60_000}}).status_code == 200
    probes = [[1, 0, 0]] * 20
    assert len(search(client, vectors=probes)["probes"]) == 20
    monkeypatch.setattr("visage.api.v1.search._MOST_BYTES", 1_000_000)
    assert "bytes of metadata" in search(client, 422, vectors=probes)["detail"]
    assert len(search(client, vectors=probes[:16])["probes"]) == 16


def test_many_probes_are_searched_for_in_parts(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = [[1, 0, 0], [0, 1, 0], [1, 1, 0]]
    whole = search(client, vectors=vectors, top=2)["probes"]
    monkeypatch.setattr("visage.api.v1.search._AT_ONCE", 1)
    assert search(client, vectors=vectors, top=2)["probes"] == whole
    assert [found(probe)[0] for probe in whole] == ["x", "y", "xy"]
