"""`visage collections …` as an operator types it."""

from pathlib import Path

import pytest

from tests.search.galleries import many, new, opened, unit
from tests.support import client_of, settings_of
from visage.__main__ import main


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """DATA_DIR with a collection of twenty."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    with opened(tmp_path / "data" / "galleries") as store:
        store.create(new())
        store.enrol("staff", many(unit(20)))
    return tmp_path / "data"


def test_collections_are_listed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collections", "list"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "network", "numbers", "precision", "index", "persons", "faces"]
    assert row.split() == ["staff", "tiny", "16", "fp32", "exact", "20", "20"]


def test_compacting_takes_what_was_deleted_out_of_the_files(data: Path) -> None:
    mark = unit(20)[4].tobytes()
    with opened(data / "galleries") as store:
        store._upkeep.fold("staff", at_once=True)
        store.forget("staff", "p4")
    assert any(mark in path.read_bytes() for path in (data / "galleries").iterdir())
    assert main(["collections", "compact"]) == 0
    assert not any(mark in path.read_bytes() for path in (data / "galleries").iterdir())


def test_a_collection_is_moved_and_the_copy_told(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["collections", "move", "staff", "--to", str(tmp_path / "other"), "--as", "guests"]) == 0
    assert "guests: 20 persons with 20 faces" in capsys.readouterr().out
    assert main(["collections", "list", "--at", str(tmp_path / "other")]) == 0
    assert "guests" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["nobody"])
def test_a_collection_that_is_not_there_is_one_line(data: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collections", "move", name, "--to", str(data.parent / "other")]) == 1
    assert capsys.readouterr().err.strip() == "visage: No such collection: there is no collection 'nobody'"


def test_a_collection_is_embedded_again_by_the_network_that_the_settings_name(
    tmp_path: Path, models_dir: Path, hopper: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = {"DATA_DIR": str(tmp_path), "MODELS_DIR": str(models_dir), "KEEP_CROPS": "1"}
    with client_of(settings_of(**environ)) as client:
        client.post("/v1/collections", json={"name": "staff"})
        headers = {"Content-Type": "image/jpeg"}
        made = client.post("/v1/collections/staff/persons?id=grace", content=hopper, headers=headers)
        assert made.status_code == 201 and made.json()["images"][0]["face"]["has_crop"]
        client.post("/v1/collections/staff/persons", json={"id": "v", "vectors": [[1.0] + [0.0] * 127]})
    for name, value in {**environ, "INFERENCE_BACKEND": "onnx"}.items():
        monkeypatch.setenv(name, value)
    capsys.readouterr()
    assert main(["collections", "migrate", "staff", "--as", "again"]) == 0
    told = capsys.readouterr()
    assert "again: 2 persons with 1 faces, by sface@fb143eea0783; 1 of them were searched for and found" in told.out
    assert "faces left out, for no crop was kept of them: 1" in told.out and "without a face now: v" in told.out
    assert "2 persons embedded" in told.err
    with opened(tmp_path / "galleries") as store:
        assert store.collection("again").recogniser == store.collection("staff").recogniser
        ((_, face, vector),) = store.export("again")
        assert float(vector @ store.vectors("staff", [face.id])[0]) > 0.99999


def test_a_collection_that_is_not_there_is_not_embedded(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collections", "migrate", "nobody", "--as", "again"]) == 1
    assert "there is no collection 'nobody'" in capsys.readouterr().err


BAD_NAMES = ["Bad Name", "No!", "-x", "x" * 64, "é"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_no_copy_gets_a_name_that_the_api_refuses(data: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    other = data.parent / "other"
    for words in (("move", "staff", "--to", str(other), f"--as={name}"), ("migrate", "staff", f"--as={name}")):
        assert main(["collections", *words]) == 1
        assert repr(name) in (said := capsys.readouterr().err) and "lower-case letters" in said
    assert not other.exists()


def test_a_collection_with_such_a_name_can_be_moved_and_deleted(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with opened(data / "galleries") as store:
        store.create(new("Bad Name"))
        store.enrol("Bad Name", many(unit(3), "x-"))
    assert main(["collections", "move", "Bad Name", "--to", str(data)]) == 1
    assert "--as" in capsys.readouterr().err
    assert main(["collections", "move", "Bad Name", "--to", str(data), "--as", "good-name"]) == 0
    assert main(["collections", "delete", "Bad Name"]) == 1
    assert "3 persons with 3 faces: say --yes" in capsys.readouterr().err
    assert main(["collections", "delete", "Bad Name", "--yes"]) == 0
    assert main(["collections", "delete", "Bad Name", "--yes"]) == 1
    with opened(data / "galleries") as store:
        assert [c.name for c in store.collections()] == ["good-name", "staff"]


@pytest.mark.parametrize(
    "words",
    [
        ("list", "--at"),
        ("compact", "--at"),
        ("delete", "staff", "--yes", "--at"),
        ("migrate", "staff", "--as", "x", "--at"),
        ("move", "staff", "--to", "elsewhere", "--from"),
    ],
)
def test_a_place_that_is_not_there_is_told_and_not_made(
    data: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(data.parent)
    assert main(["collections", *words, "tpyo"]) == 1
    assert "there is no folder tpyo" in capsys.readouterr().err
    assert main(["collections", *words, str(data / "galleries")]) == 1
    assert "inside of one that has galleries" in capsys.readouterr().err
    assert sorted(path.name for path in data.parent.iterdir()) == ["data"]


@pytest.mark.parametrize("place", ["HTTP://milvus:19530", "http:/milvus:19530", "postgres://x/y"])
def test_an_address_that_is_none_becomes_no_folder(
    data: Path, place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(data.parent)
    assert main(["collections", "move", "staff", "--to", place]) == 1
    assert "no store's address" in capsys.readouterr().err
    assert sorted(path.name for path in data.parent.iterdir()) == ["data"]


def test_of_no_galleries_yet_the_list_is_empty_and_none_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    assert main(["collections", "list"]) == 0
    told = capsys.readouterr()
    assert told.out == "" and "no collections yet" in told.err and not (tmp_path / "data").exists()
