"""Keys and answers of a process that was killed, and older files put in the place of theirs."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.backup.data import answers
from visage.access.keyfile import KeyFile
from visage.api.idempotency import Kept, Keys
from visage.backup.parts import IDEMPOTENCY_FILE
from visage.databases import lineage
from visage.doctor import findings
from visage.errors import ConfigurationError
from visage.settings import Settings


def killed(work: Callable[[], object]) -> None:
    """What a process that ends without closing anything has done."""
    if not os.fork():
        held = work()  # not closed by being forgotten
        os._exit(0 if held else 1)
    assert os.wait()[1] == 0


def copied(path: Path) -> Path:
    copy = path.with_name("copy")
    with closing(sqlite3.connect(path)) as old, closing(sqlite3.connect(copy)) as new:
        old.backup(new)
    return copy


def test_answers_are_not_mixed_with_those_of_another_file(tmp_path: Path) -> None:
    with answers(tmp_path) as keys:
        keys.begin("first", "request")
    copy = copied(tmp_path / IDEMPOTENCY_FILE)

    def write() -> Keys:
        keys = Keys(tmp_path / IDEMPOTENCY_FILE)
        for n in range(30):
            keys.begin(f"key{n}", "request")
            keys.finish(f"key{n}", Kept(201, {}, b"x" * 3000), "staff")
        return keys

    killed(write)
    with answers(tmp_path) as keys:  # as it is after a crash
        assert keys.begin("key29", "request") == Kept(201, {}, b"x" * 3000) and not keys.warning
    killed(write)
    shutil.copyfile(copy, tmp_path / IDEMPOTENCY_FILE)
    with answers(tmp_path) as keys:
        assert keys.begin("first", "request") is False
        assert "idempotency.db-wal is not the log of this idempotency.db" in keys.warning
    settings = Settings.load({"DATA_DIR": str(tmp_path), "AUTH": "off"})[0]
    assert "idempotency.db-wal is not the log" in next(
        found.what for found in findings(settings) if found.about == "idempotency keys"
    )
    (tmp_path / f"{IDEMPOTENCY_FILE}-wal").rename(tmp_path / "aside")
    with answers(tmp_path) as keys:
        assert keys.begin("first", "request") is True and keys.begin("key29", "request") is False


def test_keys_are_not_mixed_with_those_of_another_file(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    for n in range(60):
        file.add(f"key{n}", frozenset({"read"}))
    copy = copied(file.path)
    file.revoke("key0")

    def revoke_all() -> sqlite3.Connection:
        connection = sqlite3.connect(file.path, isolation_level=None)
        connection.execute("PRAGMA cache_size = 1")  # pages are written before the end of the transaction
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE keys SET revoked = 1, name = name || hex(randomblob(200))")
        lineage.mark(connection)
        return connection

    killed(revoke_all)
    journal = file.path.with_name("access.db-journal")
    left = {path: path.read_bytes() for path in (file.path, journal)}
    assert left[journal]
    assert [key.name for key in file.all() if key.revoked is not None] == ["key0"]  # as it is after a crash
    for path, content in left.items():
        path.write_bytes(content)
    shutil.copyfile(copy, file.path)
    with pytest.raises(ConfigurationError, match=r"access\.db-journal is not the log of this access\.db"):
        file.all()
    journal.rename(tmp_path / "aside")
    assert all(key.revoked is None for key in file.all())
