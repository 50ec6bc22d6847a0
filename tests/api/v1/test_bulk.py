"""Many persons in and out, in streams."""

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from tests.galleries import MemoryStore, gallery_client
from tests.support import Client, ConstantEmbedder, constant_runtime, settings_of
from tests.wire import called, opened
from visage.api.app import create_app
from visage.api.galleries import Galleries
from visage.api.idempotency import Ids
from visage.api.stopping import Stopping
from visage.api.v1.intake import Intake, Write, _face_id
from visage.api.v1.rows import Rows
from visage.api.v1.spool import Spool
from visage.errors import SearchError, StoreUnavailable
from visage.search.base import NewCollection, Recogniser
from visage.search.embedded.store import EmbeddedStore

BULK = "/v1/collections/staff/bulk"
NDJSON = {"Content-Type": "application/x-ndjson"}
PACKED = {"Content-Type": "application/x-msgpack"}


class Threefold(ConstantEmbedder):
    def predict(self, crops: Any, /) -> Any:
        return [type(one)(one.vector[:3] / np.linalg.norm(one.vector[:3]), 1.0) for one in super().predict(crops)]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def client(tmp_path: Path, store: MemoryStore) -> Iterator[Client]:
    with gallery_client(tmp_path / "d", store=store, runtime={"embedder": Threefold()}) as client:
        for name in ("staff", "copy"):
            assert client.post("/v1/collections", json={"name": name}).status_code == 201
        yield client


def told(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def ndjson(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def test_rows_are_enrolled_in_groups_and_reported(client: Client, store: MemoryStore) -> None:
    rows = [{"id": f"p{i}", "name": f"P {i}", "metadata": {"i": i}, "vectors": [[1, i, 0]]} for i in range(2500)]
    before = store.enrol_calls
    lines = told(client.post(BULK, content=ndjson(*rows), headers=NDJSON))
    assert [line["row"] for line in lines[:-1]] == list(range(2500))
    assert lines[7] == {"row": 7, "status": "enrolled", "person": "p7", "faces": 1}
    assert lines[-1] == {"done": True, "persons": 2500, "faces": 2500, "failed": 0}
    assert store.enrol_calls - before <= 6
    assert client.get("/v1/collections/staff").json()["persons"] == 2500
    assert client.get("/v1/collections/staff/persons/p7").json()["metadata"] == {"i": 7}


def test_msgpack_rows_with_vectors_of_every_form(client: Client) -> None:
    vector = np.array([0, 1, 0], "<f4")
    forms = [[0.0, 1, 0], vector.tobytes(), base64.b64encode(vector.tobytes()).decode()]
    content = b"".join(msgpack.packb({"vectors": [form]}) for form in forms)
    lines = told(client.post(BULK, content=content, headers=PACKED))
    assert [line["status"] for line in lines[:-1]] == ["enrolled"] * 3 and lines[-1]["persons"] == 3
    found = client.post("/v1/collections/staff/search", json={"vectors": [[0, 1, 0]], "threshold": 0.9999})
    assert len(found.json()["probes"][0]["matches"]) == 3


def test_a_bad_row_fails_alone(client: Client) -> None:
    good = {"vectors": [[1, 0, 0]]}
    content = ndjson(good, {"vectors": [[1, 0]]}, {"vectors": []}, {"id": "a b", **good}, {"vectors": [[0, 0, 0]]})
    content += b"{broken\n\n" + ndjson([1], good).rstrip(b"\n")
    lines = told(client.post(BULK, content=content, headers=NDJSON))
    assert [line.get("status") for line in lines[:-1]] == ["enrolled", *["failed"] * 6, "enrolled"]
    assert lines[1]["error"]["type"] == "urn:visage:embedding-mismatch"
    assert lines[5]["error"]["type"] == "urn:visage:row-invalid" and "JSON" in lines[5]["error"]["detail"]
    assert lines[-1] == {"done": True, "persons": 2, "faces": 2, "failed": 6}


TAKEN = {"person": {"id": "bob"}, "face": {"id": "f1"}, "vector": [0, 1, 0]}  # a line of an export: Ann has this face
BAD_ROWS = {
    "a face that another has": json.dumps(TAKEN).encode(),
    "another length": b'{"vectors": [[1, 0]]}',
    "no numbers": b'{"vectors": [["x"]]}',
    "no JSON": b"{broken",
    "no object": b"[]",
    "too long": b'{"name": "' + b"x" * 9_000_000 + b'"}',
}


@pytest.mark.parametrize("row", BAD_ROWS.values(), ids=BAD_ROWS)
@pytest.mark.parametrize("alone", [True, False])
def test_a_bad_row_fails_alone_also_where_it_is_a_group_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: bytes, alone: bool
) -> None:
    monkeypatch.setattr("visage.api.v1.intake._GROUP_ROWS", 1 if alone else 1000)
    store = EmbeddedStore(tmp_path / "galleries", compact_after=None)
    ann = {"person": {"id": "ann"}, "face": {"id": "f1"}, "vector": [1, 0, 0]}
    rows = row + b"\n" + ndjson(*({"id": f"p{i}", "vectors": [[0, 0, 1]]} for i in range(3)))
    with gallery_client(tmp_path / "d", store=store, runtime={"embedder": Threefold()}) as client:
        assert client.post("/v1/collections", json={"name": "staff"}).status_code == 201
        told(client.post(BULK, content=ndjson(ann), headers=NDJSON))
        lines = told(client.post(BULK, content=rows, headers=NDJSON))
    assert [line.get("status") for line in lines[:-1]] == ["failed", "enrolled", "enrolled", "enrolled"]
    assert lines[0]["error"]["detail"] and lines[0]["person"] is None
    assert lines[-1] == {"done": True, "persons": 3, "faces": 3, "failed": 1}


class Choosy(MemoryStore):
    """Takes no person of this name, as a store may whose fields have limits of their own."""

    def enrol(self, name: str, enrolments: Any, /, **more: Any) -> Any:
        if any(one.person.id == "unfit" for one in enrolments):
            raise SearchError("the name: at most 3 bytes")
        return super().enrol(name, enrolments, **more)


@pytest.mark.parametrize("most", [1, 1000])
def test_what_a_store_does_not_take_of_one_row_is_that_rows_fault(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr("visage.api.v1.intake._GROUP_ROWS", most)
    rows = [{"id": one, "vectors": [[1, 0, 0]]} for one in ("a", "unfit", "b")]
    lines = taken_in(Choosy(), ndjson(*rows))
    assert [line["status"] for line in lines[:-1]] == ["enrolled", "failed", "enrolled"]
    assert lines[1]["error"] == {
        "type": "urn:visage:search-error",
        "title": "Search error",
        "detail": "the name: at most 3 bytes",
    }


def taken_in(store: MemoryStore, *pieces: bytes, stopping: Stopping | None = None) -> list[dict[str, Any]]:
    """The lines that the rows of these pieces are answered with."""
    held = store.create(NewCollection("staff", Recogniser("r", "0", "p", 3)))
    reports: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def take() -> None:
        galleries = Galleries("", lambda _: store)
        intake = Intake(galleries, held, Ids(), 60, stopping)
        reports.append(await intake.take(body(), Rows(packed=False), keep(reports)))
        await galleries.aclose()

    asyncio.run(take())
    return [json.loads(line) for line in b"".join(reports).splitlines()]


def test_a_person_of_several_rows_is_one_person(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visage.api.v1.intake._GROUP_ROWS", 50)
    rows = [{"id": f"p{i % 70}", "vectors": [[1, i, 0]]} for i in range(250)]  # in other groups, too
    rows += [{"id": "p0", "vectors": [[1, 0]]}, {"id": "nobody", "vectors": [[1, 0]]}]
    lines = told(client.post(BULK, content=ndjson(*rows), headers=NDJSON))
    assert lines[-1] == {"done": True, "persons": 70, "faces": 250, "failed": 2}
    assert client.get("/v1/collections/staff").json()["persons"] == 70
    again = told(client.post(BULK, content=ndjson(*rows), headers=NDJSON))
    assert again[-1] == lines[-1]  # what the rows are about, whether it was there already or not


def test_a_service_that_stops_takes_what_is_at_hand_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller who sends on and on is not waited for."""
    monkeypatch.setattr("visage.api.v1.intake._LINGER", 0.2)
    store = MemoryStore()
    held = store.create(NewCollection("staff", Recogniser("r", "0", "p", 3)))
    reports: list[bytes] = []
    stopping = Stopping()

    async def body() -> AsyncIterator[bytes]:
        for i in itertools.count():
            yield ndjson({"id": f"p{i}", "vectors": [[1, 0, 0]]})
            if i == 1499:
                stopping.begin()
            await asyncio.sleep(0)

    async def take() -> bytes:
        galleries = Galleries("", lambda _: store)
        last = await Intake(galleries, held, Ids(), 60, stopping).take(body(), Rows(packed=False), keep(reports))
        await galleries.aclose()
        return last

    assert asyncio.run(take()) == b""  # it was told before, while the caller was still sending
    lines = [json.loads(line) for line in b"".join(reports).splitlines()]
    rows = len(lines) - 1
    assert 1500 <= rows == len(store.persons("staff", limit=10_000))
    assert [line["row"] for line in lines[:-1]] == list(range(rows))
    last = lines[-1]
    assert (last["done"], last["persons"], last["failed"]) == (False, rows, 0)
    assert last["error"]["type"] == "urn:visage:service-stopping"
    assert f"{rows} rows" in last["error"]["detail"] and "send the rest again" in last["error"]["detail"]


def test_a_caller_who_sends_nothing_more_does_not_hold_up_a_service_that_stops() -> None:
    stopping = Stopping()
    store = MemoryStore()
    held = store.create(NewCollection("staff", Recogniser("r", "0", "p", 3)))
    reports: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        yield ndjson({"id": "a", "vectors": [[1, 0, 0]]})
        asyncio.get_running_loop().call_soon(stopping.begin)
        while len(reports) < 2:  # the caller hears of it, and ends
            await asyncio.sleep(0.01)

    async def take() -> None:
        galleries = Galleries("", lambda _: store)
        async with asyncio.timeout(60):
            await Intake(galleries, held, Ids(), 60, stopping).take(body(), Rows(packed=False), keep(reports))
        await galleries.aclose()

    asyncio.run(take())
    lines = [json.loads(line) for line in b"".join(reports).splitlines()]
    assert lines[0]["person"] == "a" and lines[-1]["done"] is False


def test_of_a_body_that_is_all_here_nothing_is_cut() -> None:
    stopping = Stopping()
    stopping.begin()
    assert taken_in(MemoryStore(), stopping=stopping) == [{"done": True, "persons": 0, "faces": 0, "failed": 0}]


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "Via", "X-Other"])
def test_behind_a_proxy_the_answer_begins_when_the_body_has_come(tmp_path: Path, name: str) -> None:
    """nginx sends no more of a body once its answer has begun, and both would wait for ever."""
    store = MemoryStore()
    store.create(NewCollection("staff", Recogniser("r", "0", "p", 3)))
    app = create_app(settings_of(DATA_DIR=str(tmp_path)), opener=constant_runtime, stores=lambda _: store)
    handed_on = name != "X-Other"
    sent: list[Any] = []
    rows = [ndjson({"id": f"p{i}", "vectors": [[1, 0, 0]]}) for i in range(3)]

    began: list[bool] = []

    async def receive() -> Any:
        if not rows:
            await asyncio.Event().wait()
        if len(rows) == 1:  # who is answered at once has heard of the first two by now; who is not never would
            for _ in range(30 if handed_on else 6000):
                if sent:
                    break
                await asyncio.sleep(0.01)
            began.append(bool(sent))
        return {"type": "http.request", "body": rows.pop(0), "more_body": bool(rows)}

    async def send_and_read() -> None:
        async with opened(app):
            headers = [("content-type", "application/x-ndjson"), ("host", "localhost"), (name, "x")]
            await called(app, BULK, receive, headers, sent=sent)

    asyncio.run(send_and_read())
    assert sent[0]["status"] == 200 and began == [not handed_on]
    last = b"".join(message.get("body", b"") for message in sent).splitlines()[-1]
    assert json.loads(last)["persons"] == 3


def test_what_follows_broken_msgpack_is_not_guessed(client: Client) -> None:
    good = msgpack.packb({"id": "a", "vectors": [[1, 0, 0]]})
    lines = told(client.post(BULK, content=good + b"\xc1" + good, headers=PACKED))
    assert lines[-1]["done"] is False and "no msgpack" in lines[-1]["error"]["detail"]
    cut = told(client.post(BULK, content=good + good[:-3], headers=PACKED))
    assert cut[-1]["done"] is False and "ends within" in cut[-1]["error"]["detail"]


def test_the_same_rows_again_change_nothing(client: Client) -> None:
    content = ndjson({"id": "a", "vectors": [[1, 0, 0], [0, 1, 0]]}, {"vectors": [[0, 0, 1]]})
    headers = {**NDJSON, "Idempotency-Key": "k"}
    first = told(client.post(BULK, content=content, headers=headers))
    assert told(client.post(BULK, content=content, headers=headers))[1]["person"] == first[1]["person"]
    counts = client.get("/v1/collections/staff").json()
    assert (counts["persons"], counts["faces"]) == (2, 3)
    told(client.post(BULK, content=content, headers=NDJSON))  # no key: a row without an id is somebody new
    counts = client.get("/v1/collections/staff").json()
    assert (counts["persons"], counts["faces"]) == (3, 4)


@pytest.mark.parametrize("form", ["true", "base64"])
def test_an_export_is_read_back(client: Client, form: str) -> None:
    rows = [
        {"id": f"p{i}", "name": f"P {i}", "metadata": {"i": i}, "vectors": [[1, i, 0], [i, 1, 1]]} for i in range(300)
    ]
    told(client.post(BULK, content=ndjson(*rows), headers=NDJSON))
    export = client.get(f"/v1/collections/staff/export?vectors={form}")
    assert len(told(export)) == 600
    lines = told(client.post("/v1/collections/copy/bulk", content=export.content, headers=NDJSON))
    assert lines[-1]["failed"] == 0
    again = client.get(f"/v1/collections/copy/export?vectors={form}")

    def kept(lines: list[dict[str, Any]]) -> list[Any]:
        return [(line["person"]["id"], line["person"]["name"], line["face"]["id"], line["vector"]) for line in lines]

    if form == "base64":
        assert kept(told(again)) == kept(told(export))
    else:
        assert [one[:3] for one in kept(told(again))] == [one[:3] for one in kept(told(export))]
    assert "vector" not in told(client.get("/v1/collections/staff/export?vectors=false"))[0]


def keep(reports: list[bytes]) -> Write:
    async def report(data: bytes) -> None:
        reports.append(data)

    return report


class Away(MemoryStore):
    """Goes away after the first group."""

    def enrol(self, *given: Any, **more: Any) -> Any:
        if self.enrol_calls:
            raise StoreUnavailable("The store is away")
        return super().enrol(*given, **more)


def test_a_store_that_goes_away_ends_the_intake_with_what_was_kept() -> None:
    store = Away()
    held = store.create(NewCollection("staff", Recogniser("r", "0", "p", 3)))
    reports: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        for i in range(5):
            yield ndjson(*({"id": f"p{i}-{j}", "vectors": [[1, 0, 0]]} for j in range(1000)))

    async def take() -> None:
        galleries = Galleries("", lambda _: store)
        reports.append(await Intake(galleries, held, Ids(), 60).take(body(), Rows(packed=False), keep(reports)))
        await galleries.aclose()

    asyncio.run(take())
    lines = [json.loads(line) for line in b"".join(reports).splitlines()]
    assert lines[-1] == {
        "done": False,
        "persons": 1000,
        "faces": 1000,
        "failed": 0,
        "error": {"type": "urn:visage:store-unavailable", "title": "Store unavailable", "detail": "The store is away"},
    }
    assert len(lines) == 1001


def test_rows_are_reported_while_the_body_still_comes() -> None:
    store = MemoryStore()
    held = store.create(NewCollection("staff", Recogniser("r", "0", "p", 3)))
    reports: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        yield ndjson({"id": "a", "vectors": [[1, 0, 0]]})
        async with asyncio.timeout(60):
            while not reports:
                await asyncio.sleep(0.01)
        yield ndjson({"id": "b", "vectors": [[1, 0, 0]]})

    async def take() -> None:
        galleries = Galleries("", lambda _: store)
        reports.append(await Intake(galleries, held, Ids(), 60).take(body(), Rows(packed=False), keep(reports)))
        await galleries.aclose()

    asyncio.run(take())
    assert [person.id for person in store.persons("staff")] == ["a", "b"]


def test_a_store_that_fails_under_a_slow_sender_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visage.api.v1.intake._PAUSE", 0.02)
    store = MemoryStore()
    held = store.create(NewCollection("staff", Recogniser("r", "0", "p", 3)))
    reports: list[bytes] = []
    sent: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        for i in range(6):
            yield ndjson({"id": f"p{i}", "vectors": [[1, 0, 0]]})
            if not i:
                async with asyncio.timeout(60):
                    while not reports:
                        await asyncio.sleep(0.01)
                store.drop("staff")
            sent.append(i)
            await asyncio.sleep(0.1)

    async def take() -> bytes:
        galleries = Galleries("", lambda _: store)
        last = await Intake(galleries, held, Ids(), 60).take(body(), Rows(packed=False), keep(reports))
        await galleries.aclose()
        return last

    last = json.loads(asyncio.run(take()))
    assert last["done"] is False and last["persons"] == 1
    assert last["error"]["type"] == "urn:visage:collection-missing"
    assert sent == list(range(6))  # read to the end, so that the caller hears of it


def test_one_key_for_two_bodies_does_not_make_one_of_two_persons(client: Client, store: MemoryStore) -> None:
    headers = {**NDJSON, "Idempotency-Key": "same"}
    ann, bob = {"name": "Ann", "vectors": [[1, 0, 0]]}, {"name": "Bob", "vectors": [[0, 1, 0]]}
    for row in (ann, bob, ann):
        assert told(client.post(BULK, content=ndjson(row), headers=headers))[-1]["persons"] == 1
    assert sorted((person.name, person.faces) for person in store.persons("staff")) == [("Ann", 1), ("Bob", 1)]
    told(client.post(BULK, content=ndjson(ann, ann), headers=headers))  # the same words twice are two persons
    assert len(store.persons("staff")) == 3


def test_long_ids_have_faces_of_their_own(client: Client, store: MemoryStore) -> None:
    ids = ["p" * 64 + end for end in ("", "1", "2")]
    content = ndjson(*({"id": one, "vectors": [[1, 0, 0]]} for one in ids))
    for _ in range(2):
        assert told(client.post(BULK, content=content, headers=NDJSON))[-1]["failed"] == 0
    assert {person.id: person.faces for person in store.persons("staff")} == dict.fromkeys(ids, 1)


def test_face_ids_of_short_persons_are_what_they_were() -> None:
    vector = np.array([0.6, -0.8], np.float32)
    assert _face_id("grace", vector) == "702e737efb1492fd2723abf8db1fb761"
    assert _face_id("p" * 64, vector) == "edd6bd0da1dcd8a020ddfe195e387bcd"


def test_a_line_of_an_export_has_limits_too(client: Client) -> None:
    row = {"person": {"id": "a", "name": "n" * 501}, "vector": [1, 0, 0]}
    lines = told(client.post(BULK, content=ndjson(row), headers=NDJSON))
    assert lines[-1]["failed"] == 1 and "person.name" in lines[0]["error"]["detail"]


def test_a_caller_who_never_reads_is_told_why_it_ended() -> None:
    store = MemoryStore()
    held = store.create(NewCollection("staff", Recogniser("r", "0", "p", 3)))
    spool = Spool(most=100_000, patience=0.1)
    sent: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        for i in range(200):
            yield b"1\n" * 1000
            sent.append(i)

    async def send_and_read_then() -> bytes:
        galleries = Galleries("", lambda _: store)
        spool.end(await Intake(galleries, held, Ids(), 60).take(body(), Rows(packed=False), spool.write))
        assert len(sent) == 200
        await galleries.aclose()
        return b"".join([piece async for piece in spool.pieces()])

    answer = asyncio.run(send_and_read_then())
    spool.close()
    lines = [json.loads(line) for line in answer.splitlines()]
    assert lines[-1]["error"]["type"] == "urn:visage:answer-not-read" and lines[-1]["done"] is False
    assert [line["row"] for line in lines[:-1]] == list(range(lines[-1]["failed"]))  # what was done is told
    assert len(answer) < 500_000  # all rows: 19 MB and more


def test_rows_of_one_piece_are_written_in_groups() -> None:
    store = MemoryStore()
    held = store.create(NewCollection("staff", Recogniser("r", "0", "p", 3)))
    reports: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        yield b"1\n" * 2500

    async def take() -> None:
        galleries = Galleries("", lambda _: store)
        await Intake(galleries, held, Ids(), 60).take(body(), Rows(packed=False), keep(reports))
        await galleries.aclose()

    asyncio.run(take())
    assert [report.count(b"\n") for report in reports] == [1000, 1000, 500]
