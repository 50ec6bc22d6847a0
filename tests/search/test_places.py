"""Which store is opened where."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.search.galleries import new
from tests.support import client_of, constant_runtime, settings_of
from visage.errors import BackendUnavailable
from visage.search import milvus
from visage.search.embedded import EmbeddedStore
from visage.search.places import Milvus, is_begun, open_place


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a Milvus store was opened with."""
    calls: list[Any] = []
    store = SimpleNamespace(collections=lambda **_: [], close=lambda: None)
    monkeypatch.setattr(milvus, "open_store", lambda *given, **more: calls.append((given, more)) or store)
    return calls


def test_a_folder_is_the_embedded_store_s(tmp_path: Path) -> None:
    assert not is_begun(str(tmp_path))
    store = open_place(str(tmp_path))
    try:
        assert isinstance(store, EmbeddedStore)
        store.create(new())
    finally:
        store.close()
    assert (tmp_path / "galleries" / "galleries.sqlite").is_file() and is_begun(str(tmp_path))


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("http://milvus:19530", "http://milvus:19530"),
        ("https://milvus", "https://milvus"),
        ("/data/galleries.db", "/data/galleries.db"),
        ("milvus:galleries.db", "galleries.db"),
    ],
)
def test_milvus_is_asked_as_the_settings_say(tmp_path: Path, asked: list[Any], uri: str, address: str) -> None:
    environ = {"MILVUS_TOKEN": "root:Milvus", "MILVUS_DB_NAME": "faces", "MILVUS_TIMEOUT": "7"}
    settings = settings_of(DATA_DIR=str(tmp_path), MILVUS_URI=uri, **environ)
    with client_of(settings, opener=constant_runtime) as client:
        assert asked == []  # nothing is waited for before galleries are asked for
        assert client.get("/v1/collections").json() == {"items": [], "next": None}
        assert client.get("/v1/collections").status_code == 200
    assert asked == [((address,), {"token": "root:Milvus", "database": "faces", "seconds": 7.0})]
    assert "root:Milvus" not in str(settings.defaults())
    assert not (tmp_path / "galleries").exists()


def test_without_its_client_galleries_are_503_and_name_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: Any, **__: Any) -> None:
        raise ModuleNotFoundError("No module named 'pymilvus'", name="pymilvus")

    monkeypatch.setattr(milvus, "open_store", absent)
    with pytest.raises(BackendUnavailable, match=r"visage\[milvus\]"):
        open_place("http://milvus:19530", milvus=Milvus())
    settings = settings_of(DATA_DIR=str(tmp_path), MILVUS_URI="http://milvus:19530")
    with client_of(settings, opener=constant_runtime) as client:
        answer = client.get("/v1/collections")
        assert answer.status_code == 503 and "visage[milvus]" in answer.json()["detail"]
        assert client.get("/ready").status_code == 200
