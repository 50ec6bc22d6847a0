import sqlite3
import stat
from pathlib import Path

import pytest

from tests import unwritable
from visage.access.keyfile import KeyFile
from visage.errors import ConfigurationError

READ = frozenset({"read"})


def test_a_key_comes_back_as_it_was_made_and_its_secret_is_nowhere(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "data")
    key, secret = file.add("desk", frozenset({"read", "write"}), collections=frozenset({"staff", "guests"}), rate=60)
    assert file.all() == [key]
    assert (key.name, key.rate, key.collections, key.used, key.revoked) == ("desk", 60, {"staff", "guests"}, None, None)
    stored = b"".join(path.read_bytes() for path in file.path.parent.iterdir())
    assert key.digest in stored
    assert secret.encode() not in stored and secret[3:].encode() not in stored


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    file.add("desk", READ)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_keys_come_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    made = [KeyFile(tmp_path).add(f"key {9 - i}", READ)[0] for i in range(5)]
    assert KeyFile(tmp_path).all() == made


def test_a_name_is_free_again_once_its_key_is_revoked(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    first, _ = file.add("desk", READ)
    with pytest.raises(ConfigurationError, match="visage keys revoke desk"):
        file.add("desk", READ)
    assert file.revoke("desk").id == first.id
    second, _ = file.add("desk", READ)
    assert [key.revoked is None for key in file.all()] == [False, True]
    file.revoke(second.id)
    assert all(key.revoked for key in file.all())


def test_an_id_comes_before_a_name(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    first, _ = file.add("desk", READ)
    second, _ = file.add("door", READ)
    misnamed, _ = file.add(second.id, READ)
    assert file.revoke(second.id).id == second.id
    assert [key.id for key in file.all() if key.revoked is None] == [first.id, misnamed.id]
    assert file.revoke(second.id).id == misnamed.id


def test_an_id_comes_before_the_name_of_an_older_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = KeyFile(tmp_path)
    older, _ = file.add("k12345678", READ)
    monkeypatch.setattr("visage.access.keyfile.new_id", lambda: "k12345678")
    file.add("door", READ)
    assert file.revoke("k12345678").name == "door"
    assert file.revoke(older.id).id == older.id


def test_what_is_not_there_or_was_revoked_cannot_be_revoked(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    with pytest.raises(ConfigurationError, match="visage keys list"):
        file.revoke("desk")
    assert not file.path.exists()
    file.add("desk", READ)
    file.revoke("desk")
    with pytest.raises(ConfigurationError, match="'desk'"):
        file.revoke("desk")


def test_the_latest_use_is_kept(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    key, _ = file.add("desk", READ)
    for when in (5.0, 3.0):
        file.note_used({key.id: when, "stranger": 9.0})
    assert [one.used for one in file.all()] == [5.0]


def test_a_file_that_is_no_database_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "access.db").write_bytes(b"no database" * 100)
    with pytest.raises(ConfigurationError, match=r"access\.db cannot be used: file is not a database"):
        KeyFile(tmp_path).all()


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="DATA_DIR="):
        KeyFile(tmp_path / "file").add("desk", READ)


def test_a_scope_of_a_later_version_is_not_taken_for_less(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    file.add("desk", READ)
    db = sqlite3.connect(file.path)
    with db:
        db.execute("UPDATE keys SET scopes = 'read,dance'")
    db.close()
    with pytest.raises(ConfigurationError, match="dance"):
        file.all()


def test_a_use_that_was_noted_by_a_clock_that_was_ahead_is_noted_anew(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    key, _ = file.add("desk", READ)
    now = 1_700_000_000.0
    for when, told in ((now, now), (now - 30, now), (now + 60, now + 60), (now + 400 * 86_400.0, None), (now, now)):
        file.note_used({key.id: when})
        assert file.all()[0].used == (told or when)


def test_a_file_that_may_only_be_read_is_read() -> None:
    with unwritable.folder() as folder:
        file = KeyFile(folder)
        key, _ = file.add("desk", READ)
        with unwritable.only_read(folder):
            file.make()
            assert [one.id for one in file.all()] == [key.id]
            with pytest.raises(ConfigurationError, match="cannot be used"):
                file.revoke("desk")
