import resource
import socket
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from tests.support import REPO, own_address
from visage.cgroup import Limits
from visage.cores import Cores
from visage.doctor import machine
from visage.doctor.finding import Finding


def only(found: list[Finding]) -> Finding:
    (one,) = found
    return one


def test_the_pythons_are_those_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = SpecifierSet(tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"])
    for minor in range(8, 20):
        monkeypatch.setattr(machine.sys, "version_info", (3, minor, 1))
        expected = "good" if wanted.contains(f"3.{minor}.1") else "bad"
        assert only(list(machine.python())).verdict == expected, minor


def test_more_processes_than_cores_are_doubtful() -> None:
    assert only(list(machine.cores(1))).verdict == "good"
    many = only(list(machine.cores(4096)))
    assert many.verdict == "doubtful" and many.remedy.startswith("NUM_WORKERS=")


def test_a_share_of_many_cores_is_doubtful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 32)
    monkeypatch.setattr(machine, "available", lambda: Cores(16, 1.5))
    share = only(list(machine.cores(1)))
    assert share.verdict == "doubtful" and share.what.startswith(
        "16 of 32 may be used, but this container gets the time of 1.5"
    )
    assert "a run of a network takes 1" in share.what and "--cpuset-cpus" in share.remedy
    monkeypatch.setattr(machine, "available", lambda: Cores(16, 16.0))
    assert only(list(machine.cores(1))).verdict == "good"


def test_the_lesser_of_what_is_free_and_of_the_container_s_limit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = tmp_path / "meminfo"
    told.write_text("MemTotal:  9 kB\nMemAvailable:    2048 kB\n", "utf-8")
    monkeypatch.setattr(machine, "_MEMORY", told)
    monkeypatch.setattr(machine, "limits", lambda: Limits(2**20, None))
    assert machine.memory() == (2**20, "is this container's limit")
    monkeypatch.setattr(machine, "limits", lambda: Limits(2**30, None))
    assert machine.memory() == (2**21, "are free")
    told.unlink()
    assert machine.memory() == (2**30, "is this container's limit")  # then the whole machine's counts


@pytest.mark.parametrize(("soft", "verdict"), [(64, "doubtful"), (1024, "good"), (resource.RLIM_INFINITY, "good")])
def test_few_open_files_are_doubtful(monkeypatch: pytest.MonkeyPatch, soft: int, verdict: str) -> None:
    monkeypatch.setattr(machine.resource, "getrlimit", lambda _: (soft, 4096))
    found = only(list(machine.files()))
    assert found.verdict == verdict and ("4096" in found.remedy) == (verdict == "doubtful")


def test_no_place_for_temporary_files_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    assert only(list(machine.scratch())).verdict == "good"
    monkeypatch.setattr(machine.tempfile, "gettempdir", nowhere)
    found = only(list(machine.scratch()))
    assert found.verdict == "bad" and "--tmpfs /tmp" in found.remedy


def test_a_port_that_is_taken_is_told() -> None:
    host = own_address()  # once it is free again, nobody else takes it
    with socket.socket() as taken:
        taken.bind((host, 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = only(list(machine.port(host, port)))
    assert found.verdict == "bad" and found.what.startswith(f"HOST={host} PORT={port} cannot be had: ")
    assert found.remedy.startswith("choose another PORT")
    assert only(list(machine.port(host, port))).verdict == "good"


def test_an_address_of_another_machine_is_told() -> None:
    found = only(list(machine.port("192.0.2.1", 0)))  # of a block for documentation
    assert found.verdict == "bad" and found.remedy.startswith("HOST has to be an address of this machine")
