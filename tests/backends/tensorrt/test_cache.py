import logging
import multiprocessing
import os
import time
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from visage.backends.tensorrt.cache import EngineCache, Key, Unusable
from visage.backends.tensorrt.profile import Profile
from visage.errors import GraphRejected
from visage.lock import alone

PROFILE = Profile((1, 3, 32, 32), (4, 3, 480, 640), (4, 3, 640, 640))
KEY = Key("tensorrt 10.13.0", "sm86", "a" * 64, "b" * 64, "fp32", PROFILE)


class House:
    """A cache, and how often an engine was built for it."""

    def __init__(self, folder: Path, key: Key = KEY) -> None:
        self.cache = EngineCache(folder, "net", key)
        self.built = 0
        self.given: list[bytes] = []

    def obtain(self, load: Any = lambda data: data) -> Any:
        def build(timings: bytes) -> tuple[bytes, bytes]:
            self.built += 1
            self.given.append(timings)
            return f"engine {self.built}\n".encode(), b"measured"

        return self.cache.obtain(build, load)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "onnx" / "net")


def test_an_engine_is_built_once_and_found_again(house: House, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert [house.obtain(), house.obtain()] == [b"engine 1\n"] * 2
    assert house.built == 1 and house.cache.path.name.startswith("net.tensorrt-10.13.0.sm86.fp32.")
    assert [record.message for record in caplog.records] == [
        "net: building its TensorRT engine: there is none for this GPU, TensorRT, precision and sizes yet"
    ]
    assert {path.name for path in house.cache.folder.iterdir()} == {
        house.cache.path.name,
        "net.tensorrt-10.13.0.sm86.timing",
        ".lock-engine",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"library": "tensorrt 10.14.0"},
        {"capability": "sm89"},
        {"weights": "c" * 64},
        {"file": "c" * 64},
        {"precision": "fp16"},
        {"profile": replace(PROFILE, most=(8, 3, 640, 640))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_it_depends_on_makes_it_another_engine(house: House, change: dict[str, Any]) -> None:
    house.obtain()
    other = House(house.cache.folder, replace(KEY, **change))
    assert other.cache.path != house.cache.path
    other.obtain()
    assert (other.built, house.obtain(), house.built) == (1, b"engine 1\n", 1)  # and the first one stays


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "header", "empty", "other"])
def test_a_broken_or_foreign_file_is_built_anew_with_the_reason(
    house: House, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    house.obtain()
    path = house.cache.path
    data = path.read_bytes()
    other = EngineCache(house.cache.folder, "net", replace(KEY, capability="sm75"))
    House(house.cache.folder, other.key).obtain()
    path.write_bytes(
        {
            "cut": data[:-3],
            "flipped": data[:-3] + bytes([data[-3] ^ 1]) + data[-2:],
            "foreign": b"ftrt" + data,
            "header": data.replace(b'"sha256"', b"sha256"),
            "empty": b"",
            "other": other.path.read_bytes(),
        }[damage]
    )
    with caplog.at_level(logging.INFO):
        assert house.obtain() == b"engine 2\n"
    told = {"foreign": "is no engine of ours", "empty": "there is none", "other": "was built of or for something else"}
    (said,) = [record.message for record in caplog.records]
    assert told.get(damage, "is damaged") in said
    assert house.obtain() == b"engine 2\n" and house.built == 2


def test_an_engine_that_tensorrt_refuses_is_built_anew_with_its_reason(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.obtain()

    def load(data: bytes) -> bytes:
        if data == b"engine 1\n":
            raise Unusable("incompatible serialization version")
        return data

    with caplog.at_level(logging.INFO):
        assert house.obtain(load) == b"engine 2\n"
    assert "net: building its TensorRT engine: incompatible serialization version" in caplog.text


def test_one_that_cannot_be_used_when_just_built_is_an_error_and_no_circle(house: House) -> None:
    def load(_: bytes) -> None:
        raise Unusable("no such device")

    with pytest.raises(GraphRejected, match=r"^net: the engine that was just built cannot be used: no such device"):
        house.obtain(load)
    assert house.built == 1


def test_what_was_measured_is_given_to_the_next_build(house: House) -> None:
    house.obtain()
    other = House(house.cache.folder, replace(KEY, weights="c" * 64))
    other.obtain()
    elsewhere = House(house.cache.folder, replace(KEY, capability="sm75"))
    elsewhere.obtain()
    assert (house.given, other.given, elsewhere.given) == ([b""], [b"measured"], [b""])


def test_what_a_killed_process_left_is_swept_and_never_read(house: House) -> None:
    house.cache.folder.mkdir(parents=True)
    left = house.cache.folder / f".engine-{house.cache.path.name}"
    left.write_bytes(b"half")
    assert house.obtain() == b"engine 1\n" and not left.exists()


def test_a_folder_that_cannot_be_written_gives_an_engine_for_this_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way", "utf-8")
    house = House(tmp_path / "file" / "net")
    assert house.obtain() == b"engine 1\n"
    assert "an engine is built for this start only: net: cannot write to" in caplog.text


def test_a_full_disk_gives_an_engine_for_this_start(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert house.obtain() == b"engine 1\n"
    assert "No space left on device" in caplog.text and not house.cache.path.exists()


def test_what_a_build_raises_is_raised(house: House) -> None:
    def build(_: bytes) -> tuple[bytes, bytes]:
        raise GraphRejected("net: no such operator")

    with pytest.raises(GraphRejected, match="no such operator"):
        house.cache.obtain(build, lambda data: data)
    assert not house.cache.path.exists()


def _one_of_several(folder: Path, log: Path, at_once: Barrier) -> None:
    def build(_: bytes) -> tuple[bytes, bytes]:
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.3)
        return f"engine of {os.getpid()}".encode(), b""

    at_once.wait(100)  # processes start when they may
    engine = EngineCache(folder, "net", KEY).obtain(build, lambda data: data)
    log.with_name(f"{os.getpid()}.got").write_bytes(engine)


def test_of_several_processes_one_builds_and_all_have_its_engine(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    log = tmp_path / "built"
    at_once = spawn.Barrier(3)
    workers = [spawn.Process(target=_one_of_several, args=(tmp_path / "net", log, at_once)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(110)
    (builder,) = log.read_text("utf-8").split()
    assert [path.read_bytes() for path in tmp_path.glob("*.got")] == [f"engine of {builder}".encode()] * 3


def test_the_lock_of_whoever_prepares_the_model_is_not_waited_for(house: House) -> None:
    house.cache.folder.mkdir(parents=True)
    with alone(house.cache.folder / ".lock", "net"):  # as a race of engines holds it
        assert house.obtain() == b"engine 1\n"
