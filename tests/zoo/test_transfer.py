import hashlib
import os
from pathlib import Path

import pytest

from visage.errors import DownloadFailed
from visage.zoo.transfer import copied, digest, synced

DATA = os.urandom(2_500_000)


def test_a_copy_has_the_same_bytes_and_is_told_as_it_grows(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)
    told: list[tuple[int, int | None]] = []
    copied(tmp_path / "a", tmp_path / "b", lambda done, total: told.append((done, total)))

    assert (tmp_path / "b").read_bytes() == DATA
    assert told == [(1 << 20, len(DATA)), (2 << 20, len(DATA)), (len(DATA), len(DATA))]


def test_an_empty_file_is_copied(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    copied(tmp_path / "a", tmp_path / "b")

    assert (tmp_path / "b").read_bytes() == b""


def test_what_is_missing_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"a cannot be read: No such file or directory$"):
        copied(tmp_path / "a", tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_what_may_not_be_read_is_not_told_as_a_disk_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An OSError would be: see told_plainly."""

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(DownloadFailed, match=r"a cannot be read: Permission denied$"):
        copied(tmp_path / "a", tmp_path / "b")


def test_digests_are_those_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(DATA)

    assert digest(tmp_path / "a") == hashlib.sha256(DATA).hexdigest()
    assert digest(tmp_path / "a", "md5") == hashlib.md5(DATA).hexdigest()


def test_a_file_is_synced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(DATA)
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "fsync", lambda number: seen.append((os.fstat(number).st_ino, os.fstat(number).st_size)))
    synced(tmp_path / "a")

    assert seen == [((tmp_path / "a").stat().st_ino, len(DATA))]
