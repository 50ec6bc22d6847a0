"""Which store is opened at a place."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from visage import search
from visage.errors import ConfigurationError


def test_a_folder_is_opened_by_the_embedded_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = ModuleType("stores_of_a_test")
    module.__spec__ = pytest.__spec__
    module.EmbeddedStore = lambda folder: ("store", folder)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(search, "_EMBEDDED", module.__name__)
    assert search.open_store(str(tmp_path)) == ("store", tmp_path)


def test_what_cannot_be_opened_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="http"):
        search.open_store("http://127.0.0.1:19530")
    monkeypatch.setattr(search, "_EMBEDDED", "visage.search.absent")
    with pytest.raises(ConfigurationError, match="no embedded store"):
        search.open_store("data")
