"""What is kept in the data folder: which file cannot be used, and why."""

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import unwritable
from tests.search.embedded.test_damaged import DAMAGES
from tests.search.galleries import many, new, opened, unit
from tests.support import settings_of
from visage.api.idempotency import Keys
from visage.doctor import galleries, shares
from visage.doctor.finding import Finding
from visage.search.folder import FILE


@pytest.fixture
def data() -> Iterator[Path]:
    with unwritable.folder() as place:
        yield place


def found(data: Path) -> list[Finding]:
    return list(galleries.stored(settings_of(DATA_DIR=str(data))))


def fill(data: Path) -> Path:
    with opened(data / "galleries") as kept:
        kept.create(new())
        kept.enrol("staff", many(unit(40)))
        kept._upkeep.fold(at_once=True)
    return data / "galleries" / FILE


def names(data: Path) -> list[str]:
    return sorted(path.name for path in data.rglob("*"))


def test_nothing_is_said_of_nothing_and_nothing_is_made(data: Path) -> None:
    assert found(data) == [] and names(data) == []
    assert found(data / "not there") == []


def test_what_is_well_is_told_and_left_as_it_is(data: Path) -> None:
    file = fill(data)
    keys = Keys(data / "idempotency.db")
    keys.begin("k", "r")
    before = names(data)
    (told,) = found(data)
    assert told.verdict == "good" and str(file) in told.what and names(data) == before
    keys.close()
    with opened(data / "galleries") as kept:  # while a service runs
        kept.enrol("staff", many(unit(3, seed=3), "more-"))
        (told,) = found(data)
        assert told.verdict == "good"


@pytest.mark.parametrize("kind", [kind for kind in DAMAGES if "newer" not in kind])  # that is seen by who writes
def test_a_damaged_file_is_named_with_the_remedy(data: Path, kind: str) -> None:
    file = fill(data)
    DAMAGES[kind][0](file)
    (told,) = found(data)
    assert told.verdict == "bad" and FILE in told.what and str(data) in told.what
    assert any(word in told.what for word in ("restore", "move it away"))


def test_answers_that_cannot_be_used_are_named(data: Path) -> None:
    (data / "idempotency.db").write_bytes(b"not a database, " * 1000)
    (told,) = found(data)
    assert told.verdict == "doubtful" and "idempotency.db" in told.what and "delete" in told.remedy


def test_a_folder_that_is_only_read_is_doubtful_and_what_is_in_it_good(data: Path) -> None:
    fill(data)
    with unwritable.only_read(data):
        (told,) = found(data)
        assert told.verdict == "good"


def test_a_folder_without_locks_is_bad(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", none)
    (told,) = galleries.data(data)
    assert told.verdict == "bad" and "has no locks" in told.what and names(data) == []


@pytest.mark.parametrize(
    "kind",
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "9p",
        "ceph",
        "glusterfs",
        "fuse.glusterfs",
        "fuse.rclone",
        "fuse.sshfs",
        "fuse.s3fs",
        "virtiofs",
        "lustre",
        "beegfs",
        "gpfs",
        "afs",
        "fuse.of-somebody",
    ],
)
def test_of_shares_it_is_told_what_is_known(data: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    mounts = data / "mountinfo"
    mounts.write_text(f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:40 / {data.resolve()} rw - {kind} host:/x rw\n")
    monkeypatch.setattr(galleries, "_MOUNTS", mounts)
    (told,) = galleries.data(data)
    assert told.verdict == "doubtful" and kind in told.what and shares.known_of(kind) in told.what


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "overlay", "tmpfs", "fuse.fuse-overlayfs", "fuseblk", ""])
def test_of_local_disks_nothing_is_said(kind: str) -> None:
    assert shares.known_of(kind) == ""
