"""A Milvus that fails between two writes: what is seen then, and that the same call again makes it whole."""

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from tests.search.galleries import enrolment, ids, many, new, unit
from tests.search.milvus.fake import FakeMilvus, Refused
from visage.errors import AlreadyThere, CollectionMissing, PersonMissing, SearchError, StoreUnavailable
from visage.search.base import Enrolment, NewFace, NewPerson, Question
from visage.search.milvus import MilvusStore, enrolling, forgetting, galleries, reading


@pytest.fixture
def server() -> FakeMilvus:
    return FakeMilvus()


@pytest.fixture
def store(server: FakeMilvus) -> Iterator[MilvusStore]:
    store = MilvusStore(server.driver(), seconds=0.2)
    store.create(new())
    yield store
    store.close()


def fails_at(server: FakeMilvus, which: str, *, after: int = 0) -> Callable[[], None]:
    """From the given call on nothing works, as when the server has died. Returns what mends it."""
    left = [after]

    def trouble(name: str) -> None:
        if left[0] < 0 or (name == which and (left.__setitem__(0, left[0] - 1) or left[0] < 0)):  # type: ignore[func-returns-value]  # counts
            raise Refused(65535, "connection refused")

    server.trouble = trouble
    return lambda: setattr(server, "trouble", lambda name: None)


@pytest.mark.parametrize("which", ["upsert pictures", "upsert vectors", "upsert persons"])
def test_of_an_enrolment_that_breaks_off_nobody_new_is_seen_and_the_same_again_makes_it_whole(
    server: FakeMilvus, store: MilvusStore, which: str
) -> None:
    vectors = unit(4)
    store.enrol("staff", [Enrolment(NewPerson("old"), [NewFace("o1", vectors[3], {}, b"PNG")])])
    write = [
        Enrolment(NewPerson("anna", "Anna"), [NewFace("a1", vectors[0], {}, b"PNG"), NewFace("a2", vectors[1])]),
        enrolment("bert", [("b1", vectors[2])]),
    ]
    mend = fails_at(server, which)
    with pytest.raises(StoreUnavailable):
        store.enrol("staff", write)
    mend()
    assert [p.id for p in store.persons("staff")] == ["old"]
    assert [p.id for p, _, _ in store.export("staff")] == ["old"]
    for vector in vectors[:3]:
        assert ids(store, vector) == ["old"]
    with pytest.raises(PersonMissing):
        store.faces("staff", "anna")
    assert [p.faces for p, _ in store.enrol("staff", write)] == [2, 1]
    assert ids(store, vectors[0], top=1) == ["anna"]
    assert (store.collection("staff").persons, store.collection("staff").faces) == (3, 4)
    assert store.crop("staff", "a1") == b"PNG"


def test_a_face_that_an_interrupted_enrolment_left_is_free_for_another_person(
    server: FakeMilvus, store: MilvusStore
) -> None:
    mend = fails_at(server, "upsert persons")
    with pytest.raises(StoreUnavailable):
        store.enrol("staff", [enrolment("anna", [("x1", unit(1)[0])])])
    mend()
    store.enrol("staff", [enrolment("bert", [("x1", unit(1)[0])])])
    assert ids(store, unit(1)[0]) == ["bert"]
    with pytest.raises(AlreadyThere):
        store.enrol("staff", [enrolment("anna", [("x1", unit(1)[0])])])


@pytest.mark.parametrize("after", [0, 1])
def test_a_forgetting_that_breaks_off_hides_the_person_and_the_same_again_ends_it(
    server: FakeMilvus, store: MilvusStore, after: int
) -> None:
    store.enrol("staff", many(unit(3)))
    mend = fails_at(server, "delete", after=after)
    with pytest.raises(StoreUnavailable):
        store.forget("staff", "p1")
    mend()
    assert ids(store, unit(3)[1], top=3) != ["p1"] and len(store.persons("staff")) == 2
    with pytest.raises(PersonMissing):
        store.person("staff", "p1")
    store.forget("staff", "p1")
    with pytest.raises(PersonMissing):
        store.forget("staff", "p1")
    left = [row for table in server.tables.values() for row in table.values() if "p1" in (row["id"], row.get("person"))]
    assert left == [] and store.collection("staff").faces == 2


def test_compacting_takes_what_interrupted_writes_left_unless_it_is_young(
    server: FakeMilvus, store: MilvusStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.enrol("staff", many(unit(3)))
    mend = fails_at(server, "upsert persons")
    with pytest.raises(StoreUnavailable):
        store.enrol("staff", [Enrolment(NewPerson("x"), [NewFace("x1", unit(1)[0], {}, b"PNG")])])
    mend()
    mend = fails_at(server, "delete")
    with pytest.raises(StoreUnavailable):
        store.forget("staff", "p1")
    mend()
    store.compact()
    assert sum("x1" in table for table in server.tables.values()) == 1  # it may be of an enrolment under way
    assert not any("f1" in table or "p1" in table for table in server.tables.values())
    monkeypatch.setattr(forgetting, "_GIVEN_UP", -1.0)
    store.compact()
    assert not any("x1" in table or "0:x1" in table for table in server.tables.values())
    assert (store.collection("staff").persons, store.collection("staff").faces) == (2, 2)


RENAMED = [Enrolment(NewPerson("p1", "Anna"), [NewFace("more", unit(9)[8])])]
WRITES: dict[str, Callable[[MilvusStore], object]] = {
    "a new name": lambda store: store.rename("staff", "p1", new_name="Anna"),
    "a new name with a face": lambda store: store.enrol("staff", RENAMED),
    "one face less": lambda store: store.forget_face("staff", "f1"),
}


def before_the_person_is_written(server: FakeMilvus, happens: Callable[[], None]) -> None:
    """Another process comes between what a writer has read and what it writes."""

    def trouble(name: str) -> None:
        if name == "upsert persons":
            server.trouble = lambda name: None
            happens()

    server.trouble = trouble


def rows_of(server: FakeMilvus, kind: str) -> list[str]:
    return [one for table, rows in server.tables.items() if f"_{kind}" in table for one in rows if one]


@pytest.mark.parametrize("write", WRITES)
def test_who_is_forgotten_while_another_process_writes_about_them_does_not_come_back(
    server: FakeMilvus, store: MilvusStore, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    store.enrol("staff", many(unit(3)))
    other = MilvusStore(server.driver(), seconds=0.2)
    before_the_person_is_written(server, lambda: other.forget("staff", "p1"))
    WRITES[write](store)  # it was there, and is forgotten: nobody is told otherwise

    assert [person.id for person in store.persons("staff")] == ["p0", "p2"]
    with pytest.raises(PersonMissing):
        store.person("staff", "p1")
    assert store.collection("staff").persons == 2
    assert not any(
        row["id"] == "p1" or "Anna" in str(row) for table in server.tables.values() for row in table.values()
    )

    store.enrol("staff", [enrolment("p1", [("again", unit(3)[1])])])  # another life
    monkeypatch.setattr(forgetting, "_GIVEN_UP", -1.0)
    store.compact()
    assert [person.faces for person in store.persons("staff")] == [1, 1, 1]
    assert rows_of(server, "persons") == ["p0", "p2", "p1"]  # the word that the first life was ended is gone
    other.close()


def test_who_is_half_forgotten_then_does_not_come_back_either(
    server: FakeMilvus, store: MilvusStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.enrol("staff", many(unit(3)))
    other = MilvusStore(server.driver(), seconds=0.2)

    def half() -> None:
        mend = fails_at(server, "delete")
        with pytest.raises(StoreUnavailable):
            other.forget("staff", "p1")
        mend()

    before_the_person_is_written(server, half)
    store.rename("staff", "p1", new_name="Anna")
    assert ids(store, unit(3)[1], top=3)[0] != "p1" and store.collection("staff").persons == 2
    monkeypatch.setattr(forgetting, "_GIVEN_UP", -1.0)
    store.compact()
    assert (rows_of(server, "persons"), rows_of(server, "vectors")) == (["p0", "p2"], ["f0", "f2"])
    other.close()


def test_compacting_takes_whom_a_writer_that_died_has_brought_back(server: FakeMilvus, store: MilvusStore) -> None:
    store.enrol("staff", many(unit(3)))
    other = MilvusStore(server.driver(), seconds=0.2)

    def forgotten() -> None:
        other.forget("staff", "p1")
        fails_at(server, "moment")  # the next the writer asks for

    before_the_person_is_written(server, forgotten)
    with pytest.raises(StoreUnavailable):
        store.rename("staff", "p1", new_name="Anna")
    server.trouble = lambda name: None
    assert "p1" in rows_of(server, "persons")
    store.compact()
    assert [person.id for person in store.persons("staff")] == ["p0", "p2"]
    other.close()


def test_a_collection_that_is_half_made_or_half_dropped_is_not_there_and_makes_room(
    server: FakeMilvus, store: MilvusStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    mend = fails_at(server, "create_collection", after=1)
    monkeypatch.setattr("visage.search.milvus.connection._SLOW_SECONDS", 0.2)
    with pytest.raises(StoreUnavailable):
        store.create(new("half"))
    mend()
    assert [c.name for c in store.collections()] == ["staff"]
    with pytest.raises(StoreUnavailable, match="another process is making 'half'"):
        store.create(new("half"))
    now = galleries.time.time()
    with monkeypatch.context() as clock:  # it was ahead by a year when the other broke off
        clock.setattr(galleries.time, "time", lambda: now - 365 * 86_400.0)
        assert store.create(new("half")).faces == 0
        store.drop("half")
    mend = fails_at(server, "create_collection", after=1)
    with pytest.raises(StoreUnavailable):
        store.create(new("half"))
    mend()
    monkeypatch.setattr(galleries, "_GIVEN_UP", -1.0)
    assert store.create(new("half")).faces == 0
    mend = fails_at(server, "drop_collection", after=1)
    with pytest.raises(StoreUnavailable):
        store.drop("half")
    mend()
    with pytest.raises(CollectionMissing):
        store.collection("half")
    store.create(new("half"))
    assert len(server.tables) == 4


def test_of_two_processes_that_make_a_collection_at_once_one_succeeds(server: FakeMilvus, store: MilvusStore) -> None:
    others = [MilvusStore(server.driver(), seconds=60) for _ in range(2)]
    meet = threading.Barrier(2)
    met: set[int] = set()
    told: list[str] = []

    def trouble(name: str) -> None:
        if name == "create_collection" and threading.get_ident() not in met:
            met.add(threading.get_ident())
            meet.wait(60)

    server.trouble = trouble

    def make(one: MilvusStore) -> None:
        try:
            one.create(new("race"))
            told.append("made")
        except AlreadyThere:
            told.append("already there")

    threads = [threading.Thread(target=make, args=(one,)) for one in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in others:
        one.close()
    assert sorted(told) == ["already there", "made"]
    assert store.collection("race").faces == 0


def test_an_enrolment_of_more_faces_is_one_write_and_takes_back_no_name(server: FakeMilvus, store: MilvusStore) -> None:
    store.enrol("staff", [enrolment("anna", [("a1", unit(1)[0])], name="Anna")])
    server.calls.clear()
    ((person, _),) = store.enrol("staff", [enrolment("anna", [("a2", unit(2)[1])])])
    assert [call for call in server.calls if call.startswith("upsert")] == ["upsert vectors"]
    assert person.faces == 2 and person.updated > person.created
    assert store.person("staff", "anna") == person


def test_lists_are_paged_whatever_milvus_gives_at_once(
    server: FakeMilvus, store: MilvusStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("connection", "reading", "searching"):
        monkeypatch.setattr(f"visage.search.milvus.{module}.MOST_ROWS", 7)
    monkeypatch.setattr(reading, "_EXPORTED", 5)
    monkeypatch.setattr(reading, "_TOGETHER", 4)
    monkeypatch.setattr("visage.search.milvus.searching._OWNERS", 6)
    vectors = unit(40)
    store.enrol(
        "staff", [enrolment(f"p{i % 11}", [(f"f{i:02d}", v)], metadata={"n": i % 11}) for i, v in enumerate(vectors)]
    )
    everybody = sorted(f"p{i}" for i in range(11))
    assert [p.id for p in store.persons("staff")] == everybody
    assert [p.id for p in store.persons("staff", where={"n": {"gte": 3}}, limit=4)] == [
        p for p in everybody if int(p[1:]) >= 3
    ][:4]
    assert len(list(store.export("staff"))) == 40
    assert [f.id for f in store.faces("staff", "p1", after="f01")] == ["f12", "f23", "f34"]
    probe = unit(1, seed=9)[0]
    order = list(dict.fromkeys(f"p{i % 11}" for i in np.argsort(-(vectors @ probe))))
    assert ids(store, probe, top=11) == order
    assert ids(store, probe, top=3, where={"n": {"in": [2, 7, 9]}}) == [p for p in order if p in ("p2", "p7", "p9")]


def test_what_is_too_long_for_milvus_is_told(store: MilvusStore) -> None:
    for bad in ("", "x" * 513):
        with pytest.raises(SearchError, match="at most 512 bytes"):
            store.enrol("staff", [enrolment(bad, [("f1", unit(1)[0])])])
        with pytest.raises(SearchError, match="at most 512 bytes"):
            store.enrol("staff", [enrolment("anna", [(bad, unit(1)[0])])])
    for call in (store.person, store.forget):
        with pytest.raises(PersonMissing):
            call("staff", "")  # the row that tells of the collection is nobody
    with pytest.raises(SearchError, match="at most 65536 bytes"):
        store.enrol("staff", [enrolment("anna", [("a1", unit(1)[0])], metadata={"x": "y" * 70_000})])
    assert store.persons("staff") == [] and store.collection("staff").faces == 0


def test_keys_differ_and_tell_their_age(monkeypatch: pytest.MonkeyPatch) -> None:
    now = SimpleNamespace(time_ns=lambda: 1_800_000_000_123_456_789, time=lambda: 1_800_000_005.123)
    monkeypatch.setattr(enrolling, "time", now)  # on a fast machine thousands are made in a millisecond
    keys = {enrolling.new_key() for _ in range(20_000)}
    assert len(keys) == 20_000 and all(0 < key < 2**63 for key in keys)
    assert all(enrolling.age(-key) == pytest.approx(5) for key in keys)


def test_a_search_asks_no_more_often_than_it_must(server: FakeMilvus, store: MilvusStore) -> None:
    store.enrol("staff", many(unit(50)))
    server.calls.clear()
    store.search("staff", unit(8, seed=3), Question(top=5))
    assert server.calls == ["moment", "search", "query", "query"]
