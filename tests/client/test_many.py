import io
import json
import threading
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from tests.client.fake import BLURRED, BROKEN, Fake, embedding
from visage_client import (
    BadAnswer,
    Bar,
    BrokenOff,
    Client,
    NewPerson,
    NothingEnrolled,
    Recogniser,
    Retries,
    Row,
    TooLarge,
    Unauthorised,
)
from visage_client.many import batched

Connect = Callable[..., Client]


def pictures(count: int) -> list[bytes]:
    return [b"%d" % i for i in range(count)]


def test_every_picture_has_its_outcome_in_its_place(client: Client, fake: Fake) -> None:
    images = [*pictures(10), BROKEN, *pictures(3)]
    told: list[tuple[int, int | None]] = []
    found = list(client.embed_all(images, batch=4, workers=3, progress=lambda done, of: told.append((done, of))))
    assert [image.status for image in found] == ["ok"] * 10 + ["failed"] + ["ok"] * 3
    assert [image.faces[0].embedding for image in found if image.faces] == [
        array("f", embedding(image)) for image in images if image != BROKEN
    ]
    assert told == [(4, 14), (8, 14), (12, 14), (14, 14)]
    assert sorted(len(seen.body["images"]) for seen in fake.seen) == [2, 4, 4, 4]


def test_what_is_too_much_for_one_request_is_halved(connect: Connect, fake: Fake) -> None:
    fake.too_many = 3
    found = list(connect().embed_all([*pictures(9), io.BytesIO(b"file")], batch=10))
    assert found[-1].faces[0].embedding == array("f", embedding(b"file"))
    assert [image.status for image in found] == ["ok"] * 10
    fake.too_many = 0
    (failed,) = connect().detect_all([b"one"])
    assert failed.error is not None and failed.error.title == "request-too-large"


def test_a_file_that_cannot_be_read_fails_alone(client: Client, tmp_path: Path) -> None:
    there = tmp_path / "there.jpg"
    there.write_bytes(b"one")
    found = list(client.detect_all([there, tmp_path / "absent.jpg", there]))
    assert [image.status for image in found] == ["ok", "failed", "ok"]
    assert found[1].error is not None and "absent.jpg: No such file" in found[1].error.detail


def test_a_generator_is_read_no_further_than_needed(connect: Connect) -> None:
    read: list[int] = []

    def endless() -> Iterator[bytes]:
        while True:
            read.append(1)
            yield b"one"

    found = connect().embed_all(endless(), batch=1, workers=2)
    assert next(found).status == "ok"
    found.close()  # type: ignore[attr-defined] # a generator
    assert len(read) <= 5


def test_so_many_requests_are_on_their_way_as_workers_were_asked_for(fake: Fake) -> None:
    together = threading.Barrier(3, timeout=60)  # passes only if three come at a time

    def answer(request: httpx.Request) -> httpx.Response:
        together.wait()
        return fake(request)

    with Client("http://fake", transport=httpx.MockTransport(answer)) as client:
        assert len(list(client.detect_all(pictures(6), batch=1, workers=3))) == 6


def test_what_concerns_all_ends_it(connect: Connect, fake: Fake) -> None:
    fake.before = [httpx.Response(401, json={"detail": "no key"})]
    with pytest.raises(Unauthorised):
        list(connect().detect_all(pictures(4), batch=1, workers=1))


def test_people_are_enrolled_each_with_an_outcome(client: Client, tmp_path: Path) -> None:
    client.create_collection("staff")
    people = [
        NewPerson("a", name="A", metadata={"x": 1}, images=b"one"),
        NewPerson("b", images=[BLURRED]),
        NewPerson("c", images=tmp_path / "absent.jpg"),
        NewPerson("d", vectors=[[1, 0, 0, 0]]),
    ]
    done = list(client.enrol_all("staff", people, workers=2))
    assert [one.person for one in done] == people
    assert [one.enrolled is not None for one in done] == [True, False, False, True]
    assert isinstance(done[1].error, NothingEnrolled) and isinstance(done[2].error, FileNotFoundError)
    assert [person.id for person in client.persons("staff")] == ["a", "d"]


def test_rows_are_enrolled_in_bulk_and_the_bad_ones_told(
    connect: Connect, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visage_client.many._GROUP_ROWS", 3)
    client = connect()
    client.create_collection("staff")
    rows = [Row([[1, 0, 0, 0], [0, 1, 0, 0]], id="bad" if i == 4 else f"p{i}", name=f"P{i}") for i in range(8)]
    told: list[tuple[int, int | None]] = []
    report = client.bulk_enrol("staff", rows, progress=lambda done, of: told.append((done, of)))
    assert (report.persons, report.faces) == (7, 14)
    ((failure),) = report.failures
    assert (failure.row, failure.status, failure.error and failure.error.detail) == (4, "failed", "bad")
    assert told == [(3, 8), (6, 8), (8, 8)]
    assert client.collection("staff").faces == 14
    assert len({seen.headers["idempotency-key"] for seen in fake.seen if seen.path.endswith("/bulk")}) == 3


def test_large_rows_make_small_groups(connect: Connect, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visage_client.many._GROUP_BYTES", 100)
    client = connect()
    client.create_collection("staff")
    client.bulk_enrol("staff", (Row([[0.5] * 4] * 10, id=f"p{i}") for i in range(3)))
    assert [len(seen.body) for seen in fake.seen if seen.path.endswith("/bulk")] == [1, 1, 1]
    assert client.bulk_enrol("staff", []).persons == 0


@pytest.mark.parametrize(
    "content",
    ['{"row": 0, "status": "enrolled", "person": "a", "faces": 1}\n', "", '{"row": 0, "sta', '{"error": "disk full"}'],
)
def test_a_bulk_answer_without_its_end_is_no_success(connect: Connect, fake: Fake, content: str) -> None:
    fake.before = [httpx.Response(200, text=content)]
    with pytest.raises(BadAnswer):
        connect().bulk_enrol("staff", [Row([[1.0]])])


def test_a_bulk_enrolment_that_is_refused_is_an_error(connect: Connect, fake: Fake) -> None:
    fake.before = [httpx.Response(413, json={"detail": "too large"})]
    with pytest.raises(TooLarge):
        connect(retries=Retries(patience=0)).bulk_enrol("staff", [Row([[1.0]])])


def test_batches_have_a_size() -> None:
    assert list(batched(range(5), 2)) == [[0, 1], [2, 3], [4]]
    with pytest.raises(ValueError, match="at least one"):
        list(batched([1], 0))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_drawn_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("visage_client.progress.time", SimpleNamespace(monotonic=lambda: now))
    screen, pipe = Terminal(), io.StringIO()
    for out in (screen, pipe):
        bar = Bar("embed", out=out)
        bar(1, 4)
        now += 0.09
        bar(2, 4)  # too soon after the first
        now += 0.02
        bar(3, 4)
        bar(4, 4)
    lines = screen.getvalue().split("\r\x1b[K")
    assert lines[1].startswith("embed [#######.......................] 1/4 ")
    assert "] 3/4 " in lines[2]
    assert lines[3].startswith(f"embed [{'#' * 30}] 4/4 ") and lines[3].endswith("] 4/4 36/s\n")
    assert len(lines) == 4
    assert pipe.getvalue() == ""
    unknown = Terminal()
    Bar("bulk", out=unknown)(7, None)
    assert "bulk 7 " in unknown.getvalue()


def cut_off(kind: str, rows: int = 0) -> httpx.Response:
    lines: list[dict[str, Any]] = [{"row": i, "status": "enrolled", "person": f"p{i}", "faces": 1} for i in range(rows)]
    why = {"type": f"urn:visage:{kind}", "title": "T", "detail": "send the rest again"}
    lines.append({"done": False, "persons": rows, "faces": rows, "failed": 0, "error": why})
    return httpx.Response(200, text="".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("kind", ["service-stopping", "store-unavailable"])
def test_a_bulk_enrolment_that_was_cut_off_goes_on(
    connect: Connect, fake: Fake, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("visage_client.many._GROUP_ROWS", 3)
    client = connect()
    client.create_collection("staff")
    # Stopped in the second of three requests; then nobody listens for longer than connections are tried otherwise.
    answers = [None, cut_off(kind, 1), *[httpx.ConnectError("refused")] * 6]

    def answer(request: httpx.Request) -> httpx.Response:
        found = answers.pop(0) if answers else None
        if isinstance(found, Exception):
            raise found
        return fake(request) if found is None else found

    how = {"retries": Retries(first=0.001, most=0.002), "transport": httpx.MockTransport(answer)}
    with Client("http://fake", **how) as other:  # type: ignore[arg-type]
        report = other.bulk_enrol("staff", [Row([[1, 0, 0, 0]], id=f"p{i}") for i in range(8)])
    assert (report.persons, report.faces, report.failures) == (8, 8, ())
    assert client.collection("staff").persons == 8
    assert len({seen.headers["idempotency-key"] for seen in fake.seen if seen.path.endswith("/bulk")}) == 3


@pytest.mark.parametrize(("kind", "tries"), [("service-stopping", 1), ("row-invalid", 1)])
def test_a_bulk_enrolment_that_cannot_go_on_says_why_and_how_far_it_came(
    connect: Connect, fake: Fake, kind: str, tries: int
) -> None:
    fake.before = [cut_off(kind, 2)]
    patience = {"retries": Retries(patience=0)} if kind == "service-stopping" else {}
    with pytest.raises(BrokenOff, match="after 2 rows: send the rest again") as told:
        connect(**patience).bulk_enrol("staff", [Row([[1.0]], id=f"p{i}") for i in range(4)])
    assert (told.value.kind, [row.person for row in told.value.rows]) == (kind, ["p0", "p1"])
    assert len(fake.seen) == tries


def test_a_person_of_several_rows_is_one_person(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visage_client.many._GROUP_ROWS", 2)
    client = connect()
    client.create_collection("staff")
    report = client.bulk_enrol("staff", [Row([[1, i, 0, 0]], id=f"p{i % 2}") for i in range(5)])
    assert (report.persons, report.faces) == (2, 5)


# --- What was exported comes back as it was, and says whose vectors it has


def test_an_export_is_enrolled_as_it_was(connect: Connect, fake: Fake) -> None:
    client = connect()
    client.create_collection("staff")
    client.create_collection("copy")
    client.enrol("staff", id="grace", name="Grace", metadata={"city": "Oslo"}, vectors=[[1, 0, 0, 0], [0, 1, 0, 0]])
    fake.collections["staff"]["people"]["grace"]["person"]["created"] = "2020-01-02T03:04:05.000Z"
    lines = list(client.export("staff"))
    assert lines[0].model == Recogniser("sface", "f" * 64, 4, "rgb")
    assert client.bulk_enrol("copy", lines).faces == 2
    (row, _) = fake.seen[-1].body
    assert row["person"] | {"updated": ""} == {
        "id": "grace",
        "name": "Grace",
        "metadata": {"city": "Oslo"},
        "created": "2020-01-02T03:04:05+00:00",
        "updated": "",
    }
    assert row["face"].keys() == {"id", "about", "created"} and row["face"]["id"] == lines[0].face.id
    assert row["model"] == {"name": "sface", "sha256": "f" * 64, "preprocess": "rgb"}
    assert client.person("copy", "grace").created == lines[0].person.created
    assert [one.vector for one in client.export("copy")] == [one.vector for one in lines]
    assert client.bulk_enrol("copy", lines[0]).faces == 1


def test_lines_of_an_export_as_json_has_them_are_rows(connect: Connect, fake: Fake) -> None:
    client = connect()
    client.create_collection("staff")
    face = {"id": "f", "person": "a", "about": {}, "created": "2020-01-02T03:04:05.000Z", "has_crop": False}
    person = {"id": "a", "name": "", "metadata": {}, "created": face["created"], "updated": face["created"], "faces": 1}
    line: dict[str, Any] = {"person": person, "face": face, "vector": [1, 0, 0, 0]}
    assert client.bulk_enrol("staff", [line]).faces == 1
    assert "model" not in fake.seen[-1].body[0]  # of an older service
    foreign = {"name": "other", "sha256": "0" * 64, "dimension": 4}
    (failed,) = client.bulk_enrol("staff", [line | {"model": foreign}]).failures
    assert failed.row == 0
    with pytest.raises(ValueError, match=r"face 'f' has no vector.*vectors=False"):
        client.bulk_enrol("staff", [{key: value for key, value in line.items() if key != "vector"}])
    with pytest.raises(ValueError, match="line of an export: Person has no 'name'"):
        client.bulk_enrol("staff", [line | {"person": {"id": "a"}}])


def test_vectors_say_whose_they_are(connect: Connect, fake: Fake) -> None:
    client = connect()
    held = client.create_collection("staff").model
    one: Any = [1, 0, 0, 0]
    told = {"name": "sface", "sha256": "f" * 64, "preprocess": "rgb"}
    for model, written in ((held, told), ("sface@ffffffffffff", "sface@ffffffffffff"), ({"name": "x"}, {"name": "x"})):
        made = client.enrol("staff", vectors=[one], model=model).person.id
        assert fake.seen[-1].body["model"] == written
        client.add_faces("staff", made, vectors=[one], model=model)
        assert fake.seen[-1].body["model"] == written
        client.search("staff", vectors=[one], model=model)
        assert fake.seen[-1].body["model"] == written
    client.search("staff", images=b"one", model=held)
    assert fake.seen[-1].body["model"] == told
    list(client.enrol_all("staff", [NewPerson(vectors=[one], model=held)]))
    assert fake.seen[-1].body["model"] == told
    assert client.bulk_enrol("staff", [Row([one], model=held)]).persons == 1
    with pytest.raises(TypeError, match="a model is a Recogniser, or text"):
        client.search("staff", vectors=[one], model=7)  # type: ignore[arg-type]
