import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from visage.access.keyfile import KeyFile
from visage.access.keylist import KeyList, line_of
from visage.access.keys import Key
from visage.access.ring import KeyRing
from visage.errors import ConfigurationError

READ = frozenset({"read"})


@pytest.fixture
def made(tmp_path: Path) -> tuple[Key, str]:
    """A key of another machine."""
    return KeyFile(tmp_path / "elsewhere").add("desk", READ, collections=frozenset({"b", "a"}), rate=60)


@pytest.fixture
def listed(tmp_path: Path, made: tuple[Key, str]) -> Path:
    path = tmp_path / "keys.jsonl"
    path.write_text(line_of(made[0]) + "\n\n", "utf-8")
    return path


def test_a_line_holds_all_of_a_key_but_its_secret(made: tuple[Key, str], listed: Path) -> None:
    assert KeyList(listed).keys() == ([made[0]], False)
    assert made[1] not in listed.read_text("utf-8")


def test_listed_keys_are_valid_beside_the_kept_ones(tmp_path: Path, made: tuple[Key, str], listed: Path) -> None:
    file = KeyFile(tmp_path / "data")
    _, own = file.add("own", READ)
    ring = KeyRing(file, KeyList(listed))
    assert ring.find(made[1]) == made[0] and ring.find(own) is not None and len(ring) == 2
    ring.close()


def test_a_key_that_the_file_says_is_revoked_stays_so(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "data")
    key, secret = file.add("desk", READ)
    path = tmp_path / "keys.jsonl"
    path.write_text(line_of(key), "utf-8")
    ring = KeyRing(file, KeyList(path))
    assert len(ring) == 1 and ring.find(secret) is not None
    file.revoke("desk")
    assert ring.find(secret) is None
    ring.close()


def test_another_file_in_its_place_counts_at_the_next_question(
    tmp_path: Path, made: tuple[Key, str], listed: Path
) -> None:
    """As mounted secrets change: what the link leads to."""
    link = tmp_path / "link.jsonl"
    link.symlink_to(listed)
    ring = KeyRing(KeyFile(tmp_path / "data"), KeyList(link))
    assert ring.find(made[1]) is not None
    other, secret = KeyFile(tmp_path / "third").add("other", READ)
    (tmp_path / "next.jsonl").write_text(line_of(other), "utf-8")
    (tmp_path / "link.new").symlink_to(tmp_path / "next.jsonl")
    (tmp_path / "link.new").replace(link)
    assert ring.find(made[1]) is None and ring.find(secret) == other
    ring.close()


def test_a_change_that_meets_a_locked_database_counts_once_that_is_free(
    tmp_path: Path, made: tuple[Key, str], listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = KeyRing(KeyFile(tmp_path / "data"), KeyList(listed))
    assert ring.find(made[1]) is not None

    def locked(_: sqlite3.Connection) -> Iterator[Key]:
        raise sqlite3.OperationalError("database is locked")

    listed.write_text("\n", "utf-8")
    with monkeypatch.context() as patch:
        patch.setattr("visage.access.ring.read_keys", locked)
        assert ring.find(made[1]) is not None
    assert ring.find(made[1]) is None
    ring.close()


@pytest.mark.parametrize("gone", [True, False])
def test_one_that_breaks_later_changes_nothing_and_is_told(
    tmp_path: Path, made: tuple[Key, str], listed: Path, caplog: pytest.LogCaptureFixture, gone: bool
) -> None:
    ring = KeyRing(KeyFile(tmp_path / "data"), KeyList(listed))
    assert ring.find(made[1]) is not None
    if gone:
        listed.unlink()
    else:
        listed.write_text("{", "utf-8")
    for _ in range(3):
        assert ring.find(made[1]) is not None
    (record,) = caplog.records
    assert "stay valid" in record.message and str(listed) in record.message
    ring.close()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sha256": "ab"}, "64"),
        ({"sha256": "no number"}, "hexadecimal"),
        ({"sha256": None}, "line 2"),
        ({"scopes": ["all"]}, "scopes are read, write, admin"),
        ({"scopes": []}, "scopes are"),
        ({"rate": "often"}, "often"),
        ({"rate": -5}, "-5"),
        ({"id": "../../etc/x"}, "an id is of"),
        ({"id": 7}, "line 2"),
        ({"scopes": "read"}, "a list of texts"),
        ({"collections": "staff"}, "a list of texts"),
        ({"collections": None}, "a list of texts"),
    ],
    ids=str,
)
def test_what_is_no_key_names_its_line(
    tmp_path: Path, made: tuple[Key, str], change: dict[str, object], told: str
) -> None:
    path = tmp_path / "keys.jsonl"
    good = line_of(made[0])
    path.write_text(f"{good}\n{json.dumps(json.loads(good) | change)}\n", "utf-8")
    with pytest.raises(ConfigurationError, match="line 2: ") as caught:
        KeyList(path)
    assert told in str(caught.value) and "visage keys export" in str(caught.value)


@pytest.mark.parametrize("text", ["[1]", "{}", '"vk_"', "7"])
def test_what_is_no_object_of_this_kind_names_its_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.jsonl"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigurationError, match="line 1: "):
        KeyList(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"AUTH_KEYS_FILE=.*absent"):
        KeyList(tmp_path / "absent")
