"""The store against a plain dictionary: whatever is done in whatever order, both answer the same."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.search.galleries import enrolment, new, unit
from visage.errors import AlreadyThere, FaceMissing, PersonMissing
from visage.faces import Floats
from visage.search.base import Precision, Question
from visage.search.embedded import EmbeddedStore

VECTORS = unit(64)
PERSONS = st.sampled_from(["anna", "bert", "carl", "dora", "eve"])
CITIES = st.sampled_from(["Oslo", "Rome", None])
NUMBERS = st.integers(0, len(VECTORS) - 1)


class Gallery(RuleBasedStateMachine):
    """Two stores on one folder, as two processes have them; each step goes to either."""

    @initialize(precision=st.sampled_from(["fp32", "fp16", "int8"]))
    def open(self, precision: Precision) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="visage-model-"))
        self.stores = [EmbeddedStore(self.folder, compact_after=None, threads=1) for _ in range(2)]
        self.stores[0].create(new(precision=precision))
        self.persons: dict[str, Any] = {}  # id → city
        self.faces: dict[int, str] = {}  # number of the vector → person
        self.close_to = {"fp32": 1e-5, "fp16": 2e-3, "int8": 1e-5}[precision]

    def teardown(self) -> None:
        for store in getattr(self, "stores", []):
            store.close()
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    @rule(who=PERSONS, city=CITIES, which=st.lists(NUMBERS, max_size=6, unique=True), at=st.integers(0, 1))
    def enrol(self, who: str, city: str | None, which: list[int], at: int) -> None:
        metadata = None if city is None else {"city": city}
        write = [enrolment(who, [(f"f{i}", VECTORS[i]) for i in which], metadata=metadata)]
        if any(self.faces.get(i, who) != who for i in which):
            with pytest.raises(AlreadyThere):
                self.stores[at].enrol("staff", write)
            return
        ((person, faces),) = self.stores[at].enrol("staff", write)
        self.persons[who] = city or self.persons.get(who)
        self.faces |= dict.fromkeys(which, who)
        assert [face.id for face in faces] == [f"f{i}" for i in which]
        assert person.faces == sum(owner == who for owner in self.faces.values())

    @rule(who=PERSONS, at=st.integers(0, 1))
    def forget(self, who: str, at: int) -> None:
        if who not in self.persons:
            with pytest.raises(PersonMissing):
                self.stores[at].forget("staff", who)
            return
        self.stores[at].forget("staff", who)
        del self.persons[who]
        self.faces = {i: owner for i, owner in self.faces.items() if owner != who}

    @rule(which=NUMBERS, at=st.integers(0, 1))
    def forget_face(self, which: int, at: int) -> None:
        if self.faces.pop(which, None) is None:
            with pytest.raises(FaceMissing):
                self.stores[at].forget_face("staff", f"f{which}")
        else:
            self.stores[at].forget_face("staff", f"f{which}")

    @rule(who=PERSONS, city=st.sampled_from(["Oslo", "Rome"]), at=st.integers(0, 1))
    def move_house(self, who: str, city: str, at: int) -> None:
        if who in self.persons:
            self.stores[at].rename("staff", who, metadata={"city": city})
            self.persons[who] = city

    @rule(at=st.integers(0, 1), all_of_it=st.booleans())
    def keep_house(self, at: int, all_of_it: bool) -> None:
        if all_of_it:
            self.stores[at].compact()
        else:
            self.stores[at]._upkeep.fold("staff", at_once=True)

    @rule(
        which=NUMBERS,
        top=st.integers(1, 70),
        by=st.sampled_from(["persons", "faces"]),
        threshold=st.sampled_from([-1.0, 0.1, 0.5]),
        city=CITIES,
        at=st.integers(0, 1),
    )
    def search(self, which: int, top: int, by: Any, threshold: float, city: str | None, at: int) -> None:
        where = {} if city is None else {"city": city}
        asked = Question(top, by, threshold, where)
        (found,) = self.stores[at].search("staff", VECTORS[which][None], asked)
        wanted = self.expected(VECTORS[which], asked)
        assert len(found) == len(wanted)
        for match, (similarity, _) in zip(found, wanted, strict=True):
            assert match.similarity == pytest.approx(similarity, abs=self.close_to)
            assert self.faces[int(match.face.id[1:])] == match.face.person == match.person.id
            assert match.person.metadata.get("city") == self.persons[match.person.id]
        key = {(match.face.id if by == "faces" else match.person.id) for match in found}
        assert len(key) == len(found)

    def expected(self, probe: Floats, asked: Question) -> list[tuple[float, str]]:
        scored = sorted(
            (
                (float(VECTORS[i] @ probe), owner)
                for i, owner in self.faces.items()
                if not asked.where or self.persons[owner] == asked.where["city"]
            ),
            reverse=True,
        )
        if asked.by == "persons":
            best: dict[str, float] = {}
            for similarity, owner in scored:
                best.setdefault(owner, similarity)
            scored = [(similarity, owner) for owner, similarity in best.items()]
        return [pair for pair in scored if pair[0] >= asked.threshold][: asked.top]

    @invariant()
    def counts(self) -> None:
        for store in getattr(self, "stores", []):
            collection = store.collection("staff")
            assert (collection.persons, collection.faces) == (len(self.persons), len(self.faces))
            listed = store.persons("staff")
            assert [p.id for p in listed] == sorted(self.persons)
            assert {p.id: p.faces for p in listed} == {
                who: sum(owner == who for owner in self.faces.values()) for who in self.persons
            }
            exported = {face.id: vector for _, face, vector in store.export("staff")}
            assert exported.keys() == {f"f{i}" for i in self.faces}
            assert all(np.array_equal(VECTORS[int(face[1:])], vector) for face, vector in exported.items())


TestGallery = pytest.mark.timeout(600)(Gallery.TestCase)  # some thousand commits to the disk
TestGallery.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
