import json
import logging
import multiprocessing
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.networks import Embedder
from visage.errors import ChecksumMismatch, DownloadFailed, GraphRejected, ModelFileError
from visage.zoo import store as store_module
from visage.zoo.catalogue import Entry, Licence, LocalFile, PackageFile
from visage.zoo.sources import Fetching
from visage.zoo.store import Prepared, Store
from visage.zoo.transfer import digest

PACKAGE = "package_of_networks"


def entry(**fields: Any) -> Entry:
    """An entry whose file is in the test's package, to be rewritten once."""
    whole = {"sources": (PackageFile(package=PACKAGE, file="a.onnx"),), "rewrites": ("dynamic_batch",), **fields}
    return Entry(name="tiny", family="arcface", licence=Licence(id="MIT"), **whole)


def by_hand(**fields: Any) -> Entry:
    return entry(sources=(), rewrites=(), **fields)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in the package."""
    folder = tmp_path / "packages" / PACKAGE
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(folder.parent)
    return Embedder.of(4).save(folder / "a.onnx", batch=1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(Fetching(tmp_path / "models"))


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file with its inode, its time and its bytes."""
    return {
        str(f.relative_to(folder)): (f.stat().st_ino, f.stat().st_mtime_ns, f.read_bytes())
        for f in sorted(folder.rglob("*"))
        if f.is_file()
    }


def files(store: Store) -> set[str]:
    """Names of what lies in the model's folder."""
    return {Path(name).name for name in snapshot(store.folder)}


def to_rewrite(**fields: Any) -> Entry:
    return entry(sources=(), **fields)


def prepared_path(store: Store) -> Path:
    return store.path("tiny").with_name("tiny.prepared.onnx")


def manifest(store: Store) -> Path:
    return store.path("tiny").with_suffix(".prepared.json")


# -- once and for all ---------------------------------------------------------------------------------------------


def test_preparing_makes_the_file_and_a_manifest_that_describes_it(source: Path, store: Store) -> None:
    prepared = store.prepare(entry())

    assert prepared == Prepared(prepared_path(store), digest(source), verified=False)
    assert prepared.path == store.folder / "onnx" / "tiny" / "tiny.prepared.onnx"
    told = json.loads(manifest(store).read_text())
    assert told["sha256"] == digest(prepared.path) and told["source_sha256"] == digest(source)
    assert {f.name for f in prepared.path.parent.iterdir()} <= {"tiny.prepared.onnx", "tiny.prepared.json", ".lock"}


def test_a_file_with_the_catalogue_s_hash_is_verified(source: Path, store: Store) -> None:
    known = entry(sha256=digest(source))

    assert store.prepare(known).verified and store.prepare(known).verified


def test_without_rewrites_the_file_is_the_published_one(source: Path, store: Store) -> None:
    assert store.prepare(entry(rewrites=())).path.read_bytes() == source.read_bytes()


def test_preparing_again_touches_nothing(source: Path, store: Store) -> None:
    first = store.prepare(entry())
    before = snapshot(store.folder)

    assert store.prepare(entry()) == first
    assert snapshot(store.folder) == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda file, manifest: file.write_bytes(file.read_bytes()[:-1]),
        lambda file, manifest: file.write_bytes(b""),
        lambda file, manifest: file.unlink(),
        lambda file, manifest: manifest.unlink(),
        lambda file, manifest: manifest.write_text(""),
        lambda file, manifest: manifest.write_text("[]"),
        lambda file, manifest: manifest.write_text("{}"),
        lambda file, manifest: manifest.write_bytes(b"\xff\xfe"),
        lambda file, manifest: manifest.write_text(manifest.read_text().replace('"sha256": "', '"sha256": "0')),
    ],
)
def test_what_is_damaged_is_made_anew(source: Path, store: Store, damage: Callable[[Path, Path], object]) -> None:
    first = store.prepare(entry())
    whole = first.path.read_bytes()
    damage(first.path, manifest(store))

    assert store.prepare(entry()) == first
    assert first.path.read_bytes() == whole
    assert json.loads(manifest(store).read_text())["sha256"] == digest(first.path)


def test_a_changed_entry_makes_the_file_anew(source: Path, store: Store) -> None:
    first = store.prepare(entry()).path.stat().st_ino
    before = json.loads(manifest(store).read_text())
    second = store.prepare(entry(rewrites=("first_input_only", "dynamic_batch"))).path.stat().st_ino

    assert json.loads(manifest(store).read_text())["recipe"] != before["recipe"] and first != second


def test_a_hash_that_becomes_known_makes_nothing_anew(source: Path, store: Store) -> None:
    first = store.prepare(entry())
    before = snapshot(store.folder)

    assert store.prepare(entry(sha256=digest(source))) == replace(first, verified=True)
    assert snapshot(store.folder) == before


def test_a_newer_recipe_makes_the_file_anew(source: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    inode = store.prepare(entry()).path.stat().st_ino
    monkeypatch.setattr(store_module, "RECIPE_VERSION", store_module.RECIPE_VERSION + 1)

    assert store.prepare(entry()).path.stat().st_ino != inode


# -- what goes wrong ----------------------------------------------------------------------------------------------


def test_a_source_of_another_hash_is_refused_and_leaves_nothing(source: Path, store: Store) -> None:
    with pytest.raises(ChecksumMismatch, match=f"tiny: .*{digest(source)}.*{'0' * 64}"):
        store.prepare(entry(sha256="0" * 64))
    assert [name for name in snapshot(store.folder) if not name.endswith(".lock")] == []


def test_a_source_of_another_hash_leaves_the_old_file_usable(source: Path, store: Store) -> None:
    known = entry(sha256=digest(source))
    first = store.prepare(known)
    with pytest.raises(ChecksumMismatch):
        store.prepare(entry(sha256="0" * 64))

    assert store.prepare(known) == first


def test_a_source_that_is_no_network_leaves_nothing(source: Path, store: Store) -> None:
    source.write_bytes(b"<html>404</html>")
    with pytest.raises(GraphRejected):
        store.prepare(entry())
    assert [name for name in snapshot(store.folder) if not name.endswith(".lock")] == []


def test_when_every_source_fails_each_is_named_and_the_place_for_the_file(source: Path, store: Store) -> None:
    missing = (PackageFile(package="no_such_package", file="a"), PackageFile(package=PACKAGE, file="b.onnx"))
    with pytest.raises(DownloadFailed) as caught:
        store.prepare(entry(sources=missing))
    said = str(caught.value)
    assert all(part in said for part in ("tiny", "no_such_package", "b.onnx", str(store.path("tiny"))))
    assert "\n" not in said


def test_the_next_source_is_tried_when_one_fails(source: Path, store: Store) -> None:
    two = (PackageFile(package="no_such_package", file="a"), PackageFile(package=PACKAGE, file="a.onnx"))

    assert store.prepare(entry(sources=two)).sha256 == digest(source)


def test_a_folder_that_cannot_be_written_is_one_line_that_names_the_setting(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelFileError) as caught:
        Store(Fetching(tmp_path / "file" / "models")).prepare(entry())
    assert "tiny" in str(caught.value) and "MODELS_DIR" in str(caught.value) and "\n" not in str(caught.value)


def test_a_full_disk_is_one_line_and_leaves_nothing(
    source: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelFileError, match=r"No space left on device.*MODELS_DIR"):
        store.prepare(entry())
    assert [name for name in snapshot(store.folder) if not name.endswith(".lock")] == []


# -- crashes and neighbours ---------------------------------------------------------------------------------------


def _die_at(step: int, models: Path, packages: str, fields: dict[str, Any]) -> None:
    """Prepare, but the power fails at the `step`-th sync or rename."""
    sys.path.insert(0, packages)
    left = [step]

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                os._exit(77)
            return real(*args)

        return call

    os.fsync = dying(os.fsync)
    Path.replace = dying(Path.replace)  # type: ignore[method-assign]
    Store(Fetching(models)).prepare(entry(**fields))
    os._exit(0)


def _prepare_into(models: Path, packages: str, gate: Any, answers: Any) -> None:
    sys.path.insert(0, packages)
    gate.wait(200)
    try:
        answers.put(Store(Fetching(models)).prepare(entry()).sha256)
    except ModelFileError as error:
        answers.put(repr(error))


SPAWN = multiprocessing.get_context("spawn")


@pytest.mark.timeout(600)  # ten processes start
def test_a_crash_between_any_two_steps_never_leaves_half_a_model(source: Path, tmp_path: Path) -> None:
    packages = str(source.parent.parent)
    # A copy of its own first: sync, rename, sync, rename (of the note); then the draft's rename and the same of the prepared form.
    fields = {"sources": (PackageFile(package="no_such_package", file="a"), LocalFile(path=str(source)))}
    steps = range(10)
    processes = [SPAWN.Process(target=_die_at, args=(step, tmp_path / f"m{step}", packages, fields)) for step in steps]
    for process in processes:
        process.start()
    for process in processes:
        process.join(500)
    assert [process.exitcode for process in processes] == [77] * 9 + [0]

    for step in steps:
        store = Store(Fetching(tmp_path / f"m{step}"))
        left = snapshot(store.folder)
        assert ("onnx/tiny/tiny.onnx" in left) == (step >= 2) and ("onnx/tiny/tiny.json" in left) == (step >= 4)
        assert ("onnx/tiny/tiny.prepared.onnx" in left) == (step >= 7)
        assert ("onnx/tiny/tiny.prepared.json" in left) == (step == 9)  # the note comes last: it means complete
        whole = store.prepare(entry(**fields))
        assert json.loads(manifest(store).read_text())["sha256"] == digest(whole.path)
        assert whole.sha256 == digest(source) == digest(store.path("tiny"))
        assert files(store) <= {"tiny.onnx", "tiny.json", "tiny.prepared.onnx", "tiny.prepared.json", ".lock"}


@pytest.mark.timeout(600)
def test_two_processes_that_prepare_at_once_both_succeed_with_one_file(source: Path, store: Store) -> None:
    gate, answers = SPAWN.Barrier(2), SPAWN.Queue()
    arguments = (store.folder, str(source.parent.parent), gate, answers)
    processes = [SPAWN.Process(target=_prepare_into, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    got = [answers.get(timeout=300) for _ in processes]
    for process in processes:
        process.join(100)

    assert got == [digest(source)] * 2
    assert files(store) <= {"tiny.prepared.onnx", "tiny.prepared.json", ".lock"}
    assert store.prepare(entry()).sha256 == digest(source)


# -- put by hand --------------------------------------------------------------------------------------------------


@pytest.fixture
def placed(source: Path, store: Store) -> Path:
    path = store.path("tiny")
    path.parent.mkdir(parents=True)
    path.write_bytes(source.read_bytes())
    return path


def test_a_missing_file_that_is_put_by_hand_is_answered_with_its_place(store: Store) -> None:
    with pytest.raises(DownloadFailed) as caught:
        store.prepare(by_hand())
    assert str(caught.value) == f"tiny: no file at {store.path('tiny')}; put the ONNX file there"


def test_a_file_put_by_hand_without_a_known_hash_is_unverified_and_said_to_be_fault_02(
    placed: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        prepared = store.prepare(by_hand())

    assert prepared == Prepared(placed, digest(placed), verified=False)
    assert "tiny is unverified" in caplog.text and digest(placed) in caplog.text


def test_a_file_put_by_hand_with_the_known_hash_is_verified(placed: Path, store: Store) -> None:
    assert store.prepare(by_hand(sha256=digest(placed))).verified


def test_a_file_put_by_hand_with_another_hash_is_refused_and_kept(placed: Path, store: Store) -> None:
    with pytest.raises(ChecksumMismatch, match=f"{digest(placed)}, the catalogue says {'0' * 64}"):
        store.prepare(by_hand(sha256="0" * 64))
    assert placed.is_file()


# -- put by hand, to be rewritten ---------------------------------------------------------------------------------


def test_a_file_put_by_hand_that_needs_rewriting_gets_its_prepared_form_beside_it_and_stays(
    placed: Path, store: Store
) -> None:
    own = snapshot(placed.parent)["tiny.onnx"]
    prepared = store.prepare(to_rewrite())

    assert prepared == Prepared(prepared_path(store), digest(placed), verified=False)
    assert snapshot(placed.parent)["tiny.onnx"] == own
    told = json.loads(prepared.path.with_suffix(".json").read_text())
    assert told["sha256"] == digest(prepared.path) and told["source_sha256"] == digest(placed)
    assert {f.name for f in placed.parent.iterdir()} <= {
        "tiny.onnx",
        "tiny.prepared.onnx",
        "tiny.prepared.json",
        ".lock",
    }


def test_a_file_put_by_hand_is_rewritten_as_its_entry_says(placed: Path, store: Store) -> None:
    prepared = store.prepare(to_rewrite())

    batch = onnx.load(prepared.path).graph.input[0].type.tensor_type.shape.dim[0]
    assert (batch.dim_param, onnx.load(placed).graph.input[0].type.tensor_type.shape.dim[0].dim_value) == ("batch", 1)


def test_a_prepared_form_is_made_once(placed: Path, store: Store) -> None:
    first = store.prepare(to_rewrite())
    before = snapshot(store.folder)

    assert store.prepare(to_rewrite()) == first
    assert snapshot(store.folder) == before


@pytest.mark.parametrize("known", [False, True])
def test_another_file_put_in_its_place_is_prepared_anew(placed: Path, store: Store, known: bool) -> None:
    first = store.prepare(to_rewrite())
    whole = first.path.read_bytes()
    Embedder.of(5).save(placed, batch=1)
    second = store.prepare(to_rewrite(**({"sha256": digest(placed)} if known else {})))

    assert second == Prepared(first.path, digest(placed), known) and second.sha256 != first.sha256
    assert second.path.read_bytes() != whole


def test_a_damaged_prepared_form_is_made_anew(placed: Path, store: Store) -> None:
    first = store.prepare(to_rewrite())
    whole = first.path.read_bytes()
    first.path.write_bytes(whole[:-1])

    assert store.prepare(to_rewrite()) == first
    assert first.path.read_bytes() == whole


def test_a_file_put_by_hand_that_has_gone_is_missed_even_with_its_prepared_form_there(
    placed: Path, store: Store
) -> None:
    store.prepare(to_rewrite())
    placed.unlink()
    with pytest.raises(DownloadFailed, match="put the ONNX file there"):
        store.prepare(to_rewrite())


def test_a_file_put_by_hand_with_another_hash_is_not_rewritten(placed: Path, store: Store) -> None:
    with pytest.raises(ChecksumMismatch, match=f"{digest(placed)}, the catalogue says {'0' * 64}"):
        store.prepare(to_rewrite(sha256="0" * 64))
    assert list(snapshot(placed.parent)) == ["tiny.onnx"]


def test_a_file_put_by_hand_that_is_no_network_is_named_and_kept(placed: Path, store: Store) -> None:
    placed.write_bytes(b"<html>404</html>")
    with pytest.raises(GraphRejected, match=r"tiny\.onnx is no ONNX file"):
        store.prepare(to_rewrite())
    assert {name for name in snapshot(placed.parent) if name != ".lock"} == {"tiny.onnx"}
    assert placed.read_bytes() == b"<html>404</html>"
