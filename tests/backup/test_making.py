"""Backups are made while others write, and are whole or not there."""

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.backup.data import FILES, GALLERIES, PERSONS, backed_up, everything, make, put_back, unsaid
from tests.search.embedded.test_processes import hold_whole, worker_in
from tests.search.galleries import new, opened, unit
from tests.support import REPO, settings_of, wait_ready
from visage.__main__ import main
from visage.api.app import create_app
from visage.backup import making, parts
from visage.backup.making import back_up
from visage.backup.manifest import FILE, read
from visage.backup.parts import PARTS, Part
from visage.databases import copying
from visage.errors import BackupRefused
from visage.search.embedded import database

SLOW = pytest.mark.slow


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make(tmp_path / "data")


def test_the_parts_are_the_files_that_the_service_uses(tmp_path: Path) -> None:
    settings = settings_of(DATA_DIR=str(tmp_path))
    assert parts.GALLERIES.place == Path(GALLERIES) / database.FILE
    create_app(settings).state.visage.keys.begin("k", "r")
    assert (tmp_path / parts.IDEMPOTENCY.place).is_file()


def test_all_of_it_is_there_and_told(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything(data)
    assert main(["collections", "backup", str(tmp_path / "b"), "--at", str(data)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("idempotency: 1 answer (")
    assert said[1].startswith(f"galleries: 2 collections, {PERSONS - 1 + 9} persons, {PERSONS - 1 + 9} faces (")
    assert said[2].startswith("keys: 2 keys, 2 valid (")
    assert said[3].startswith(f"{tmp_path / 'b'}: a backup of {data} as of 20")
    assert {path.name for path in (tmp_path / "b").iterdir()} == {*FILES, FILE}
    assert everything(data).keys() >= before.keys()
    assert [before[name] == everything(data)[name] for name in before] == [True] * len(before)


def test_nobody_but_its_owner_may_read_it(data: Path, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        backed_up(data, tmp_path / "b")
    finally:
        os.umask(old)
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "b").iterdir()} == {0o600}


def test_what_was_deleted_before_is_not_in_it(tmp_path: Path) -> None:
    """As bytes neither: a backup is kept for longer than two minutes."""
    mark = unit(PERSONS)[3].tobytes()
    data = make(tmp_path / "data")
    backed_up(data, tmp_path / "b")
    assert not any(mark in content for content in everything(tmp_path / "b").values())


@pytest.mark.timeout(900)
@pytest.mark.parametrize("writers", [3, pytest.param(8, marks=SLOW)])
def test_what_was_acknowledged_before_it_began_is_in_it_and_nothing_is_half(tmp_path: Path, writers: int) -> None:
    data = tmp_path / "data"
    with opened(data / GALLERIES) as store:
        store.create(new())
    workers = [worker_in(data / GALLERIES, f"w{i}", 0, 1_000_000, 3) for i in range(writers)]
    known = []
    try:
        for worker in workers:
            worker.begun.wait(300)
        for n in range(3):
            wait_ready(lambda n=n: all(len(worker.acknowledged) > 30 * (n + 1) for worker in workers), 300)
            known.append({worker.who: list(worker.acknowledged) for worker in workers})
            backed_up(data, tmp_path / f"b{n}")
        assert all(worker.process.poll() is None for worker in workers)
    finally:
        for worker in workers:
            worker.kill()
    for n, before in enumerate(known):
        put_back(tmp_path / f"b{n}", tmp_path / f"again{n}")
        with opened(tmp_path / f"again{n}" / GALLERIES) as store:
            for who, acknowledged in before.items():
                assert acknowledged
                hold_whole(store, who, acknowledged)
            collection = store.collection("staff")
            assert collection.faces == sum(1 for _ in store.export("staff")) == 3 * collection.persons


def test_a_killed_service_s_data_are_backed_up_as_they_would_be_found(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with opened(data / GALLERIES) as store:
        store.create(new())
    worker = worker_in(data / GALLERIES, "w", 0, 1_000_000, 3)
    worker.begun.wait(200)
    worker.kill()
    put_back(backed_up(data, tmp_path / "b"), tmp_path / "again")
    with opened(tmp_path / "again" / GALLERIES) as store:
        hold_whole(store, "w", worker.acknowledged)


def test_a_folder_that_holds_something_is_left_alone(data: Path, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("mine")
    for name in ("b", "data", "file"):
        (tmp_path / "file").touch()
        with pytest.raises(BackupRefused, match=r"not there yet, or is empty|keeps its data"):
            backed_up(data, tmp_path / name)
    assert everything(tmp_path / "b") == {"mine.txt": b"mine"}
    backed_up(data, tmp_path / "c")
    whole = everything(tmp_path / "c")
    with pytest.raises(BackupRefused, match="is not empty"):
        backed_up(data, tmp_path / "c")
    assert everything(tmp_path / "c") == whole


def test_it_may_lie_within_data_dir_though_not_among_the_galleries(data: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(data / GALLERIES)
    for name in (data / GALLERIES / "b", tmp_path / "link" / "b", data / "nothing" / ".."):
        with pytest.raises(BackupRefused):
            backed_up(data, name)
    (data / "backups").mkdir()
    backed_up(data, data / "backups" / "one")
    put_back(data / "backups" / "one", tmp_path / "again")


def test_an_empty_folder_may_be_a_volume_that_was_mounted(data: Path, tmp_path: Path) -> None:
    (tmp_path / "b" / "lost+found").mkdir(parents=True)
    put_back(backed_up(data, tmp_path / "b"), tmp_path / "again")


def test_nothing_to_back_up_is_told(tmp_path: Path) -> None:
    with pytest.raises(BackupRefused, match="there is nothing to back up"):
        backed_up(tmp_path / "data", tmp_path / "b")
    assert not (tmp_path / "b").exists() and not (tmp_path / "data").exists()


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("room", [1000, 20_000, 100_000, 240_000])
def test_a_full_disk_leaves_nothing_half(data: Path, tmp_path: Path, room: int, made: bool) -> None:
    target = tmp_path / "b"
    if made:
        target.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "visage", "collections", "backup", str(target), "--at", str(data)],
        cwd=REPO,
        env={**os.environ, "PYTHONPATH": str(REPO / "src")},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    size = (data / GALLERIES / database.FILE).stat().st_size
    assert room < size, "the limit must be met"
    assert done.returncode == 1 and done.stderr.startswith("visage: Backup refused: "), done.stderr
    assert target.exists() == made and not (made and list(target.iterdir()))


class _Stop:
    """Raises when a part has been worked at so often."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, _part: Part, _done: int, _of_all: int) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize("at", [1, 5, 9])
def test_ctrl_c_leaves_nothing_half(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    monkeypatch.setattr(copying, "_LOOK_EVERY", 50)
    with pytest.raises(KeyboardInterrupt):
        back_up(data, tmp_path / "b", PARTS, _Stop(at))
    assert not (tmp_path / "b").exists()
    backed_up(data, tmp_path / "b")


def test_sigint_ends_the_command_with_its_status(tmp_path: Path) -> None:
    data = tmp_path / "data"
    program = (
        "import os, signal, sys\nfrom visage.cli import backup\nfrom visage.databases import copying\n"
        "from visage.__main__ import main\ncopying._LOOK_EVERY = 50\n"
        "backup._Progress.__call__ = lambda *_: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.exit(main(['collections', 'backup', sys.argv[1], '--at', sys.argv[2]]))"
    )
    make(data)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "b"), str(data)],
        cwd=REPO,
        env={**os.environ, "PYTHONPATH": str(REPO / "src")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode in (130, -signal.SIGINT), done.stderr
    assert not (tmp_path / "b").exists()


def test_what_one_that_was_killed_left_is_no_backup_and_makes_way(data: Path, tmp_path: Path) -> None:
    left = backed_up(data, tmp_path / "b")
    (left / FILE).unlink()
    (left / FILES[0]).rename(left / f"{FILES[0]}{making.UNFINISHED}")
    with pytest.raises(BackupRefused, match=r"was not finished: it has no manifest\.json"):
        put_back(left, tmp_path / "again")
    put_back(backed_up(data, left), tmp_path / "again")
    assert not (tmp_path / "again" / f"{FILES[0]}{making.UNFINISHED}").exists()


def damaged(path: Path) -> Iterator[bytes]:
    """A page of a table or an index, another one at a time."""
    whole = path.read_bytes()
    for at in range(16384 * 3, len(whole), 16384 * 5):
        yield whole[:at] + bytes(16384) + whole[at + 16384 :]


def test_a_damaged_database_is_not_backed_up(data: Path, tmp_path: Path) -> None:
    path = data / GALLERIES / database.FILE
    shutil.copyfile(path, tmp_path / "whole")
    refused = 0
    for content in damaged(tmp_path / "whole"):
        path.write_bytes(content)
        try:
            backed_up(data, tmp_path / "b")
        except BackupRefused as error:
            refused += 1
            assert "damaged" in str(error) or "malformed" in str(error)
            assert not (tmp_path / "b").exists()
        else:  # it was an index, which a copy has anew
            put_back(tmp_path / "b", tmp_path / "again")
            shutil.rmtree(tmp_path / "b")
            shutil.rmtree(tmp_path / "again")
    assert refused


def test_a_collection_that_does_not_hold_what_it_says_is_not_backed_up(data: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(data / GALLERIES / database.FILE)) as connection, connection:
        connection.execute("UPDATE faces SET vector = x'00' WHERE id = 'f1'")
    with pytest.raises(BackupRefused, match="'staff' does not hold as many"):
        backed_up(data, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_the_manifest_names_a_moment_before_the_copies(data: Path, tmp_path: Path) -> None:
    manifest = back_up(data, tmp_path / "b", PARTS, unsaid)
    assert read(tmp_path / "b") == manifest and manifest.begun.endswith("+00:00")
    assert list(manifest.copies) == ["idempotency", "galleries", "keys"]  # an answer without its write must not be
