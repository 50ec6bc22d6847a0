"""What fits and what does not."""

import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import models_folder, settings_of
from visage import doctor
from visage.doctor import Finding, findings

NC = {"family": "scrfd", "licence": {"id": "insightface-nc"}, "sources": [{"url": "https://example.org/a.onnx"}]}
MIT = {"family": "arcface", "licence": {"id": "MIT"}}

Found = Callable[..., dict[str, list[Finding]]]


@pytest.fixture
def found(tmp_path: Path) -> Found:
    folder = models_folder(tmp_path / "models", {"theirs": NC, "mine": MIT}, {})

    def of(**environ: str) -> dict[str, list[Finding]]:
        by: dict[str, list[Finding]] = {}
        for one in findings(settings_of(**{"MODELS_DIR": str(folder), "PORT": "0", **environ})):
            by.setdefault(one.about, []).append(one)
        return by

    return of


def bad(found: dict[str, list[Finding]]) -> list[str]:
    return [f"{one.what}; {one.remedy}" for each in found.values() for one in each if one.verdict == "bad"]


def test_the_embedded_pair_on_a_machine_like_this_has_nothing_against_it(found: Found) -> None:
    by = found()
    assert bad(by) == []
    assert [one.what for one in by["networks"]] == ["yunet: embedded", "sface: embedded"]


def test_a_licence_that_is_not_accepted_is_told_with_the_line_that_accepts_it(found: Found) -> None:
    (said,) = bad(found(DET_NAME="theirs"))
    assert said.startswith("theirs is under insightface-nc") and "ACCEPT_LICENCES=insightface-nc" in said
    by = found(DET_NAME="theirs", ACCEPT_LICENCES="insightface-nc")
    assert bad(by) == [] and by["networks"][0].what == "theirs: will be fetched"


def test_a_network_that_cannot_come_is_told_with_its_place(found: Found) -> None:
    (said,) = bad(found(REC_NAME="mine"))
    assert said.startswith("mine: no file") and said.endswith("onnx/mine/mine.onnx")
    (offline,) = bad(found(DET_NAME="theirs", ACCEPT_LICENCES="insightface-nc", OFFLINE="1"))
    assert offline.startswith("theirs: no file")


def test_a_name_that_is_in_no_catalogue_is_told(found: Found) -> None:
    assert any("nobody" in line for line in bad(found(DET_NAME="nobody")))


def test_a_port_that_is_taken_is_told(found: Found) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (said,) = bad(found(PORT=str(port)))
    assert said.startswith(f"HOST=127.0.0.1 PORT={port} cannot be had: ") and "PORT" in said.split(";")[1]


def test_a_backend_that_there_is_not_is_told(found: Found) -> None:
    assert any("nonsense" in line for line in bad(found(INFERENCE_BACKEND="nonsense")))


def test_more_processes_than_cores_are_doubtful(found: Found) -> None:
    (cores,) = found(NUM_WORKERS="64")["cores"]
    assert cores.verdict == "doubtful" and "NUM_WORKERS=" in cores.remedy


def test_a_container_s_memory_counts(found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(doctor, "_MEMORY_LIMITS", (limit,))
    limit.write_text("67108864\n", "utf-8")
    (memory,) = found()["memory"]
    assert memory.verdict == "doubtful" and memory.what.startswith("64 MB is this container's limit")
    limit.write_text("max\n", "utf-8")
    assert found()["memory"][0].verdict == "good"


def test_a_folder_that_may_only_be_read_is_doubtful(
    found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.os, "access", lambda _, mode: not mode & stat.S_IWOTH)
    (folder,) = found()["models folder"]
    assert folder.verdict == "doubtful" and "may only be read" in folder.what


def test_a_gpu_is_asked_for_only_where_something_wants_one(
    found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = tmp_path / "version"
    monkeypatch.setattr(doctor, "_NVIDIA", driver)
    assert found()["gpu"][0].verdict == "good"
    assert found(ORT_PROVIDERS="cuda,cpu")["gpu"][0].verdict == "bad"
    driver.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27\n", "utf-8")
    assert found(ORT_PROVIDERS="cuda,cpu")["gpu"][0].what == "NVIDIA's driver 580.65.06"
