"""Milvus Lite: one process, one file."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.search.conftest import NO_PYMILVUS
from tests.search.contract.places import PATIENT
from tests.search.embedded.worker import FACES
from tests.search.galleries import ids, many, new, opened, unit
from tests.support import REPO
from visage.errors import BackendUnavailable, ConfigurationError, StoreUnavailable
from visage.search import places
from visage.search.moving import Moved, move

HAS_PYMILVUS = find_spec("pymilvus") is not None and find_spec("milvus_lite") is not None
open_place = partial(places.open_place, milvus=places.Milvus(seconds=PATIENT))
needs_pymilvus = pytest.mark.skipif(not HAS_PYMILVUS, reason=NO_PYMILVUS)


@pytest.mark.skipif(HAS_PYMILVUS, reason="pymilvus is installed")
def test_without_pymilvus_it_is_said_how_to_install_it() -> None:
    with pytest.raises(BackendUnavailable, match=r"pip install visage\[milvus\]"):
        open_place("http://127.0.0.1:9")


@needs_pymilvus
def test_an_address_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"called \*\.db"):
        open_place(f"milvus:{tmp_path / 'galleries'}")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(StoreUnavailable, match="folder of the store cannot be made"):
        open_place(f"milvus:{tmp_path / 'file' / 'x.db'}")


@needs_pymilvus
def test_a_collection_moves_there_and_back_and_the_file_is_free_again(tmp_path: Path) -> None:
    address = f"milvus:{tmp_path / 'new' / 'lite.db'}"
    with opened(tmp_path / "a") as here, opened(tmp_path / "b") as back:
        here.create(new(precision="int8", metadata={"floor": 2}))
        here.enrol("staff", many(unit(300)))
        there, second = open_place(address), open_place(address)
        assert move(here, there, "staff") == Moved(300, 300, 32)
        assert ids(second, unit(300)[7], top=1) == ["p7"]
        second.close()
        assert move(there, back, "staff", precision="fp32") == Moved(300, 300, 32)
        there.close()
    opens = f"from visage.search.places import open_place; print(open_place({address!r}).collection('staff').faces)"
    assert _run(opens).stdout.strip() == "300"


@needs_pymilvus
def test_a_second_process_is_told_that_the_file_is_taken(tmp_path: Path) -> None:
    address = f"milvus:{tmp_path / 'lite.db'}"
    store = open_place(address)
    store.create(new())
    opens = f"from visage.search.places import open_place; open_place({address!r}).collection('staff')"
    assert "another process has it" in _run(opens).stderr
    store.close()


@needs_pymilvus
def test_what_was_acknowledged_is_there_after_kill_9_and_nothing_is_half(tmp_path: Path) -> None:
    address = str(tmp_path / "lite.db")
    store = open_place(f"milvus:{address}")
    store.create(new())
    store.close()
    acknowledged = 0
    for round_ in range(2):
        worker = subprocess.Popen(
            [sys.executable, "-m", "tests.search.milvus.worker", address, f"r{round_}", "300", "5"],
            cwd=REPO,
            env=_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        told = 0
        while told < 2 and (line := worker.stdout.readline()):
            told += line[:1].isdecimal()
        time.sleep(0.5)
        worker.send_signal(signal.SIGKILL)
        told += len([line for line in worker.stdout.read().split("\n")[:-1] if line[:1].isdecimal()])
        acknowledged += 5 * told
        worker.stdout.close()
        worker.wait()
    store = open_place(f"milvus:{address}")
    persons = store.persons("staff", limit=10_000)
    assert len(persons) >= acknowledged >= 20
    assert all(person.faces == FACES for person in persons)
    store.close()


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(REPO / "src"), str(REPO), os.environ.get("PYTHONPATH", "")]),
    }


def _run(program: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", program], env=_environment(), capture_output=True, text=True, timeout=200, check=False
    )
