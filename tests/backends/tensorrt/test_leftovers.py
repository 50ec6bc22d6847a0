"""Which engines nothing opens again."""

from dataclasses import replace
from pathlib import Path

from tests.backends.tensorrt.test_cache import KEY, PROFILE
from visage.backends.tensorrt.cache import EngineCache, Key, key_of
from visage.backends.tensorrt.leftovers import leftovers
from visage.backends.tensorrt.profile import Profile

OLDER = replace(KEY, library="tensorrt 10.9.0")
OTHER_FILE = replace(KEY, file="c" * 64)
KEPT = [
    KEY,
    replace(KEY, capability="sm89"),
    replace(KEY, precision="fp16"),
    replace(KEY, profile=Profile(PROFILE.least, PROFILE.usual, (8, *PROFILE.most[1:]))),
    replace(KEY, library="tensorrt_rtx 1.7"),  # another package, which may be in use beside it
]


def build(folder: Path, key: Key, name: str = "a.net") -> Path:
    cache = EngineCache(folder, name, key)
    cache.obtain(lambda _: (b"engine", b"measured"), lambda data: data)
    return cache.path


def found(folder: Path, library: str | None = KEY.library, files: frozenset[str] = frozenset({KEY.file})) -> set[str]:
    return {one.path.name for one in leftovers(folder, "a.net", library, files)}


def test_those_of_another_tensorrt_and_of_another_file_are_left_over(tmp_path: Path) -> None:
    kept = [build(tmp_path, key) for key in KEPT]
    older, other = build(tmp_path, OLDER), build(tmp_path, OTHER_FILE)
    told = {one.path: (one.size, one.why) for one in leftovers(tmp_path, "a.net", KEY.library, {KEY.file})}
    assert told == {
        older: (older.stat().st_size, "of tensorrt 10.9.0; tensorrt 10.13.0 is here"),
        tmp_path / "a.net.tensorrt-10.9.0.sm86.timing": (8, "what tensorrt 10.9.0 measured; tensorrt 10.13.0 is here"),
        other: (other.stat().st_size, "of another file than the network's now"),
    }
    assert all(path.is_file() for path in (*kept, older, other))  # nothing is deleted here


def test_what_is_not_known_is_left_alone(tmp_path: Path) -> None:
    older, other = build(tmp_path, OLDER), build(tmp_path, OTHER_FILE)
    assert found(tmp_path, library=None) == {other.name}
    assert found(tmp_path, files=frozenset()) == {older.name, "a.net.tensorrt-10.9.0.sm86.timing"}
    assert found(tmp_path, None, frozenset()) == set()


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    for name in ("a.net.engine", "a.net.mine.engine", "b.tensorrt-10.9.0.sm86.timing", "a.net.mine.timing"):
        (tmp_path / name).write_bytes(b"whatever")
    damaged = build(tmp_path, OLDER)
    damaged.write_bytes(damaged.read_bytes()[:40])
    assert key_of(damaged) is None and found(tmp_path) == {"a.net.tensorrt-10.9.0.sm86.timing"}
    draft = tmp_path / f".engine-{damaged.name}"
    build(tmp_path, replace(OLDER, capability="sm70")).replace(draft)  # one that is being written
    assert draft.name not in found(tmp_path)
