"""Who is this? The whole application with the embedded pair over HTTP: enrolled by pictures, searched by pictures.

Leave one out: each picture is searched for while its own face is not there. Strangers: each person in turn is not
there at all. The threshold is chosen by leaving persons out, with all pairs of the pictures: who is searched for among
many meets more strangers than the labelled pairs hold.
"""

import csv
import mimetypes
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import Client, client_of, settings_of
from visage.calibration import Judged, Spread, spread
from visage.search.embedded import EmbeddedStore

COLLECTION = "/v1/collections/portraits"


@dataclass(frozen=True, slots=True)
class Gallery:
    """Everybody enrolled: a picture's name → its person, the id of its face and its vector."""

    client: Client
    person: dict[str, str]
    face: dict[str, str]
    vector: dict[str, list[float]]

    def search(self, data: bytes, name: str, **fields: Any) -> Any:
        kind = mimetypes.guess_type(name)[0] or ""
        answer = self.client.post(
            f"{COLLECTION}/search", params={"limit": 1, **fields}, content=data, headers={"Content-Type": kind}
        )
        assert answer.status_code == 200, answer.text
        [probe] = answer.json()["probes"]
        return probe

    def put_back(self, *names: str) -> None:
        for name in names:
            row = {"person": {"id": self.person[name]}, "face": {"id": self.face[name]}, "vector": self.vector[name]}
            lines = self.client.post(f"{COLLECTION}/bulk", json=row).text.splitlines()
            assert '"done":true' in lines[-1] and '"failed":0' in lines[-1]


def labelled(testdata: Path) -> list[dict[str, str]]:
    with (testdata / "pairs.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def gallery(models_dir: Path, testdata: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gallery]:
    person = {row[f"image{side}"]: row[f"id{side}"] for row in labelled(testdata) for side in "AB"}
    store = EmbeddedStore(tmp_path_factory.mktemp("galleries"), compact_after=None)
    settings = settings_of(MODELS_DIR=str(models_dir), DATA_DIR=str(tmp_path_factory.mktemp("data")))
    with client_of(settings, stores=lambda _: store) as client:
        assert client.post("/v1/collections", json={"name": "portraits"}).status_code == 201
        face, vector = {}, {}
        for name in sorted(person):
            answer = _enrolled(client, person[name], (testdata / name).read_bytes(), name)
            face[name] = answer["images"][0]["face"]["id"]
            vector[name] = store.vectors("portraits", [face[name]])[0].tolist()
        yield Gallery(client, person, face, vector)


def _enrolled(client: Client, person: str, data: bytes, name: str) -> Any:
    """Into a person who is made with their first picture."""
    headers = {"Content-Type": mimetypes.guess_type(name)[0] or ""}
    query = {"faces": "largest"}
    there = client.get(f"{COLLECTION}/persons/{person}").status_code == 200
    path = f"{COLLECTION}/persons/{person}/faces" if there else f"{COLLECTION}/persons"
    answer = client.post(path, params=query if there else {**query, "id": person}, content=data, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def chosen(gallery: Gallery) -> Spread:
    """The thresholds chosen by leaving each person out."""
    pairs = list(combinations(sorted(gallery.person), 2))
    persons = tuple((gallery.person[a], gallery.person[b]) for a, b in pairs)
    scores = np.array([np.dot(gallery.vector[a], gallery.vector[b]) for a, b in pairs])
    found = spread(Judged(scores, np.array([a == b for a, b in persons]), persons))
    assert found is not None
    return found


def test_the_threshold_hardly_depends_on_who_is_left_out(chosen: Spread) -> None:
    # Measured: 1653 pairs, 14 persons, 14 times, 0.396 … 0.429, mean 0.416, standard deviation 0.008; of the pairs with
    # those left out 0.9994 are judged rightly: two strangers at 0.405 are not by the least threshold.
    assert chosen.persons == len(chosen.thresholds) == 14
    assert max(chosen.thresholds) - min(chosen.thresholds) < 0.06
    assert chosen.accuracy >= 0.999
    assert min(chosen.thresholds) > 0.38 and max(chosen.thresholds) < 0.45


def test_everybody_is_found_by_a_picture_that_is_not_there(gallery: Gallery, chosen: Spread, testdata: Path) -> None:
    pictures = defaultdict(list)
    for name, person in gallery.person.items():
        pictures[person].append(name)
    several = {person: names for person, names in pictures.items() if len(names) > 1}
    assert len(several) == 12
    for person, names in several.items():
        for name in names:
            path = f"{COLLECTION}/persons/{person}/faces/{gallery.face[name]}"
            assert gallery.client.delete(path).status_code == 204
            probe = gallery.search((testdata / name).read_bytes(), name, threshold=chosen.mean)
            gallery.put_back(name)
            assert probe["verdict"] == "known" and probe["matches"][0]["person"]["id"] == person, name
            assert [match["person"]["id"] for match in probe["matches"]] == [person], name


def test_strangers_are_unknown(gallery: Gallery, chosen: Spread, testdata: Path) -> None:
    """Those of one picture and, in turn, everybody else: by the mean of the thresholds, and each by the one that was
    chosen without them.
    """
    unseen = dict(zip(sorted(set(gallery.person.values())), chosen.thresholds, strict=True))
    pictures = defaultdict(list)
    for name, person in gallery.person.items():
        pictures[person].append(name)
    assert sum(len(names) == 1 for names in pictures.values()) == 2
    nearest = []
    for person, names in pictures.items():
        assert gallery.client.delete(f"{COLLECTION}/persons/{person}").status_code == 204
        for name in names:
            told = gallery.search((testdata / name).read_bytes(), name, threshold=chosen.mean, below="true", top=1)
            assert told["verdict"] == "unknown" and told["matches"][0]["similarity"] < chosen.mean, name
            nearest.append(told["matches"][0]["similarity"] - unseen[person])
        probe = gallery.search((testdata / names[0]).read_bytes(), names[0], threshold=chosen.mean)
        assert probe["verdict"] == "unknown" and probe["matches"] == [], names[0]
        gallery.put_back(*names)
    # Measured: 2 of 58 pictures, of two persons at 0.405, are over the threshold 0.396 that knew neither.
    assert sum(over >= 0 for over in nearest) <= 2
