import sqlite3
import threading
from pathlib import Path

import pytest

from tests import unwritable
from visage.access.keyfile import KeyFile
from visage.access.keylist import KeyList, line_of
from visage.access.ring import KeyRing
from visage.errors import ConfigurationError, NotReady

READ = frozenset({"read"})


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path)


def test_a_key_is_found_by_its_secret_alone(file: KeyFile) -> None:
    key, secret = file.add("desk", READ)
    ring = KeyRing(file)
    assert ring.find(secret) == key
    assert [ring.find(other) for other in ("", "vk_", secret[:-1], secret + "x", secret.upper())] == [None] * 5
    ring.close()


def test_what_others_write_is_known_at_the_next_question(file: KeyFile) -> None:
    rings = [KeyRing(file), KeyRing(file)]  # two worker processes
    _, secret = file.add("desk", READ)
    assert [ring.find(secret) is not None for ring in rings] == [True, True]
    file.revoke("desk")
    assert [ring.find(secret) for ring in rings] == [None, None]
    assert [len(ring) for ring in rings] == [0, 0]
    for ring in rings:
        ring.close()


def test_a_file_in_the_place_of_the_old_one_counts_and_none_means_no_key(file: KeyFile, tmp_path: Path) -> None:
    _, old = file.add("desk", READ)
    ring = KeyRing(file)
    assert ring.find(old)
    elsewhere = KeyFile(tmp_path / "backup")
    _, new = elsewhere.add("desk", READ)
    elsewhere.path.replace(file.path)
    assert (ring.find(old), ring.find(new) is not None) == (None, True)
    file.path.unlink()
    assert ring.find(new) is None
    ring.close()


def test_the_database_is_not_read_again_while_it_is_what_it_was(file: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    _, secret = file.add("desk", READ)
    ring = KeyRing(file)
    assert ring.find(secret)
    monkeypatch.setattr("visage.access.ring.read_keys", lambda _: pytest.fail("read again"))
    assert ring.find(secret)
    ring.close()


def test_a_write_that_is_going_on_holds_nobody_up(file: KeyFile) -> None:
    _, secret = file.add("desk", READ)
    ring = KeyRing(file)
    assert ring.find(secret)
    writer = sqlite3.connect(file.path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    assert ring.find(secret)
    # Not by the clock, which a busy machine holds up: so many milliseconds does SQLite wait, 5000 if it is not told.
    assert ring._db is not None and ring._db.execute("PRAGMA busy_timeout").fetchone()[0] <= 50
    writer.execute("COMMIT")
    writer.close()
    ring.close()


def test_a_key_is_not_missed_while_its_use_is_noted(file: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visage.access.ring._WAIT", 30.0)
    ring = KeyRing(file)
    _, secret = file.add("desk", READ)
    noting = sqlite3.connect(file.path, check_same_thread=False)
    noting.execute("BEGIN EXCLUSIVE")
    done = threading.Timer(0.05, noting.rollback)
    done.start()
    assert ring.find(secret)
    done.join()
    noting.close()
    ring.close()


def test_a_file_that_cannot_be_read_lets_nobody_in_until_it_can(file: KeyFile) -> None:
    ring = KeyRing(file)
    _, secret = file.add("desk", READ)
    assert ring.find(secret)
    whole = file.path.read_bytes()
    file.path.unlink()
    file.path.write_bytes(b"no database" * 1000)
    with pytest.raises(NotReady, match=r"access\.db cannot be read"):
        ring.find(secret)
    file.path.unlink()
    file.path.write_bytes(whole)
    ring.hold_usable()
    assert ring.find(secret)
    ring.close()


def test_listed_keys_are_valid_where_no_file_can_be_made(tmp_path: Path) -> None:
    made = KeyFile(tmp_path)
    _, secret = made.add("desk", READ)
    with unwritable.folder() as folder:
        listed = folder / "keys.jsonl"
        listed.write_text(line_of(made.all()[0]) + "\n", "utf-8")
        with unwritable.only_read(folder):
            ring = KeyRing(KeyFile(folder), KeyList(listed))
            assert ring.find(secret)
            ring.close()
            with pytest.raises(ConfigurationError):
                KeyRing(KeyFile(folder))
