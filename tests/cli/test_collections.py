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
